//! How a worker ends.

use crate::{
    common::{WORKER, is_starved, jobs_of, own_worker, until},
    fixture::{TOKEN, WorkerFixture, config, within},
};
use pvf_guests::corpus::busy;
use pvf_shared::{
    bus::local::LocalBus,
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec},
    verdict::InvalidReason,
    wire::{CommandRefusal, DispatchReply, WorkerKind},
};
use pvf_worker::agent::WorkerConfig;
use std::{path::Path, time::Duration};

#[tokio::test]
async fn a_draining_worker_finishes_its_jobs_and_sends_heartbeats_meanwhile() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let job = ExecuteJob { cpu_limit: Duration::from_secs(2), ..worker.execution(&busy(u64::MAX)).await };
    let spec = JobSpec::Execute(Box::new(job));
    assert_eq!(worker.dispatch((TOKEN, 1), spec.clone()).await, DispatchReply::Taken);
    worker.stop.take();
    worker.heartbeat(|beat| beat.draining).await;
    assert_eq!(worker.refused((TOKEN, 2), spec.clone()).await, CommandRefusal::Draining);
    // A dispatch that is repeated because its answer was lost is not a new job.
    assert_eq!(worker.dispatch((TOKEN, 1), spec).await, DispatchReply::Taken);
    for _ in 0..5 {
        worker.heartbeat(|beat| beat.draining && beat.running.len() == 1).await;
    }
    let report = worker.report().await;
    let JobOutcome::Execute(outcome) = report.outcome else { panic!("{report:?}") };
    // Which of the two limits is reached first depends on how busy the machine is.
    let timed_out = matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. }));
    assert!(timed_out || is_starved(&outcome, Duration::from_secs(2)), "{outcome:?}");
    worker.goodbye().await;
    within("the worker ends", &mut worker.worker).await.unwrap();
}

#[tokio::test]
async fn jobs_are_killed_when_the_drain_time_is_over() {
    let exe = own_worker("drain");
    let config = WorkerConfig { drain: Duration::ZERO, ..config(WorkerKind::Execute, &exe) };
    let mut worker = WorkerFixture::with(config, LocalBus::new()).await;
    assert_eq!(worker.dispatch((TOKEN, 1), worker.endless().await).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).first().copied()).await;
    worker.stop.take();
    worker.goodbye().await;
    within("the worker ends", &mut worker.worker).await.unwrap();
    until(|| jobs_of(&exe).is_empty().then_some(())).await;
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_worker_that_is_dropped_takes_its_jobs_with_it() {
    let exe = own_worker("dropped");
    let mut worker = WorkerFixture::with(config(WorkerKind::Execute, &exe), LocalBus::new()).await;
    assert_eq!(worker.dispatch((TOKEN, 1), worker.endless().await).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).first().copied()).await;
    worker.worker.abort();
    until(|| jobs_of(&exe).is_empty().then_some(())).await;
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_worker_without_jobs_deregisters_at_once() {
    let mut worker = WorkerFixture::with(config(WorkerKind::Execute, Path::new(WORKER)), LocalBus::new()).await;
    worker.stop.take();
    worker.goodbye().await;
    within("the worker ends", &mut worker.worker).await.unwrap();
}
