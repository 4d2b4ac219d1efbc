//! Jobs behind others: they have their process, and begin when the one before has ended or when they are told to.

mod common;

use common::{
    artifact, execute_job, has_ended, jobs_of, name_of, own_worker, parent, processes_of, runner, until, valid,
};
use pvf_guests::corpus::{busy, echo_like};
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome},
    params::ExecutorParams,
};
use pvf_worker::supervise::{Go, JobRunner, Progress, Turn};
use rustix::{process::Pid, thread::sched_getaffinity};
use std::{fs, path::PathBuf, time::Instant};
use tokio::task::JoinHandle;

/// A runner with an executable of its own, and two artifacts.
struct Stage {
    exe: PathBuf,
    runner: JobRunner,
    long: tempfile::NamedTempFile,
    short: tempfile::NamedTempFile,
}

type Execution = JoinHandle<ExecuteOutcome>;

impl Stage {
    async fn new(name: &str) -> Self {
        let exe = own_worker(name);
        let runner = runner(&exe).of_size(usize::MAX, 1);
        let (long, short) = (artifact(&busy(u64::MAX)).await, artifact(&echo_like()).await);
        Self { exe, runner, long, short }
    }

    fn execute(&self, artifact: &tempfile::NamedTempFile, job: ExecuteJob, block_data: Bytes, turn: Turn) -> Execution {
        let (runner, path) = (self.runner.clone(), artifact.path().to_owned());
        tokio::spawn(async move { runner.execute_in_turn(&job, &path, block_data, turn).await.0 })
    }

    /// A job that does not end by itself.
    async fn endless(&self) -> (Execution, Progress) {
        let (turn, progress) = Turn::now();
        let job = execute_job(&busy(u64::MAX), ExecutorParams::default());
        let execution = self.execute(&self.long, job, Bytes::new(), turn);
        until(|| jobs_of(&self.exe).first().copied()).await;
        (execution, progress)
    }

    /// A job that takes no time at all.
    fn short(&self, block_data: Bytes, turn: Turn) -> Execution {
        let job = execute_job(&echo_like(), ExecutorParams::default());
        self.execute(&self.short, job, block_data, turn)
    }

    /// Such a job behind one that does not end, its process waiting: both, what lets it go, and that process.
    async fn two(&self, block_data: Bytes) -> ((Execution, Progress), (Execution, Go), i32) {
        let (before, progress) = self.endless().await;
        let (turn, _, go) = progress.behind();
        let behind = self.short(block_data, turn);
        ((before, progress), (behind, go), self.next().await)
    }

    fn named(&self, name: &str) -> Vec<i32> {
        processes_of(&self.exe).into_iter().filter(|pid| name_of(*pid) == name).collect()
    }

    /// The process of the job that waits.
    async fn next(&self) -> i32 {
        until(|| self.named("pvf-next").first().copied()).await
    }

    fn end(self) {
        fs::remove_file(self.exe).unwrap();
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: the process is one of this test's runner.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn block() -> Bytes {
    Bytes::from_static(b"block")
}

/// The runtime of this test has one thread, which does nothing else meanwhile.
#[tokio::test]
async fn the_next_job_begins_and_ends_without_the_worker() {
    let stage = Stage::new("turn-next").await;
    for block_data in [block(), vec![7; 100_000].into()] {
        let ((before, _), (behind, _go), next) = stage.two(block_data.clone()).await;
        signal(jobs_of(&stage.exe)[0], libc::SIGKILL);
        while !has_ended(next) {
            std::thread::yield_now();
        }
        assert!(!behind.is_finished() && !before.is_finished());
        let seen = valid(behind.await.unwrap());
        let (turn, _) = Turn::now();
        assert_eq!(seen, valid(stage.short(block_data, turn).await.unwrap()));
        assert!(matches!(before.await.unwrap(), ExecuteOutcome::Ambiguous(_)));
    }
    stage.end();
}

#[tokio::test]
async fn a_job_that_is_told_to_go_does_not_wait() {
    let stage = Stage::new("turn-go").await;
    let ((before, progress), (behind, go), _) = stage.two(block()).await;
    go.go();
    valid(behind.await.unwrap());
    assert!(!before.is_finished());
    // And before it has a process.
    let (turn, _, go) = progress.behind();
    go.go();
    valid(stage.short(block(), turn).await.unwrap());
    before.abort();
    stage.end();
}

/// Both may happen at once: then one of them is of no use, and does no harm.
#[tokio::test]
async fn a_job_that_is_told_to_go_when_it_has_begun() {
    let stage = Stage::new("turn-both").await;
    let ((before, _), (behind, go), next) = stage.two(block()).await;
    signal(next, libc::SIGSTOP);
    signal(jobs_of(&stage.exe)[0], libc::SIGKILL);
    go.go();
    assert!(matches!(before.await.unwrap(), ExecuteOutcome::Ambiguous(_)));
    signal(next, libc::SIGCONT);
    valid(behind.await.unwrap());
    stage.end();
}

#[tokio::test]
async fn a_job_behind_one_that_is_given_up_begins() {
    let stage = Stage::new("turn-given-up").await;
    let ((before, _), (behind, _go), _) = stage.two(block()).await;
    before.abort();
    valid(behind.await.unwrap());
    // One that never came is waited for no more than one that is gone.
    let (never, progress) = Turn::now();
    let (turn, _, _go) = progress.behind();
    let behind = stage.short(block(), turn);
    tokio::task::yield_now().await;
    assert!(!behind.is_finished());
    drop(never);
    valid(behind.await.unwrap());
    stage.end();
}

/// A job that waits has done nothing yet: whatever ends its process, another one does it.
#[tokio::test]
async fn a_process_that_ends_while_it_waits_is_replaced() {
    let stage = Stage::new("turn-dies").await;
    let ((before, progress), (behind, go), first) = stage.two(block()).await;
    signal(first, libc::SIGKILL);
    until(|| stage.named("pvf-next").into_iter().find(|pid| *pid != first)).await;
    go.go();
    valid(behind.await.unwrap());
    // As often as that happens, and with its template: then it gets one when it has its slot.
    let (turn, _, _go) = progress.behind();
    let behind = stage.short(block(), turn);
    let mut template = 0;
    for _ in 0..3 {
        let next = stage.next().await;
        template = parent(next);
        signal(next, libc::SIGKILL);
        until(|| has_ended(next).then_some(())).await;
    }
    signal(template, libc::SIGKILL);
    until(|| has_ended(template).then_some(())).await;
    assert!(!behind.is_finished());
    signal(jobs_of(&stage.exe)[0], libc::SIGKILL);
    valid(behind.await.unwrap());
    assert!(matches!(before.await.unwrap(), ExecuteOutcome::Ambiguous(_)));
    stage.end();
}

/// With more slots than cores: the core that it waited for is still another one's.
#[tokio::test]
async fn a_job_without_a_core_may_run_on_all() {
    let stage = Stage::new("turn-core").await;
    let cores = |pid| sched_getaffinity(Pid::from_raw(pid)).unwrap().count();
    let all = cores(0);
    let mut running = Vec::new();
    for n in 1..=all as usize {
        running.push(stage.endless().await);
        until(|| (jobs_of(&stage.exe).len() == n).then_some(())).await;
    }
    let (turn, _, go) = running[0].1.behind();
    let job = execute_job(&busy(u64::MAX), ExecutorParams::default());
    let behind = stage.execute(&stage.long, job, Bytes::new(), turn);
    let next = stage.next().await;
    assert_eq!(cores(next), 1);
    go.go();
    until(|| (name_of(next) == "pvf-execute" && cores(next) == all).then_some(())).await;
    behind.abort();
    running.into_iter().for_each(|(execution, _)| execution.abort());
    stage.end();
}

/// What a job takes begins with its turn.
#[tokio::test]
async fn the_time_of_a_job_begins_with_its_turn() {
    let stage = Stage::new("turn-time").await;
    let (before, progress) = stage.endless().await;
    let (turn, _, go) = progress.behind();
    let job = execute_job(&echo_like(), ExecutorParams::default());
    let behind = stage.runner.execute_in_turn(&job, stage.short.path(), block(), turn);
    let let_go = async {
        stage.next().await;
        let told = Instant::now();
        go.go();
        told
    };
    let ((outcome, usage), told) = tokio::join!(behind, let_go);
    valid(outcome);
    assert!(usage.wall <= told.elapsed(), "{usage:?}");
    before.abort();
    stage.end();
}
