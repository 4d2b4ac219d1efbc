//! Namespaces: separate a process from the machine's processes, mounts, network, System V IPC, host name and cgroups.
//! The clone that starts a template or a preparation creates them; forks of a template share the template's.
//!
//! The user namespace makes the others available to an unprivileged worker. Inside it the process is UID 0, outside it
//! has the worker's UID. As UID 0 it keeps its capabilities across exec, builds the rest of its sandbox with them, and
//! drops them in `capabilities`.

use super::{Mechanism, Plan};
use rustix::process::{getegid, geteuid};
use std::{
    ffi::CStr,
    io::{Error, Result},
};

/// Every namespace, with its clone flag and its name in `/proc/self/ns`.
const EACH: [(Mechanism, libc::c_int, &str); 7] = [
    (Mechanism::UserNamespace, libc::CLONE_NEWUSER, "user"),
    (Mechanism::PidNamespace, libc::CLONE_NEWPID, "pid"),
    (Mechanism::MountNamespace, libc::CLONE_NEWNS, "mnt"),
    (Mechanism::NetworkNamespace, libc::CLONE_NEWNET, "net"),
    (Mechanism::IpcNamespace, libc::CLONE_NEWIPC, "ipc"),
    (Mechanism::UtsNamespace, libc::CLONE_NEWUTS, "uts"),
    (Mechanism::CgroupNamespace, libc::CLONE_NEWCGROUP, "cgroup"),
];

/// The namespaces that a process is cloned into. The contents of the ID maps are prepared in advance, because nothing
/// may be allocated between clone and exec.
#[derive(Debug)]
pub(crate) struct Namespaces {
    flags: libc::c_int,
    /// Files of `/proc/self` that map user and group IDs, with the contents to write.
    maps: Vec<(&'static CStr, Vec<u8>)>,
}

impl Namespaces {
    /// The namespaces of a plan.
    pub(crate) fn of(plan: Plan) -> Self {
        let flags = EACH.iter().filter(|(m, ..)| plan.has(*m)).fold(0, |flags, (_, flag, _)| flags | flag);
        let mut maps = Vec::new();
        if flags & libc::CLONE_NEWUSER != 0 {
            let one = |id: u32| format!("0 {id} 1\n").into_bytes();
            maps.push((c"/proc/self/setgroups", b"deny".to_vec()));
            maps.push((c"/proc/self/uid_map", one(geteuid().as_raw())));
            maps.push((c"/proc/self/gid_map", one(getegid().as_raw())));
        }
        Self { flags, maps }
    }

    /// Flags for `clone`.
    pub(crate) fn flags(&self) -> libc::c_int {
        self.flags
    }

    /// Writes the ID maps. Called in the child before exec, so it only makes plain system calls.
    pub(crate) fn map(&self) -> Result<()> {
        for (file, content) in &self.maps {
            // SAFETY: plain system calls on a descriptor that is opened and closed here; the pointers are to live
            // bytes.
            unsafe {
                let fd = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if fd < 0 {
                    return Err(Error::last_os_error());
                }
                let written = libc::write(fd, content.as_ptr().cast(), content.len());
                let error = Error::last_os_error();
                libc::close(fd);
                if written != content.len() as isize {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The namespaces that cannot be created on this machine, each with the reason: a child is cloned into each of them.
pub(crate) fn impossible() -> Vec<(Mechanism, String)> {
    let all = EACH.iter().fold(Plan::NONE, |plan, (mechanism, ..)| plan.with(*mechanism));
    if try_clone(all).is_ok() {
        return Vec::new();
    }
    let mut unavailable = Vec::new();
    for (mechanism, ..) in EACH {
        let alone = Plan::NONE.with(Mechanism::UserNamespace).with(mechanism);
        if let Err(error) = try_clone(alone) {
            unavailable.push((mechanism, error));
        }
    }
    // Each was tried inside a user namespace, so without that all are unavailable, to a privileged worker as well: it
    // could create the others, but the process would remain the machine's root in them.
    unavailable
}

fn try_clone(plan: Plan) -> std::result::Result<(), String> {
    let namespaces = Namespaces::of(plan);
    let mut status = 0;
    // SAFETY: the child has its own copy of the memory, makes system calls only, and exits. The parent reaps it.
    unsafe {
        let flags = libc::c_long::from(namespaces.flags | libc::SIGCHLD);
        match libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) {
            0 => libc::_exit(namespaces.map().err().map_or(0, |e| e.raw_os_error().unwrap_or(libc::EIO))),
            pid if pid > 0 => {
                if libc::waitpid(pid as libc::pid_t, &raw mut status, 0) < 0 {
                    return Err(super::failed("waitpid"));
                }
            }
            _ => return Err(super::failed("clone")),
        }
    }
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        code => Err(format!("writing the ID maps: {}", Error::from_raw_os_error(code))),
    }
}

/// The namespaces of this process, as the kernel names them.
pub(super) fn current() -> Vec<(Mechanism, String)> {
    let of = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
    EACH.iter().map(|(mechanism, _, name)| (*mechanism, of(name).to_string_lossy().into_owned())).collect()
}
