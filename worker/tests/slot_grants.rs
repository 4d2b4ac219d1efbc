//! Staged jobs: each has its process, and begins when the process before it has ended, or at its start signal.

#[path = "common/blocking.rs"]
mod blocking;
mod common;

use blocking::block_until_ended;
use common::{
    TestArtifact, artifact, execute_job, has_ended, jobs_of, name_of, own_worker, parent, processes_named, runner,
    signal, until, valid,
};
use pvf_guests::corpus::{busy, echo_like};
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome},
    params::ExecutorParams,
};
use pvf_testkit::DEADLINE;
use pvf_worker::supervise::{JobProgress, JobRunner, SlotGrant, StartSignal};
use rustix::{process::Pid, thread::sched_getaffinity};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// A runner with an executable of its own, and two artifacts.
struct TurnFixture {
    exe: PathBuf,
    runner: JobRunner,
    long: TestArtifact,
    short: TestArtifact,
}

type Execution = JoinHandle<ExecuteOutcome>;

impl TurnFixture {
    async fn new(name: &str) -> Self {
        let exe = own_worker(name);
        let runner = runner(&exe).with_slots(usize::MAX, 1);
        let (long, short) = (artifact(&busy(u64::MAX)).await, artifact(&echo_like()).await);
        Self { exe, runner, long, short }
    }

    fn execute(&self, artifact: &TestArtifact, job: ExecuteJob, block_data: Bytes, grant: SlotGrant) -> Execution {
        let (runner, artifact) = (self.runner.clone(), artifact.file().clone());
        tokio::spawn(async move { runner.execute_with_grant(&job, &artifact, block_data, grant).await.0 })
    }

    /// A job that does not end by itself.
    async fn endless(&self) -> (Execution, JobProgress) {
        let (grant, progress) = SlotGrant::immediate();
        let job = execute_job(&busy(u64::MAX), ExecutorParams::default());
        let execution = self.execute(&self.long, job, Bytes::new(), grant);
        until(|| jobs_of(&self.exe).first().copied()).await;
        (execution, progress)
    }

    /// A job that ends at once.
    fn short(&self, block_data: Bytes, grant: SlotGrant) -> Execution {
        let job = execute_job(&echo_like(), ExecutorParams::default());
        self.execute(&self.short, job, block_data, grant)
    }

    /// An endless job and a short one that is staged behind it: both, the start signal, and the staged process.
    async fn two(&self, block_data: Bytes) -> ((Execution, JobProgress), (Execution, StartSignal), i32) {
        let (before, progress) = self.endless().await;
        let (grant, _, go) = progress.stage_behind();
        let behind = self.short(block_data, grant);
        ((before, progress), (behind, go), self.next().await)
    }

    fn named(&self, name: &str) -> Vec<i32> {
        processes_named(&self.exe, name)
    }

    /// The staged process.
    async fn next(&self) -> i32 {
        until(|| self.named("pvf-next").first().copied()).await
    }

    fn end(self) {
        fs::remove_file(self.exe).unwrap();
    }
}

fn block() -> Bytes {
    Bytes::from_static(b"block")
}

/// The runtime of this test has one thread, which is blocked meanwhile.
#[tokio::test]
async fn a_staged_job_begins_and_ends_without_the_worker() {
    let fixture = TurnFixture::new("grant-next").await;
    for block_data in [block(), vec![7; 100_000].into()] {
        let ((before, _), (behind, _go), next) = fixture.two(block_data.clone()).await;
        signal(jobs_of(&fixture.exe)[0], libc::SIGKILL);
        block_until_ended(next);
        assert!(!behind.is_finished() && !before.is_finished());
        let seen = valid(behind.await.unwrap());
        let (grant, _) = SlotGrant::immediate();
        assert_eq!(seen, valid(fixture.short(block_data, grant).await.unwrap()));
        assert!(matches!(before.await.unwrap(), ExecuteOutcome::Ambiguous(_)));
    }
    fixture.end();
}

#[tokio::test]
async fn a_job_with_a_start_signal_does_not_wait() {
    let fixture = TurnFixture::new("grant-go").await;
    let ((before, progress), (behind, go), _) = fixture.two(block()).await;
    go.send();
    valid(behind.await.unwrap());
    assert!(!before.is_finished());
    // Also if the signal comes before it has a process.
    let (grant, _, go) = progress.stage_behind();
    go.send();
    valid(fixture.short(block(), grant).await.unwrap());
    before.abort();
    fixture.end();
}

/// The staged job may have no process yet, or be given one, or wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staged_job_begins_whenever_the_one_before_it_is_given_up() {
    let fixture = TurnFixture::new("grant-given-up").await;
    for delay in 0..120_u64 {
        let (before, progress) = fixture.endless().await;
        let (grant, _, _go) = progress.stage_behind();
        let behind = fixture.short(block(), grant);
        // Timers of the runtime are in milliseconds.
        let abort_at = Instant::now() + Duration::from_micros(50 * (delay % 40));
        while Instant::now() < abort_at {
            tokio::task::yield_now().await;
        }
        before.abort();
        let outcome = tokio::time::timeout(DEADLINE, behind).await;
        valid(outcome.unwrap_or_else(|_| panic!("it has not begun, delay {delay}")).unwrap());
        until(|| jobs_of(&fixture.exe).is_empty().then_some(())).await;
    }
    fixture.end();
}

/// The process before it may end in the same moment: then the start signal changes nothing.
#[tokio::test]
async fn a_start_signal_for_a_job_that_has_begun_changes_nothing() {
    let fixture = TurnFixture::new("grant-both").await;
    let ((before, _), (behind, go), next) = fixture.two(block()).await;
    signal(next, libc::SIGSTOP);
    signal(jobs_of(&fixture.exe)[0], libc::SIGKILL);
    go.send();
    assert!(matches!(before.await.unwrap(), ExecuteOutcome::Ambiguous(_)));
    signal(next, libc::SIGCONT);
    valid(behind.await.unwrap());
    fixture.end();
}

#[tokio::test]
async fn a_job_staged_behind_an_aborted_one_begins() {
    let fixture = TurnFixture::new("grant-given-up").await;
    let ((before, _), (behind, _go), _) = fixture.two(block()).await;
    before.abort();
    valid(behind.await.unwrap());
    // Also behind one that never had a process.
    let (never, progress) = SlotGrant::immediate();
    let (grant, _, _go) = progress.stage_behind();
    let behind = fixture.short(block(), grant);
    tokio::task::yield_now().await;
    assert!(!behind.is_finished());
    drop(never);
    valid(behind.await.unwrap());
    fixture.end();
}

/// A staged process has not begun its job: if it ends, another one is staged.
#[tokio::test]
async fn a_process_that_ends_while_it_waits_is_replaced() {
    let fixture = TurnFixture::new("grant-dies").await;
    let ((before, progress), (behind, go), first) = fixture.two(block()).await;
    signal(first, libc::SIGKILL);
    until(|| fixture.named("pvf-next").into_iter().find(|pid| *pid != first)).await;
    go.send();
    valid(behind.await.unwrap());
    // After three times, or without its template, the job gets a process when it has its slot.
    let (grant, _, _go) = progress.stage_behind();
    let behind = fixture.short(block(), grant);
    let mut template = 0;
    for _ in 0..3 {
        let next = fixture.next().await;
        template = parent(next);
        signal(next, libc::SIGKILL);
        until(|| has_ended(next).then_some(())).await;
    }
    signal(template, libc::SIGKILL);
    until(|| has_ended(template).then_some(())).await;
    assert!(!behind.is_finished());
    signal(jobs_of(&fixture.exe)[0], libc::SIGKILL);
    valid(behind.await.unwrap());
    assert!(matches!(before.await.unwrap(), ExecuteOutcome::Ambiguous(_)));
    fixture.end();
}

/// With more slots than cores: the core that it was staged for is still taken.
#[tokio::test]
async fn a_job_without_a_core_of_its_own_may_run_on_all() {
    let fixture = TurnFixture::new("grant-core").await;
    let cores = |pid| sched_getaffinity(Pid::from_raw(pid)).unwrap().count();
    let all = cores(0);
    let mut running = Vec::new();
    for n in 1..=all as usize {
        running.push(fixture.endless().await);
        until(|| (jobs_of(&fixture.exe).len() == n).then_some(())).await;
    }
    let (grant, _, go) = running[0].1.stage_behind();
    let job = execute_job(&busy(u64::MAX), ExecutorParams::default());
    let behind = fixture.execute(&fixture.long, job, Bytes::new(), grant);
    let next = fixture.next().await;
    assert_eq!(cores(next), 1);
    go.send();
    until(|| (name_of(next) == "pvf-execute" && cores(next) == all).then_some(())).await;
    behind.abort();
    running.into_iter().for_each(|(execution, _)| execution.abort());
    fixture.end();
}

/// Staging is not part of a job's time.
#[tokio::test]
async fn the_time_of_a_job_begins_with_its_slot() {
    let fixture = TurnFixture::new("grant-time").await;
    let (before, progress) = fixture.endless().await;
    let (grant, _, go) = progress.stage_behind();
    let job = execute_job(&echo_like(), ExecutorParams::default());
    let behind = fixture.runner.execute_with_grant(&job, fixture.short.file(), block(), grant);
    let let_go = async {
        fixture.next().await;
        let told = Instant::now();
        go.send();
        told
    };
    let ((outcome, usage, _), told) = tokio::join!(behind, let_go);
    valid(outcome);
    assert!(usage.wall <= told.elapsed(), "{usage:?}");
    before.abort();
    fixture.end();
}
