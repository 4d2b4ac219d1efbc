//! Jobs that do what a guest would do that broke out of wasmtime: each gets exactly the verdict of the blame table,
//! and leaves worker, template and the next job as they were.

mod common;

use common::{
    artifact, execute_hostile, execute_job, hostile, job_error, own_copy_of, processes_of, runner, unlocked, until,
    valid,
};
use pvf_guests::corpus::echo_like;
use pvf_shared::{
    Bytes,
    job::ExecuteOutcome,
    params::ExecutorParams,
    verdict::{AmbiguousReason, InvalidReason},
};
use std::{fs, time::Duration};

/// CPU time that these jobs may use.
const LIMIT: Duration = Duration::from_millis(50);

/// What a case is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Ambiguous job death: ended for a system call that is not on the list.
    Forbidden,
    /// Ambiguous job error: what it said is not believed.
    JobError,
    /// Invalid, hard time-out: CPU time.
    CpuTime,
    /// Invalid, hard time-out: four times that on the wall clock.
    WallClock,
}

impl Expect {
    fn is(self, seen: &ExecuteOutcome) -> bool {
        let timeout = |limit_ms| ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms });
        match self {
            Self::Forbidden => *seen == ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 31".into())),
            Self::JobError => matches!(seen, ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(_))),
            // On a busy machine the wall clock may come first.
            Self::CpuTime => *seen == timeout(50) || *seen == timeout(200),
            Self::WallClock => *seen == timeout(200),
        }
    }
}

/// The list, and more of the same kinds.
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
    // The standard library aborts, with a signal that it may not send.
    ("allocates", Expect::Forbidden),
    ("overflows_the_stack", Expect::Forbidden),
    ("silent", Expect::JobError),
    ("odd_status", Expect::JobError),
    ("rubbish", Expect::JobError),
    ("longer_than_it_says", Expect::JobError),
    ("half_a_reply", Expect::JobError),
    ("forges_a_result", Expect::JobError),
    ("floods", Expect::JobError),
    // Our limit, so it must not be Invalid.
    ("chatters_without_end", Expect::JobError),
    ("lies_about_time", Expect::CpuTime),
    ("spins", Expect::CpuTime),
    ("closes_and_spins", Expect::CpuTime),
    ("waits", Expect::WallClock),
];

#[tokio::test]
async fn every_deed_gets_its_verdict_and_harms_nobody() {
    let exe = own_copy_of(&hostile(), "deeds");
    let runner = runner(&exe);
    let code = echo_like();
    let good = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let next = async || runner.execute(&job, good.path(), Bytes::from_static(b"block")).await.0;
    valid(next().await);
    // Each is the first process of its namespace; a fork of it is not, whatever it is called at first.
    let is_template = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    };
    let templates = || processes_of(&exe).iter().filter(|pid| is_template(pid)).count();
    let mut wrong = Vec::new();
    let mut count = templates();
    for (deed, expected) in CASES {
        // Filling the whole stack takes longer, and so does filling stderr.
        let limit = if matches!(deed, "overflows_the_stack" | "chatters_without_end") { LIMIT * 100 } else { LIMIT };
        let seen = execute_hostile(&runner, deed, limit).await;
        println!("{deed}: expected {expected:?}, seen {seen:?}");
        if !expected.is(&seen) {
            wrong.push(deed);
        }
        valid(next().await);
        // Its own template is still there as well.
        count += 1;
        assert_eq!(templates(), count, "{deed}: a template is gone");
    }
    assert!(wrong.is_empty(), "not as expected: {wrong:?}");
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

/// What the sandbox keeps a job from, it could do otherwise: so it is the sandbox that does.
#[tokio::test]
async fn without_the_sandbox_the_same_deeds_succeed() {
    let runner = unlocked(&hostile());
    for deed in
        ["opens_a_file", "reads_proc", "looks_at_a_file", "opens_a_socket", "opens_a_local_socket", "makes_code"]
    {
        let why = job_error(execute_hostile(&runner, deed, LIMIT).await);
        assert!(why.starts_with("odd exit status (42)"), "{deed}: {why}");
    }
}
