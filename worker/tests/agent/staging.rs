//! Staged jobs, with the processes that the kernel starts without the worker.

use crate::{
    blocking::block_until_ended,
    cancel,
    common::{WORKER, jobs_of, name_of, own_worker, processes_of, until},
    dispatch,
    fixture::{TOKEN, WorkerFixture, config},
    recall,
};
use pvf_guests::corpus::{RESULT, returns};
use pvf_shared::{
    bus::local::LocalBus,
    ids::JobId,
    job::JobSpec,
    wire::{Dispatch, DispatchReply, ToWorker, WorkerKind},
};
use pvf_worker::agent::WorkerConfig;
use std::path::Path;

async fn short(worker: &WorkerFixture) -> JobSpec {
    JobSpec::Execute(Box::new(worker.execution(&returns(RESULT)).await))
}

/// The jobs of the next reports, sorted: reports of jobs that run at the same time come in any order.
async fn reported(worker: &mut WorkerFixture, n: usize) -> Vec<u64> {
    let mut jobs = Vec::new();
    for _ in 0..n {
        jobs.push(worker.report().await.job.0);
    }
    jobs.sort_unstable();
    jobs
}

/// A staged job begins by itself when there is a slot, the most urgent first, and can be recalled before that. One that
/// had to wait behind an endless one would never be reported.
#[tokio::test]
async fn staged_jobs_begin_by_urgency_or_are_recalled() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let (short, endless) = (short(&worker).await, worker.endless().await);
    for (job, urgency, spec) in [(1, 4, &endless), (2, 4, &endless), (3, 4, &endless), (4, 1, &short)] {
        assert_eq!(worker.tell(dispatch(job, urgency, spec)).await, DispatchReply::Taken);
    }
    assert!(matches!(worker.tell(recall(1)).await, DispatchReply::Refused(_)), "it has begun");
    assert_eq!(worker.tell(recall(2)).await, DispatchReply::Taken);
    assert!(matches!(worker.tell(recall(2)).await, DispatchReply::Refused(_)), "it was given back");
    assert_eq!(worker.tell(cancel(1)).await, DispatchReply::Taken);
    assert_eq!(worker.report().await.job, JobId(4));
    // Job 3 has the slot. Job 7 displaces job 5, which is then the first of its equals again.
    for (job, urgency, spec) in [(5, 4, &short), (6, 4, &endless), (7, 1, &short)] {
        assert_eq!(worker.tell(dispatch(job, urgency, spec)).await, DispatchReply::Taken);
    }
    assert_eq!(worker.tell(cancel(3)).await, DispatchReply::Taken);
    assert_eq!(reported(&mut worker, 2).await, [5, 7]);
}

/// Of two slots the one that is free first goes to the next job, also if that is staged behind the other one.
#[tokio::test]
async fn the_next_job_gets_the_slot_that_is_free_first() {
    let config = WorkerConfig { slots: 2, ..config(WorkerKind::Execute, Path::new(WORKER)) };
    let mut worker = WorkerFixture::with(config, LocalBus::new()).await;
    let (short, endless) = (short(&worker).await, worker.endless().await);
    for (first, cancelled) in [(10, 10), (20, 21)] {
        // Two that run, one staged behind each, and two more urgent ones that displace the staged ones.
        for (job, urgency, spec) in
            [(0, 4, &endless), (1, 4, &endless), (2, 4, &endless), (3, 4, &endless), (4, 1, &short), (5, 1, &short)]
        {
            assert_eq!(worker.tell(dispatch(first + job, urgency, spec)).await, DispatchReply::Taken);
        }
        assert_eq!(worker.tell(cancel(cancelled)).await, DispatchReply::Taken);
        assert_eq!(reported(&mut worker, 2).await, [first + 4, first + 5]);
        for job in 0..4 {
            assert_eq!(worker.tell(cancel(first + job)).await, DispatchReply::Taken);
        }
    }
}

/// The kernel may have begun and ended a job that the worker still takes for staged: there is one report of it,
/// whatever the worker decides then.
#[tokio::test]
async fn a_staged_job_may_end_before_the_worker_looks() {
    let exe = own_worker("unseen");
    let mut worker = WorkerFixture::with(config(WorkerKind::Execute, &exe), LocalBus::new()).await;
    let (short, endless) = (short(&worker).await, worker.endless().await);
    assert_eq!(worker.tell(dispatch(1, 4, &endless)).await, DispatchReply::Taken);
    assert_eq!(worker.tell(dispatch(2, 4, &short)).await, DispatchReply::Taken);
    let named = |name| processes_of(&exe).into_iter().find(|pid| name_of(*pid) == name);
    let staged = until(|| named("pvf-next")).await;
    // The worker is on this thread: it sees nothing until both have ended.
    let first = jobs_of(&exe)[0];
    // SAFETY: the process is one of this test's worker.
    assert_eq!(unsafe { libc::kill(first, libc::SIGKILL) }, 0);
    block_until_ended(staged);
    // The worker hears of a more urgent job first.
    assert_eq!(worker.tell(dispatch(3, 1, &short)).await, DispatchReply::Taken);
    assert_eq!(worker.tell(dispatch(4, 9, &short)).await, DispatchReply::Taken);
    assert_eq!(reported(&mut worker, 4).await, [1, 2, 3, 4]);
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn another_attempt_supersedes_the_earlier_one() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    assert_eq!(worker.dispatch((TOKEN, 1), worker.endless().await).await, DispatchReply::Taken);
    let ToWorker::Dispatch(first) = dispatch(1, 0, &short(&worker).await) else { panic!("a dispatch") };
    let second = Dispatch { attempt: 2, ..*first };
    assert_eq!(worker.tell(ToWorker::Dispatch(Box::new(second))).await, DispatchReply::Taken);
    let report = worker.report().await;
    assert_eq!((report.job, report.attempt), (JobId(1), 2));
}
