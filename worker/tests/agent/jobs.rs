//! Jobs over the bus: outcomes, what is stored, reports, repetitions, cancellation.

use crate::{
    cancel,
    common::{Compiled, WORKER, execute_job, jobs_of, own_worker, prepare_job, until},
    fixture::{TOKEN, WorkerFixture, config, within},
};
use pvf_guests::{
    adder::result,
    corpus::{RESULT, echo_like, returns},
};
use pvf_shared::{
    Bytes,
    artifact::StoredArtifact,
    blob::BlobRef,
    bus::local::LocalBus,
    config::ProtocolTimeouts,
    content::Content,
    ids::{BlobHash, FleetName, JobId},
    job::{ExecuteJob, ExecuteOutcome, JobSpec, PrepareJob, PrepareOutcome},
    params::ExecutorParams,
    pull::{PullSettings, Puller, Wanted},
    subjects,
    verdict::{AmbiguousReason, InternalError, PrepareError},
    wire::{DispatchReply, WorkerKind},
};
use pvf_worker::agent::WorkerConfig;
use std::{future::ready, path::Path, time::Duration};

#[tokio::test]
async fn artifacts_are_stored_before_they_are_reported() {
    let mut worker = WorkerFixture::new(WorkerKind::Prepare).await;
    let job = worker.preparation(&echo_like());
    let PrepareOutcome::Prepared(info) = worker.prepare(1, job.clone()).await else { panic!("it compiles") };
    assert_eq!(worker.store.look_up(&job.artifact).await.unwrap(), Some(StoredArtifact::Prepared(info)));
    // A second preparation gives the same bytes.
    assert_eq!(worker.prepare(2, job).await, PrepareOutcome::Prepared(info));
}

#[tokio::test]
async fn only_deterministic_failures_are_kept() {
    let mut worker = WorkerFixture::new(WorkerKind::Prepare).await;
    let job = worker.preparation(b"rubbish");
    let PrepareOutcome::Failed(error) = worker.prepare(1, job.clone()).await else { panic!("it is not wasm") };
    assert!(matches!(error, PrepareError::Prevalidation(_)));
    assert_eq!(worker.store.look_up(&job.artifact).await.unwrap(), Some(StoredArtifact::Failed(error)));

    let job =
        PrepareJob { cpu_limit: Duration::from_millis(1), ..worker.preparation(&pvf_guests::corpus::large(1000)) };
    let outcome = worker.prepare(2, job.clone()).await;
    assert!(matches!(outcome, PrepareOutcome::Failed(PrepareError::TimedOut { .. })), "{outcome:?}");
    assert_eq!(worker.store.look_up(&job.artifact).await.unwrap(), None);
}

#[tokio::test]
async fn missing_and_mismatching_inputs_are_internal_errors() {
    let mut worker = WorkerFixture::new(WorkerKind::Prepare).await;
    let missing = prepare_job(&echo_like(), ExecutorParams::default());
    let outcome = worker.prepare(1, missing.clone()).await;
    let PrepareOutcome::Internal(InternalError::InputBlob(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("does not have it"), "{why}");
    // The client has other bytes under this hash.
    worker.hold(Content::of_code(&echo_like()), b"rubbish");
    let outcome = worker.prepare(2, missing).await;
    let PrepareOutcome::Internal(InternalError::InputBlob(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("sent bytes with another hash"), "{why}");
}

#[tokio::test]
async fn large_block_data_is_pulled_from_the_client() {
    let bus = LocalBus::with_max_payload(64 * 1024);
    let mut worker = WorkerFixture::with(config(WorkerKind::Execute, Path::new(WORKER)), bus).await;
    let data = vec![7; 3 * 1024 * 1024];
    let hash = BlobHash::of(&data);
    let block_data = BlobRef::Held { hash, len: data.len() as u64 };
    let job = ExecuteJob { block_data, ..worker.execution(&returns(RESULT)).await };
    let outcome = worker.execute(1, job.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Internal(InternalError::InputBlob(_))), "{outcome:?}");
    worker.hold(hash.into(), &data);
    let outcome = worker.execute(2, job).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
}

#[tokio::test]
async fn missing_and_corrupted_artifacts_are_told_apart() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let job = execute_job(&echo_like(), ExecutorParams::default());
    let outcome = worker.execute(1, job.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Internal(InternalError::ArtifactMissing(_))), "{outcome:?}");
    let no_artifact = Compiled { code: Bytes::from_static(b"signed well, but no artifact"), has_start: false };
    let digest = worker.store.put_artifact(&job.artifact, &no_artifact).await.unwrap();
    let outcome = worker.execute(2, job.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
    // Prepared again, so with another digest: the copy on disk is outdated, and the store's must have that digest.
    let good = ExecuteJob {
        block_data: BlobRef::Inline(Bytes::from_static(b"longer than it")),
        ..worker.execution(&echo_like()).await
    };
    assert_ne!(good.digest, Some(digest));
    let outcome = worker.execute(3, good.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
    let outcome = worker.execute(4, ExecuteJob { digest: Some(digest), ..good }).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(_))), "{outcome:?}");
}

#[tokio::test]
async fn reports_are_repeated_until_they_are_acknowledged() {
    let timing = ProtocolTimeouts { ack: Duration::from_millis(50), ..ProtocolTimeouts::default() };
    let config = WorkerConfig { timing, ..config(WorkerKind::Execute, Path::new(WORKER)) };
    let mut worker = WorkerFixture::with(config, LocalBus::new()).await;
    let job = JobSpec::Execute(Box::new(worker.execution(&returns(RESULT)).await));
    assert_eq!(worker.dispatch((TOKEN, 1), job.clone()).await, DispatchReply::Taken);
    let (first, _) = worker.unanswered().await;
    let (second, _) = worker.unanswered().await;
    assert_eq!(first, second);
    // Its slot is free although its report is not acknowledged.
    assert_eq!(worker.dispatch((TOKEN, 2), job).await, DispatchReply::Taken);
    within("reports of both jobs", async {
        let mut seen = Vec::new();
        while !seen.contains(&JobId(1)) || !seen.contains(&JobId(2)) {
            seen.push(worker.report().await.job);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_dispatch_is_one_job() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let job = JobSpec::Execute(Box::new(worker.execution(&returns(RESULT)).await));
    for _ in 0..3 {
        assert_eq!(worker.dispatch((TOKEN, 1), job.clone()).await, DispatchReply::Taken);
    }
    assert_eq!(worker.report().await.job, JobId(1));
    assert_eq!(worker.dispatch((TOKEN, 1), job.clone()).await, DispatchReply::Taken);
    // The next report would be of job 1 if that had run again.
    assert_eq!(worker.dispatch((TOKEN, 2), job.clone()).await, DispatchReply::Taken);
    assert_eq!(worker.report().await.job, JobId(2));
}

#[tokio::test]
async fn a_cancelled_job_is_killed_and_not_reported() {
    let exe = own_worker("cancel");
    let mut worker = WorkerFixture::with(config(WorkerKind::Execute, &exe), LocalBus::new()).await;
    assert_eq!(worker.dispatch((TOKEN, 1), worker.endless().await).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).first().copied()).await;
    assert_eq!(worker.tell(cancel(1)).await, DispatchReply::Taken);
    assert_eq!(worker.tell(cancel(1)).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).is_empty().then_some(())).await;
    // A dispatch that arrives after its cancellation does not run.
    assert_eq!(worker.dispatch((TOKEN, 1), worker.endless().await).await, DispatchReply::Taken);
    let job = worker.execution(&returns(RESULT)).await;
    assert!(matches!(worker.execute(2, job).await, ExecuteOutcome::Valid(_)));
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_large_result_is_kept_and_can_be_pulled() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let large = result(&[9; 2 * 1024 * 1024], 1);
    let job = worker.execution(&returns(&large)).await;
    let ExecuteOutcome::Valid(BlobRef::Held { hash, len }) = worker.execute(1, job).await else { panic!("inline") };
    assert_eq!((hash, len), (BlobHash::of(&large), large.len() as u64));
    let wanted = Wanted {
        content: hash.into(),
        expected_len: Some(len),
        max_len: len,
        holders: vec![subjects::worker_pulls(&FleetName::default(), &worker.id)],
    };
    let puller = Puller::new(worker.bus.clone(), PullSettings::default());
    // A client may ask for it again.
    for _ in 0..2 {
        assert!(puller.fetch(&wanted, |_| ready(())).await.unwrap().0 == large);
    }
}

#[tokio::test]
async fn limits_have_no_upper_bound() {
    let mut worker = WorkerFixture::new(WorkerKind::Execute).await;
    let job = ExecuteJob { cpu_limit: Duration::MAX, ..worker.execution(&returns(RESULT)).await };
    assert!(matches!(worker.execute(1, job).await, ExecuteOutcome::Valid(_)));
    worker.stop.take();
    worker.goodbye().await;
}
