//! Seccomp: only the system calls of a list, and of those only the harmless forms. Anything else ends the process on
//! the spot. The lists are data (`lists.rs`); a fork of a template is held by two of them.

mod lists;

use lists::{Rule, When};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};
use std::collections::BTreeMap;

/// A compiled list.
pub(super) struct Filter(BpfProgram);

impl Filter {
    /// For a preparation: the first answers with an error what the C library asks and can do without, the second ends
    /// the process at anything that is not on its list. Of two filters the stricter decides.
    pub(super) fn preparation() -> Result<[Self; 2], String> {
        let refused = SeccompAction::Errno(libc::ENOSYS as u32);
        let allowed = lists::PREPARATION.iter().chain(lists::REFUSED);
        Ok([
            Self::compile(lists::REFUSED, SeccompAction::Allow, refused)?,
            Self::compile(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?,
        ])
    }

    /// For a template.
    pub(super) fn template() -> Result<Self, String> {
        Self::compile(&lists::template(), SeccompAction::KillProcess, SeccompAction::Allow)
    }

    /// For a fork of a template.
    pub(super) fn job() -> Result<Self, String> {
        Self::compile(lists::JOB, SeccompAction::KillProcess, SeccompAction::Allow)
    }

    fn compile<'a>(
        list: impl IntoIterator<Item = &'a Rule>,
        otherwise: SeccompAction,
        listed: SeccompAction,
    ) -> Result<Self, String> {
        let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
        let mut always = Vec::new();
        for Rule { call, when, why } in list {
            let forms = rules.entry(*call).or_default();
            if when.is_empty() {
                always.push(*call);
            } else {
                let form = conditions(when).and_then(SeccompRule::new);
                forms.push(form.map_err(|error| format!("the rule for call {call} ({why}): {error}"))?);
            }
        }
        // A call without conditions wins over its forms in another list.
        for call in always {
            rules.insert(call, Vec::new());
        }
        let compile = || {
            let arch = TargetArch::try_from(std::env::consts::ARCH)?;
            BpfProgram::try_from(SeccompFilter::new(rules, otherwise, listed, arch)?)
        };
        compile().map(Self).map_err(|error: BackendError| format!("a list cannot be compiled: {error}"))
    }

    /// From now on, for this thread and those that it starts, for good.
    pub(super) fn install(&self) -> Result<(), String> {
        apply_filter(&self.0).map_err(|error| format!("seccomp: {error}"))
    }
}

fn conditions(when: &[When]) -> Result<Vec<SeccompCondition>, BackendError> {
    let condition = |when: &When| {
        let (argument, operator, value) = match *when {
            When::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            When::Bits(argument, mask, value) => (argument, SeccompCmpOp::MaskedEq(mask), value),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
    };
    when.iter().map(condition).collect()
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
        Filter::job().unwrap();
        for rule in lists::PREPARATION.iter().chain(&lists::template()).chain(lists::REFUSED) {
            assert!(rule.why.len() >= 6, "{}", rule.call);
        }
    }

    /// A fork is held by its template's list too, so whatever the fork may do that one must allow.
    #[test]
    fn templates_may_what_their_forks_may() {
        let template = lists::template();
        for job in lists::JOB {
            assert!(template.iter().any(|rule| rule.call == job.call && rule.when == job.when), "{}", job.call);
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
