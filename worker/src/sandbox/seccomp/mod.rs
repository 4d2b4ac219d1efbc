//! Seccomp: only the system calls of a list, and of those only the harmless forms. Anything else ends the process on
//! the spot. The lists are data (`lists.rs`); a fork of a template is held by its template's, and by another that takes
//! away what is for templates only.

mod lists;
mod program;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter, sock_fprog};
use program::compile;

/// A list as the kernel runs it.
pub(super) struct Filter(Vec<sock_filter>);

impl Filter {
    /// For a preparation: the first answers with an error what the C library asks and can do without, the second ends
    /// the process at anything that is not on its list. Of two filters the stricter decides.
    pub(super) fn preparation() -> Result<[Self; 2], String> {
        let refused = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        let allowed = lists::PREPARATION.iter().chain(lists::REFUSED);
        Ok([
            Self(compile(lists::REFUSED, refused, SECCOMP_RET_ALLOW)?),
            Self(compile(allowed, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS)?),
        ])
    }

    /// For a template.
    pub(super) fn template() -> Result<Self, String> {
        compile(&lists::template(), SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS).map(Self)
    }

    /// For a fork of a template, which has that filter already: what is for templates only ends it. Each fork makes
    /// this filter anew, and it is shorter than one with the whole list of a job.
    pub(super) fn fork() -> Result<Self, String> {
        compile(lists::TEMPLATE, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW).map(Self)
    }

    /// From now on, for this thread and those that it starts, for good. New privileges must be off.
    pub(super) fn install(&self) -> Result<(), String> {
        let len = u16::try_from(self.0.len()).map_err(|_| "a list is too long".to_owned())?;
        // The kernel only reads it.
        let program = sock_fprog { len, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: a plain system call; the pointer is to a program that lives longer than the call.
        match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) } {
            0 => Ok(()),
            _ => Err(super::failed("seccomp")),
        }
    }
}

/// For the probe: what each list must end a process for, by name.
pub(super) const FORBIDDEN: [(&str, i64); 4] =
    [("socket", libc::SYS_socket), ("ptrace", libc::SYS_ptrace), ("execve", libc::SYS_execve), ("bpf", libc::SYS_bpf)];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn lists_compile_and_give_reasons() {
        Filter::preparation().unwrap();
        Filter::template().unwrap();
        Filter::fork().unwrap();
        for rule in lists::PREPARATION.iter().chain(&lists::template()).chain(lists::REFUSED) {
            assert!(rule.why.len() >= 6, "{}", rule.call);
        }
    }

    /// What a fork's second filter ends it for must not be what a job needs.
    #[test]
    fn nothing_of_a_job_is_for_templates_only() {
        for rule in lists::TEMPLATE {
            for job in lists::JOB.iter().filter(|job| job.call == rule.call) {
                let apart = job.when.len() == 1 && rule.when.len() == 1 && job.when != rule.when;
                assert!(apart, "call {}: {} and {}", job.call, job.why, rule.why);
            }
        }
    }

    #[test]
    fn no_list_allows_what_makes_something_or_reaches_out() {
        let dangerous = HashSet::from([
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_io_uring_setup,
            libc::SYS_memfd_create,
            libc::SYS_bpf,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_kill,
            libc::SYS_tgkill,
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_pidfd_send_signal,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_keyctl,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_ioctl,
        ]);
        for rule in lists::PREPARATION.iter().chain(&lists::template()) {
            assert!(!dangerous.contains(&rule.call), "{}", rule.call);
        }
        assert!(FORBIDDEN.iter().all(|(_, call)| dangerous.contains(call)));
    }
}
