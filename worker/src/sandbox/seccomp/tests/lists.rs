//! No list allows a dangerous call, has a rule without a reason, or a rule that another one makes redundant.

use super::super::{
    FORBIDDEN, Filter,
    lists::{self, Rule, When},
};
use std::collections::HashSet;

/// The lists that filters are made of, by name.
pub(super) fn all() -> [(&'static str, Vec<Rule>); 6] {
    [
        ("job", lists::JOB.to_vec()),
        ("template", lists::template()),
        ("template only", lists::TEMPLATE.to_vec()),
        ("mapping only", lists::MAPPING.to_vec()),
        ("preparation", [lists::PREPARATION, lists::REFUSED].concat()),
        ("refused", lists::REFUSED.to_vec()),
    ]
}

/// The calls that a rule allows: mask and value of each argument. `None` if its conditions contradict each other.
fn constraints(rule: &Rule) -> Option<[(u64, u64); 6]> {
    let mut arguments = [(0, 0); 6];
    for when in rule.when {
        let (argument, mask, value) = match *when {
            When::Is(argument, value) => (argument, u64::MAX, value),
            When::Bits(argument, mask, value) => (argument, mask, value),
        };
        let (known_mask, known_value) = &mut arguments[usize::from(argument)];
        if value & !mask != 0 || (*known_value ^ value) & *known_mask & mask != 0 {
            return None;
        }
        (*known_mask, *known_value) = (*known_mask | mask, *known_value | value);
    }
    Some(arguments)
}

/// Whether `general` allows every call that `special` allows.
fn covers(general: &Rule, special: &Rule) -> bool {
    let (Some(wide), Some(narrow)) = (constraints(general), constraints(special)) else { return false };
    let implied = |(wide, narrow): ((u64, u64), (u64, u64))| wide.0 & !narrow.0 == 0 && narrow.1 & wide.0 == wide.1;
    general.call == special.call && wide.into_iter().zip(narrow).all(implied)
}

/// Whether no call is allowed by both.
fn are_disjoint(one: &Rule, other: &Rule) -> bool {
    let (Some(one_arguments), Some(other_arguments)) = (constraints(one), constraints(other)) else { return true };
    let mut pairs = one_arguments.into_iter().zip(other_arguments);
    one.call != other.call || pairs.any(|(one, other)| (one.1 ^ other.1) & one.0 & other.0 != 0)
}

#[test]
fn every_filter_compiles() {
    Filter::preparation().unwrap();
    Filter::template().unwrap();
    Filter::mapped().unwrap();
    Filter::fork().unwrap();
}

#[test]
fn every_rule_gives_a_reason_of_its_own() {
    for (list, rules) in all() {
        let mut reasons = HashSet::new();
        for rule in rules {
            // One word names a thing; a reason says what the process does with it.
            assert!(rule.why.split_whitespace().count() > 1, "{list}: call {}: {:?}", rule.call, rule.why);
            assert!(reasons.insert(rule.why), "{list}: call {} repeats the reason {:?}", rule.call, rule.why);
        }
    }
}

#[test]
fn no_rule_is_redundant() {
    for (list, rules) in all() {
        for (n, rule) in rules.iter().enumerate() {
            assert!(constraints(rule).is_some(), "{list}: call {}: no argument fits: {:?}", rule.call, rule.when);
            for (other, general) in rules.iter().enumerate().filter(|(other, _)| *other != n) {
                let (narrow, wide) = (&rule.when, &general.when);
                assert!(!covers(general, rule), "{list}: call {}: {n} {narrow:?} by {other} {wide:?}", rule.call);
            }
        }
    }
}

#[test]
fn redundant_rules_are_recognised() {
    const EXIT: i64 = libc::SYS_exit;
    let rule = |call, when| Rule { call, when, why: "" };
    let (any, word) = (rule(EXIT, &[]), rule(EXIT, &[When::Bits(0, 0xffff_ffff, 1)]));
    let (exact, both) = (rule(EXIT, &[When::Is(0, 1)]), rule(EXIT, &[When::Is(0, 1), When::Is(1, 2)]));
    assert!(covers(&any, &word) && covers(&word, &exact) && covers(&exact, &both) && covers(&any, &any));
    assert!(!covers(&word, &any) && !covers(&exact, &word) && !covers(&both, &exact));
    assert!(!covers(&rule(libc::SYS_read, &[]), &word), "another call");
    assert!(!covers(&rule(EXIT, &[When::Is(0, 2)]), &exact) && !covers(&rule(EXIT, &[When::Is(1, 1)]), &exact));
    assert!(are_disjoint(&exact, &rule(EXIT, &[When::Is(0, 2)])) && !are_disjoint(&word, &both));
    assert!(constraints(&rule(EXIT, &[When::Is(0, 1), When::Is(0, 2)])).is_none(), "a contradiction");
    assert!(constraints(&rule(EXIT, &[When::Bits(0, 1, 2)])).is_none(), "a value outside its mask");
}

/// The later filters forbid the rules of a template, and of its mapping; whoever comes after must not need any of them.
#[test]
fn no_call_of_a_job_is_on_a_list_for_templates_only() {
    let earlier = [(lists::TEMPLATE, lists::JOB), (lists::MAPPING, lists::JOB), (lists::MAPPING, lists::TEMPLATE)];
    for (earlier, later) in earlier {
        for (template, job) in earlier.iter().flat_map(|template| later.iter().map(move |job| (template, job))) {
            assert!(are_disjoint(template, job), "call {}: {} and {}", job.call, job.why, template.why);
        }
    }
}

#[test]
fn memory_is_made_executable_only_while_an_artifact_is_mapped_and_is_not_writable_then() {
    let executes = |rule: &Rule| match rule.call {
        libc::SYS_mprotect | libc::SYS_mmap => constraints(rule)
            .is_none_or(|arguments| arguments[2].0 & libc::PROT_EXEC as u64 == 0 || arguments[2].1 != 0),
        _ => false,
    };
    assert!(!lists::JOB.iter().chain(lists::TEMPLATE).any(executes));
    let mapping: Vec<_> = lists::MAPPING.iter().filter(|rule| executes(rule)).collect();
    assert_eq!(mapping.len(), 1);
    let (mask, value) = constraints(mapping[0]).unwrap()[2];
    let (exec, write) = (libc::PROT_EXEC as u64, libc::PROT_WRITE as u64);
    assert_eq!((mapping[0].call, mask & (exec | write), value), (libc::SYS_mprotect, exec | write, exec));
}

/// Calls that create something, reach other processes, or open an interface of the kernel.
const DANGEROUS: [i64; 24] = [
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
];

#[test]
fn no_list_allows_a_dangerous_call() {
    for rule in lists::PREPARATION.iter().chain(&lists::template()) {
        assert!(!DANGEROUS.contains(&rule.call), "call {}: {}", rule.call, rule.why);
    }
    assert!(FORBIDDEN.iter().all(|(_, call)| DANGEROUS.contains(call)), "the probe tries dangerous calls");
}
