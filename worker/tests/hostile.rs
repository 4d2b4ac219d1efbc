//! Jobs that act as a guest that escaped from wasmtime. Each gets exactly the verdict of the blame table, and leaves
//! the worker, the template and the next job intact. For each action that the sandbox must prevent, a control run
//! without the mechanisms that prevent it shows that the action would succeed.

mod common;

use common::{
    AMPLE, TestArtifact, artifact, execute_hostile, execute_job, hostile, is_starved, jobs_of, name_of, own_copy_of,
    processes_of, runner_with, sandbox, sandbox_up_to, unlocked, until, valid,
};
use pvf_guests::corpus::echo_like;
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome},
    params::{ExecutorParam, ExecutorParams},
    verdict::{AmbiguousReason, InvalidReason},
};
use pvf_worker::{
    sandbox::{
        LandlockAbi,
        Mechanism::{self, Capabilities, EmptyRoot, Landlock, Limits, PidNamespace, Seccomp},
        Report,
    },
    supervise::JobRunner,
};
use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

/// CPU limit of jobs that must run into a limit.
const SHORT: Duration = Duration::from_millis(50);

/// Exit codes of the hostile worker: the kernel performed the action, or refused it.
const PERFORMED: i32 = 42;
const REFUSED: i32 = 43;
/// Exit code of a program whose shared libraries cannot be opened.
const NOT_LOADED: i32 = 127;

/// The expected outcome of an action in the complete sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Ambiguous, job death by SIGSYS: a system call that is not on the list.
    Forbidden,
    /// Ambiguous, job error: the supervisor does not accept the reply or the exit status.
    JobError,
    /// Invalid, hard time-out: CPU time.
    CpuTime,
    /// Internal: the wall clock ran out, four times the CPU limit, and the CPU time did not.
    WallClock,
}

impl Expect {
    fn limit(self) -> Duration {
        match self {
            Self::Forbidden | Self::JobError => AMPLE,
            Self::CpuTime | Self::WallClock => SHORT,
        }
    }

    fn matches(self, outcome: &ExecuteOutcome) -> bool {
        let timeout = ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: 50 });
        match self {
            Self::Forbidden => *outcome == death_by(libc::SIGSYS),
            Self::JobError => matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(_))),
            // On a busy machine the wall-clock limit may come first.
            Self::CpuTime => *outcome == timeout || is_starved(outcome, SHORT),
            Self::WallClock => is_starved(outcome, SHORT),
        }
    }
}

fn death_by(signal: i32) -> ExecuteOutcome {
    ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(format!("signal {signal}")))
}

const CASES: [(&str, Expect); 42] = [
    ("opens_a_file", Expect::Forbidden),
    ("reads_proc", Expect::Forbidden),
    ("looks_at_a_file", Expect::Forbidden),
    ("opens_a_socket", Expect::Forbidden),
    ("opens_a_local_socket", Expect::Forbidden),
    ("io_uring", Expect::Forbidden),
    ("ptraces_its_parent", Expect::Forbidden),
    ("reads_its_parents_memory", Expect::Forbidden),
    ("makes_a_memory_file", Expect::Forbidden),
    ("executes", Expect::Forbidden),
    ("makes_code", Expect::Forbidden),
    ("fork_bomb", Expect::Forbidden),
    ("vforks", Expect::Forbidden),
    ("makes_a_thread_by_clone3", Expect::Forbidden),
    ("leaves_a_child", Expect::Forbidden),
    ("kills_its_parent", Expect::Forbidden),
    ("kills_all", Expect::Forbidden),
    ("killed", Expect::Forbidden),
    ("stops", Expect::Forbidden),
    ("unshares", Expect::Forbidden),
    ("mounts", Expect::Forbidden),
    ("bpf", Expect::Forbidden),
    ("perf", Expect::Forbidden),
    ("userfaultfd", Expect::Forbidden),
    ("keys", Expect::Forbidden),
    ("takes_a_descriptor", Expect::Forbidden),
    ("closes_everything", Expect::Forbidden),
    ("sleeps", Expect::Forbidden),
    // The standard library aborts, with a signal that the job may not send.
    ("allocates", Expect::Forbidden),
    ("overflows_the_stack", Expect::Forbidden),
    ("silent", Expect::JobError),
    ("odd_status", Expect::JobError),
    ("rubbish", Expect::JobError),
    ("longer_than_it_says", Expect::JobError),
    ("half_a_reply", Expect::JobError),
    ("forges_a_result", Expect::JobError),
    ("floods", Expect::JobError),
    // The stderr limit is ours, so the outcome must not be Invalid.
    ("chatters_without_end", Expect::JobError),
    ("lies_about_time", Expect::CpuTime),
    ("spins", Expect::CpuTime),
    ("closes_and_spins", Expect::CpuTime),
    ("waits", Expect::WallClock),
];

#[tokio::test]
async fn every_action_gets_its_verdict_and_affects_no_other_job() {
    every_action_gets_its_verdict(sandbox().clone(), "actions").await;
}

/// As on the oldest kernel that has landlock.
#[tokio::test]
async fn every_action_gets_its_verdict_at_landlock_abi_1() {
    every_action_gets_its_verdict(sandbox_up_to(LandlockAbi::V1), "actions-abi-1").await;
}

async fn every_action_gets_its_verdict(sandbox: Report, name: &str) {
    assert!(sandbox.is_complete(), "{}", sandbox.complaint());
    let exe = own_copy_of(&hostile(), name);
    let runner = runner_with(&exe, sandbox);
    let code = echo_like();
    let good = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let next = async || runner.execute(&job, good.file(), Bytes::from_static(b"block")).await.0;
    valid(next().await);
    // A template is PID 1 of its namespace. Its name would not do: a fork has the same one at first.
    let is_template = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    };
    let templates = || processes_of(&exe).iter().filter(|pid| is_template(pid)).count();
    let mut wrong = Vec::new();
    let mut count = templates();
    for (action, expected) in CASES {
        let seen = execute_hostile(&runner, action, expected.limit()).await;
        println!("{action}: expected {expected:?}, seen {seen:?}");
        if !expected.matches(&seen) {
            wrong.push(action);
        }
        valid(next().await);
        // The template of this action still exists, too.
        count += 1;
        assert_eq!(templates(), count, "{action}: a template has ended");
    }
    assert!(wrong.is_empty(), "unexpected outcomes: {wrong:?}");
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

/// The sandbox report with these mechanisms declared missing.
fn without(missing: &[Mechanism]) -> Report {
    lessened(sandbox().clone(), missing)
}

fn lessened(mut report: Report, missing: &[Mechanism]) -> Report {
    assert!(report.is_complete(), "control runs need a complete sandbox:\n{}", report.complaint());
    for finding in report.findings.iter_mut().filter(|finding| missing.contains(&finding.mechanism)) {
        finding.missing = Some("a test".into());
    }
    report
}

/// How an action ends when nothing prevents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    /// The kernel performs it: the hostile worker exits with [`PERFORMED`].
    Performed,
    /// The signal that the action sends ends the job.
    Dies(i32),
    /// The action stops the job, which then runs into its wall-clock limit.
    Stalls,
}

/// Actions with the mechanisms that each prevent them. Without these, and with all others, they succeed.
const CONTROLS: [(&str, &[Mechanism], Control); 21] = [
    ("opens_a_file", &[Seccomp, Landlock, EmptyRoot, Limits], Control::Performed),
    ("reads_proc", &[Seccomp, Landlock, EmptyRoot, Limits], Control::Performed),
    ("looks_at_a_file", &[Seccomp, EmptyRoot], Control::Performed),
    ("executes", &[Seccomp, Landlock, EmptyRoot, Limits], Control::Performed),
    ("opens_a_socket", &[Seccomp, Limits], Control::Performed),
    ("opens_a_local_socket", &[Seccomp, Limits], Control::Performed),
    ("makes_a_memory_file", &[Seccomp, Limits], Control::Performed),
    ("takes_a_descriptor", &[Seccomp, Limits], Control::Performed),
    ("reads_its_parents_memory", &[Seccomp], Control::Performed),
    ("makes_code", &[Seccomp], Control::Performed),
    ("fork_bomb", &[Seccomp, Limits], Control::Performed),
    ("vforks", &[Seccomp, Limits], Control::Performed),
    ("makes_a_thread_by_clone3", &[Seccomp, Limits], Control::Performed),
    ("unshares", &[Seccomp], Control::Performed),
    ("mounts", &[Seccomp, Landlock, Capabilities], Control::Performed),
    ("allocates", &[Limits], Control::Performed),
    ("killed", &[Seccomp], Control::Dies(libc::SIGKILL)),
    ("overflows_the_stack", &[Seccomp], Control::Dies(libc::SIGABRT)),
    ("stops", &[Seccomp], Control::Stalls),
    ("sleeps", &[Seccomp], Control::Stalls),
    ("closes_everything", &[Seccomp], Control::Stalls),
];

/// Actions that a kernel may refuse to any process, or to an unprivileged one.
const SUBJECT_TO_THE_KERNEL: [&str; 6] = ["io_uring", "ptraces_its_parent", "bpf", "perf", "userfaultfd", "keys"];

/// Actions with a test of their own.
const SEPARATE: [&str; 3] = ["leaves_a_child", "kills_its_parent", "kills_all"];

#[test]
fn every_forbidden_action_has_a_control() {
    let forbidden = CASES.iter().filter(|(_, expected)| *expected == Expect::Forbidden).map(|(action, _)| *action);
    let controlled = CONTROLS.iter().map(|(action, ..)| *action).chain(SUBJECT_TO_THE_KERNEL).chain(SEPARATE);
    assert_eq!(controlled.clone().collect::<BTreeSet<_>>(), forbidden.collect::<BTreeSet<_>>());
    assert_eq!(controlled.clone().collect::<BTreeSet<_>>().len(), controlled.count(), "an action has two controls");
}

/// The exit status of a job that exited without a reply: the first number in the supervisor's message.
fn exit_status(outcome: &ExecuteOutcome) -> Option<i32> {
    let ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why)) = outcome else { return None };
    why.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
}

#[tokio::test]
async fn without_the_mechanisms_that_prevent_them_the_actions_succeed() {
    for (action, mechanisms, control) in CONTROLS {
        let runner = runner_with(&hostile(), without(mechanisms));
        let limit = if control == Control::Stalls { SHORT } else { AMPLE };
        let seen = execute_hostile(&runner, action, limit).await;
        let succeeds = match control {
            Control::Performed => exit_status(&seen) == Some(PERFORMED),
            Control::Dies(signal) => seen == death_by(signal),
            Control::Stalls => Expect::WallClock.matches(&seen),
        };
        assert!(succeeds, "{action} without {mechanisms:?}: expected {control:?}, seen {seen:?}");
    }
}

/// Defence in depth: with seccomp switched off, each of the other mechanisms prevents the action by itself.
#[tokio::test]
async fn each_further_mechanism_prevents_the_action_alone() {
    let all_others: Vec<_> = Mechanism::ALL.into_iter().filter(|mechanism| *mechanism != Seccomp).collect();
    each_further_mechanism_prevents_the_action(sandbox(), &all_others).await;
}

/// Files, execution and mounts are what the first landlock ABI is there for.
#[tokio::test]
async fn landlock_abi_1_prevents_the_action_alone() {
    each_further_mechanism_prevents_the_action(&sandbox_up_to(LandlockAbi::V1), &[Landlock]).await;
}

/// Of these mechanisms.
async fn each_further_mechanism_prevents_the_action(sandbox: &Report, tried: &[Mechanism]) {
    for (action, mechanisms, control) in CONTROLS {
        // The kernel does not apply the limit of processes to a worker that is root.
        let creates_processes = matches!(action, "fork_bomb" | "vforks" | "makes_a_thread_by_clone3");
        if control != Control::Performed || !mechanisms.contains(&Seccomp) || creates_processes {
            continue;
        }
        for alone in mechanisms.iter().filter(|mechanism| tried.contains(mechanism)) {
            let missing: Vec<_> = mechanisms.iter().copied().filter(|mechanism| mechanism != alone).collect();
            let runner = runner_with(&hostile(), lessened(sandbox.clone(), &missing));
            let seen = execute_hostile(&runner, action, AMPLE).await;
            // Without descriptors a shell is started, but cannot load its libraries.
            let expected = if (action, *alone) == ("executes", Limits) { NOT_LOADED } else { REFUSED };
            assert_eq!(exit_status(&seen), Some(expected), "{action} with {alone}, without {missing:?}: {seen:?}");
        }
    }
}

/// A job without a sandbox can do exactly what a plain process of the same user can.
#[tokio::test]
async fn without_the_sandbox_the_kernel_decides_as_for_any_process() {
    let runner = unlocked(&hostile());
    for action in SUBJECT_TO_THE_KERNEL {
        let plain = Command::new(hostile()).args(["--action", action]).status().unwrap().code();
        assert!(matches!(plain, Some(PERFORMED | REFUSED)), "{action}: {plain:?}");
        println!("{action}: {}", if plain == Some(PERFORMED) { "performed" } else { "refused by this kernel" });
        let seen = execute_hostile(&runner, action, AMPLE).await;
        assert_eq!(exit_status(&seen), plain, "{action}: {seen:?}");
    }
}

#[tokio::test]
async fn without_the_sandbox_a_job_leaves_a_child_that_ends_with_the_namespace() {
    let exe = own_copy_of(&hostile(), "child");
    let runner = runner_with(&exe, without(&[Seccomp, Limits]));
    let seen = execute_hostile(&runner, "leaves_a_child", AMPLE).await;
    assert_eq!(exit_status(&seen), Some(3), "{seen:?}");
    assert!(!jobs_of(&exe).is_empty(), "the child outlives its job");
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn without_seccomp_and_the_pid_namespace_a_job_kills_its_template() {
    let exe = own_copy_of(&hostile(), "parent");
    let templates = || processes_of(&exe).into_iter().filter(|pid| name_of(*pid) == "pvf-template").count();
    // The namespace is enough: its PID 1 ignores the signal, and the job runs into its limit.
    let runner = runner_with(&exe, without(&[Seccomp]));
    let seen = execute_hostile(&runner, "kills_its_parent", SHORT).await;
    assert!(Expect::WallClock.matches(&seen) && templates() == 1, "{seen:?}");
    let other = runner_with(&exe, without(&[Seccomp, PidNamespace]));
    let seen = execute_hostile(&other, "kills_its_parent", AMPLE).await;
    assert!(matches!(seen, ExecuteOutcome::Ambiguous(_)) && templates() == 1, "{seen:?}");
    drop((runner, other));
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

/// A guest that waits if it is given a block, and kills everything that it can see if it is not.
fn waiting_or_killing() -> Vec<u8> {
    let text = r#"(module
        (import "env" "ext_hostile_waits_version_1" (func $wait))
        (import "env" "ext_hostile_kills_all_version_1" (func $kill))
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "validate_block") (param i32 i32) (result i64)
            (if (i32.gt_u (local.get 1) (i32.const 256)) (then (call $wait)) (else (call $kill)))
            (unreachable)))"#;
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn without_seccomp_a_job_kills_the_jobs_of_its_namespace_and_no_others() {
    let exe = own_copy_of(&hostile(), "namespace");
    let runner = runner_with(&exe, without(&[Seccomp])).with_slots(3, 1);
    let code = waiting_or_killing();
    let [shared, other] = [artifact(&code).await, artifact(&code).await];
    let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1)]);
    let job = ExecuteJob { cpu_limit: AMPLE, ..execute_job(b"", params) };
    let run = |file: &TestArtifact, block: usize| {
        let (runner, job, file): (JobRunner, _, _) = (runner.clone(), job.clone(), file.file().clone());
        tokio::spawn(async move { runner.execute(&job, &file, vec![0; block].into()).await.0 })
    };
    let (victim, bystander) = (run(&shared, 1000), run(&other, 1000));
    let waiting = |exe: &Path| jobs_of(exe).into_iter().filter(|pid| is_blocked(*pid)).count();
    until(|| (waiting(&exe) == 2).then_some(())).await;
    let killer = run(&shared, 0).await.unwrap();
    assert_eq!(exit_status(&killer), Some(PERFORMED), "{killer:?}");
    assert_eq!(victim.await.unwrap(), death_by(libc::SIGKILL));
    assert_eq!(jobs_of(&exe).len(), 1, "the job of another template lives");
    bystander.abort();
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

/// Whether a process sleeps in the kernel.
fn is_blocked(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
}
