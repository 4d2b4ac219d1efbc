//! Seccomp filters: the kernel kills a process at any system call that its allow-list does not contain. The lists are
//! data (`lists.rs`), compiled to BPF (`program.rs`). A template gets a second filter once it has mapped its artifact,
//! which takes away the calls that only mapping needs. A fork is subject to both and to a third one, which takes away
//! the calls that only a template needs.

mod lists;
mod program;
#[cfg(test)]
mod tests;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter, sock_fprog};
use program::compile;

/// A compiled filter.
pub(super) struct Filter(Vec<sock_filter>);

impl Filter {
    /// The filters of a preparation. One makes the calls of [`lists::REFUSED`] fail, the other is the allow-list. The
    /// kernel runs both and obeys the stricter result.
    pub(super) fn preparation() -> Result<[Self; 2], String> {
        let refused = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let allowed = lists::PREPARATION.iter().chain(lists::REFUSED);
        Ok([
            Self(compile(lists::REFUSED, refused, SECCOMP_RET_ALLOW)?),
            Self(compile(allowed, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS)?),
        ])
    }

    /// The filter of a template, which is about to map its artifact.
    pub(super) fn template() -> Result<Self, String> {
        compile(&lists::template(), SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS).map(Self)
    }

    /// The second filter of a template, which has mapped its artifact.
    pub(super) fn mapped() -> Result<Self, String> {
        compile(lists::MAPPING, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW).map(Self)
    }

    /// The third filter of a fork. Listing what it forbids makes it shorter than a list of what a job needs, and
    /// installing it is part of every fork.
    pub(super) fn fork() -> Result<Self, String> {
        compile(lists::TEMPLATE, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW).map(Self)
    }

    /// Installs the filter irrevocably, for this thread and those that it starts. `no_new_privs` must be set.
    pub(super) fn install(&self) -> Result<(), String> {
        let len = u16::try_from(self.0.len()).map_err(|_| "seccomp: filter too long".to_owned())?;
        // The kernel only reads the program.
        let program = sock_fprog { len, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: a plain system call; the pointer is to a program that lives longer than the call.
        match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) } {
            0 => Ok(()),
            _ => Err(super::failed("seccomp")),
        }
    }
}

/// Calls for which each list must end a process, by name; the probe tries them.
pub(super) const FORBIDDEN: [(&str, i64); 4] =
    [("socket", libc::SYS_socket), ("ptrace", libc::SYS_ptrace), ("execve", libc::SYS_execve), ("bpf", libc::SYS_bpf)];
