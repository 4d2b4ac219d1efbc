//! The network namespace of a host.

use super::address;
use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    thread,
};

/// Name of the device in each namespace.
const DEVICE: &str = "pvf0";
/// The largest packet, bytes: few packets for large payloads, and still several for a chunk.
pub(super) const MTU: usize = 9000;

/// The namespace of one host.
pub struct Namespace {
    file: File,
    /// The switch's end of the device.
    pub(super) device: OwnedFd,
}

/// Separates this process, which must have one thread, from the network and the mounts of the machine. A user other
/// than root becomes root of a user namespace of its own.
///
/// # Errors
/// The kernel refuses it.
pub fn isolate() -> Result<(), String> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWNET;
    if !user.is_root() {
        flags |= libc::CLONE_NEWUSER;
    }
    let failed = |what: &str, error: io::Error| {
        format!("{what}: {error} (network namespaces need root, or a user who may make user namespaces)")
    };
    // SAFETY: a plain system call on this process, which has one thread.
    check(unsafe { libc::unshare(flags) }).map_err(|error| failed("unshare", error))?;
    if !user.is_root() {
        let write = |file: &str, text: String| {
            std::fs::write(format!("/proc/self/{file}"), text).map_err(|error| failed(file, error))
        };
        write("setgroups", "deny".into())?;
        write("uid_map", format!("0 {} 1", user.as_raw()))?;
        write("gid_map", format!("0 {} 1", group.as_raw()))?;
    }
    // What is mounted here is mounted nowhere else.
    run("mount", &["--make-rprivate", "/"])
}

/// Makes the namespace of this process that of a host.
///
/// # Errors
/// The device cannot be made.
pub fn enter_own(host: usize) -> Result<Namespace, String> {
    let device = device(host)?;
    let file = File::open("/proc/thread-self/ns/net").map_err(|error| format!("own namespace: {error}"))?;
    Ok(Namespace { file, device })
}

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn new(host: usize) -> Result<Self, String> {
        let make = move || {
            // SAFETY: a plain system call on this thread, which ends after it.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map_err(|error| format!("unshare: {error}"))?;
            enter_own(host)
        };
        thread::spawn(make).join().map_err(|_| "the thread that makes a namespace panicked")?
    }

    /// Has a command run on this host. It is killed when the thread that starts it ends.
    pub fn run<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let namespace = self.file.as_raw_fd();
        // SAFETY: plain system calls on a descriptor that lives as long as the host, which are allowed between fork and
        // exec.
        unsafe {
            command.pre_exec(move || {
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                check(libc::setns(namespace, libc::CLONE_NEWNET))
            })
        }
    }
}

/// The device of the namespace of this thread, with the address of the host.
fn device(host: usize) -> Result<OwnedFd, String> {
    let failed = |error: io::Error| format!("/dev/net/tun: {error}");
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(failed)?;
    // SAFETY: all zeros are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is what this ioctl takes, and lives until it returns.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map_err(failed)?;
    rustix::io::ioctl_fionbio(&file, true).map_err(|error| failed(error.into()))?;
    run("ip", &["link", "set", "lo", "up"])?;
    run("ip", &["address", "add", &format!("{}/24", address(host)), "dev", DEVICE])?;
    run("ip", &["link", "set", DEVICE, "mtu", &MTU.to_string(), "up"])?;
    Ok(file.into())
}

/// Runs a program of the system, in the namespace of this thread.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let line = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{}: {error}", line()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", line(), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
