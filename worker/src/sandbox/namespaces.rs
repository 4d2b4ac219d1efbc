//! Namespaces: a process that is cloned into its own sees no process, mount, network, shared memory or host name but
//! its own. They are made once for a template or a preparation, by the clone that starts it; the forks of a template
//! are in its.
//!
//! The user namespace is what allows the others to whoever has no privileges. Inside, the process is root (user 0),
//! outside it is still who its worker is: so it keeps what it needs to build its sandbox over exec, and loses it in
//! `capabilities`.

use super::{Mechanism, Plan};
use rustix::process::{getegid, geteuid};
use std::{
    ffi::CStr,
    io::{Error, Result},
};

/// Each with its flag and its name in `/proc/self/ns`.
const EACH: [(Mechanism, libc::c_int, &str); 7] = [
    (Mechanism::UserNamespace, libc::CLONE_NEWUSER, "user"),
    (Mechanism::PidNamespace, libc::CLONE_NEWPID, "pid"),
    (Mechanism::MountNamespace, libc::CLONE_NEWNS, "mnt"),
    (Mechanism::NetworkNamespace, libc::CLONE_NEWNET, "net"),
    (Mechanism::IpcNamespace, libc::CLONE_NEWIPC, "ipc"),
    (Mechanism::UtsNamespace, libc::CLONE_NEWUTS, "uts"),
    (Mechanism::CgroupNamespace, libc::CLONE_NEWCGROUP, "cgroup"),
];

/// The namespaces that a process is cloned into, with all that is needed between clone and exec prepared: there,
/// nothing may be allocated.
#[derive(Debug)]
pub(crate) struct Namespaces {
    flags: libc::c_int,
    /// The files of `/proc/self` that say who is who inside, with what is written to each.
    maps: Vec<(&'static CStr, Vec<u8>)>,
}

impl Namespaces {
    /// Those of a plan.
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

    /// For `clone`.
    pub(crate) fn flags(&self) -> libc::c_int {
        self.flags
    }

    /// In the child, before exec: says who is who. Makes plain system calls only.
    pub(crate) fn map(&self) -> Result<()> {
        for (file, content) in &self.maps {
            // SAFETY: plain system calls on a descriptor of our own; the pointers are to live bytes.
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

/// Which namespaces cannot be had, and why: a child is cloned into each.
pub(crate) fn impossible() -> Vec<(Mechanism, String)> {
    let all = EACH.iter().fold(Plan::NONE, |plan, (mechanism, ..)| plan.with(*mechanism));
    if try_clone(all).is_ok() {
        return Vec::new();
    }
    let mut impossible = Vec::new();
    for (mechanism, ..) in EACH {
        let alone = Plan::NONE.with(Mechanism::UserNamespace).with(mechanism);
        if let Err(error) = try_clone(alone) {
            impossible.push((mechanism, error));
        }
    }
    // Without the first there is none of the others, whatever the worker may do: it would be root inside for ever.
    impossible
}

fn try_clone(plan: Plan) -> std::result::Result<(), String> {
    let namespaces = Namespaces::of(plan);
    let mut status = 0;
    // SAFETY: the child makes system calls only and ends; it has its own copy of the memory. The parent reaps it.
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
        code => Err(format!("its maps cannot be written: {}", Error::from_raw_os_error(code))),
    }
}

/// The namespaces that this process is in, by name.
pub(super) fn current() -> Vec<(Mechanism, String)> {
    let of = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default();
    EACH.iter().map(|(mechanism, _, name)| (*mechanism, of(name).to_string_lossy().into_owned())).collect()
}
