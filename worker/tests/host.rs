//! A worker on the bus, with real job processes, against a coordinator that the test plays.

mod common;
#[path = "common/stage.rs"]
mod stage;

use common::{AMPLE, WORKER, execute_job, has_ended, jobs_of, name_of, own_worker, prepare_job, processes_of, until};
use futures::StreamExt as _;
use pvf_guests::{
    adder::result,
    corpus::{RESULT, busy, echo_like, returns},
};
use pvf_shared::{
    Bytes,
    bus::{Bus as _, local::LocalBus},
    config::{MAX_AHEAD, Timing},
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, FencingToken, FleetName, JobId, WorkerId},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, PrepareJob, PrepareOutcome},
    params::ExecutorParams,
    store::{BlobStore, Found, seal::SealKey},
    subjects,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
    wire::{self, Dispatch, DispatchReply, FromWorker, ToWorker, WorkerKind, WorkerReply},
};
use pvf_worker::host::{Worker, WorkerConfig};
use stage::{Stage, TOKEN, config};
use std::{path::Path, sync::Arc, time::Duration};

fn preparation(code: &[u8]) -> PrepareJob {
    prepare_job(code, ExecutorParams::default())
}

#[tokio::test]
async fn a_worker_says_hello_until_it_is_welcomed_and_again_when_it_is_forgotten() {
    let bus = Arc::new(LocalBus::new());
    let store = BlobStore::open("memory://", SealKey::unkeyed()).unwrap();
    let timing = Timing { ack: Duration::from_millis(10), heartbeat: Duration::from_millis(10), ..Timing::default() };
    let config = WorkerConfig { timing, ..config(WorkerKind::Prepare, Path::new(WORKER)) };
    let engine = pvf_worker::wasm::engine_id(config.baseline).unwrap();
    let mut heard = bus.subscribe(&subjects::from_worker(&config.fleet)).await.unwrap();
    let worker = Worker::new(config, bus.clone(), store).unwrap();
    let worker = tokio::spawn(worker.run(std::future::pending()));
    let mut next = async || {
        let message = heard.next().await.unwrap();
        (wire::decode::<FromWorker>(&message.payload).unwrap(), message.reply.unwrap())
    };
    let (FromWorker::Hello(first), _) = next().await else { panic!("a hello comes first") };
    assert_eq!((first.kind, first.slots, &first.engine), (WorkerKind::Prepare, 1, &engine));
    let (again, reply) = next().await;
    assert_eq!(again, FromWorker::Hello(first.clone()));
    bus.publish(&reply, wire::encode(&WorkerReply::Welcome { token: TOKEN })).await.unwrap();
    let reply = loop {
        match next().await {
            (FromWorker::Heartbeat(beat), reply) => {
                assert_eq!(beat.worker, first.worker);
                break reply;
            }
            // One that was under way.
            (FromWorker::Hello(_), reply) => {
                bus.publish(&reply, wire::encode(&WorkerReply::Welcome { token: TOKEN })).await.unwrap();
            }
            (other, _) => panic!("{other:?}"),
        }
    };
    bus.publish(&reply, wire::encode(&WorkerReply::SayHello)).await.unwrap();
    while !matches!(next().await.0, FromWorker::Hello(_)) {}
    worker.abort();
}

#[tokio::test]
async fn artifacts_are_in_the_store_before_anybody_hears_of_them() {
    let mut stage = Stage::new(WorkerKind::Prepare).await;
    let job = preparation(&echo_like());
    let PrepareOutcome::Prepared(info) = stage.prepare(1, job.clone()).await else { panic!("it compiles") };
    assert_eq!(stage.store.look_up(&job.artifact).await.unwrap(), Some(Found::Prepared(info)));
    // Twice on one worker, one after the other; the same bytes.
    assert_eq!(stage.prepare(2, job).await, PrepareOutcome::Prepared(info));
}

#[tokio::test]
async fn only_deterministic_failures_are_kept() {
    let mut stage = Stage::new(WorkerKind::Prepare).await;
    let job = preparation(b"rubbish");
    let PrepareOutcome::Failed(error) = stage.prepare(1, job.clone()).await else { panic!("it is no code") };
    assert!(matches!(error, PrepareError::Prevalidation(_)));
    assert_eq!(stage.store.look_up(&job.artifact).await.unwrap(), Some(Found::Failed(error)));

    let job = PrepareJob { cpu_limit: Duration::from_millis(1), ..preparation(&pvf_guests::corpus::large(1000)) };
    let outcome = stage.prepare(2, job.clone()).await;
    assert!(matches!(outcome, PrepareOutcome::Failed(PrepareError::TimedOut { .. })), "{outcome:?}");
    assert_eq!(stage.store.look_up(&job.artifact).await.unwrap(), None);
}

#[tokio::test]
async fn inputs_that_are_not_what_they_should_be_are_ours() {
    let mut stage = Stage::new(WorkerKind::Prepare).await;
    let mut job = preparation(&echo_like());
    job.artifact.code_hash = CodeHash::of(b"another");
    assert!(matches!(stage.prepare(1, job).await, PrepareOutcome::Internal(InternalError::InputBlob(_))));
    let mut job = preparation(&echo_like());
    job.code = BlobRef::Stored { hash: BlobHash([1; 32]), len: 9 };
    assert!(matches!(stage.prepare(2, job).await, PrepareOutcome::Internal(InternalError::InputBlob(_))));
}

#[tokio::test]
async fn missing_and_corrupted_artifacts_are_told_apart() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    let job = execute_job(&echo_like(), ExecutorParams::default());
    let outcome = stage.execute(1, job.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Internal(InternalError::ArtifactMissing(_))), "{outcome:?}");
    let mac = stage.store.put_artifact(&job.artifact, b"sealed well, but no artifact").await.unwrap();
    let outcome = stage.execute(2, job.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
    // Prepared again, so another MAC: the copy on disk does not count any more, and the store's must be that one.
    let good = ExecuteJob {
        block_data: BlobRef::Inline(Bytes::from_static(b"longer than it")),
        ..stage.execution(&echo_like()).await
    };
    assert_ne!(good.mac, Some(mac));
    let outcome = stage.execute(3, good.clone()).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
    let outcome = stage.execute(4, ExecuteJob { mac: Some(mac), ..good }).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(_))), "{outcome:?}");
}

#[tokio::test]
async fn reports_are_repeated_until_they_are_acknowledged() {
    let timing = Timing { ack: Duration::from_millis(50), ..Timing::default() };
    let config = WorkerConfig { timing, ..config(WorkerKind::Execute, Path::new(WORKER)) };
    let mut stage = Stage::with(config, LocalBus::new()).await;
    let job = JobSpec::Execute(Box::new(stage.execution(&returns(RESULT)).await));
    assert_eq!(stage.dispatch((TOKEN, 1), job.clone()).await, DispatchReply::Taken);
    let (first, _) = stage.unanswered().await;
    let (second, _) = stage.unanswered().await;
    assert_eq!(first, second);
    // Its slot is free although its report is under way.
    assert_eq!(stage.dispatch((TOKEN, 2), job).await, DispatchReply::Taken);
    let mut seen = Vec::new();
    while !seen.contains(&JobId(1)) || !seen.contains(&JobId(2)) {
        seen.push(stage.report().await.job);
    }
}

#[tokio::test]
async fn a_repeated_dispatch_is_one_job() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    let job = JobSpec::Execute(Box::new(stage.execution(&returns(RESULT)).await));
    for _ in 0..3 {
        assert_eq!(stage.dispatch((TOKEN, 1), job.clone()).await, DispatchReply::Taken);
    }
    assert_eq!(stage.report().await.job, JobId(1));
    assert_eq!(stage.dispatch((TOKEN, 1), job.clone()).await, DispatchReply::Taken);
    // The next report would be of job 1 if that had been done again.
    until_taken(&mut stage, 2, &job).await;
    assert_eq!(stage.report().await.job, JobId(2));
}

/// A slot is free a moment after its job's report was acknowledged at the latest.
async fn until_taken(stage: &mut Stage, job: u64, spec: &JobSpec) {
    while stage.dispatch((TOKEN, job), spec.clone()).await != DispatchReply::Taken {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_worker_refuses() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    let endless = stage.endless().await;
    let why = stage.refused((TOKEN, 1), JobSpec::Prepare(Box::new(preparation(b"")))).await;
    assert!(why.contains("no prepare worker"), "{why}");
    let mut other = execute_job(b"", ExecutorParams::default());
    other.artifact = ArtifactId { engine: EngineId::parse("another").unwrap(), ..other.artifact };
    let why = stage.refused((TOKEN, 1), JobSpec::Execute(Box::new(other))).await;
    assert!(why.contains("engine"), "{why}");
    assert_eq!(stage.dispatch((TOKEN, 1), endless.clone()).await, DispatchReply::Taken);
    for waiting in 2..=1 + u64::from(MAX_AHEAD) {
        assert_eq!(stage.dispatch((TOKEN, waiting), endless.clone()).await, DispatchReply::Taken);
    }
    assert!(stage.refused((TOKEN, 100), endless.clone()).await.contains("slot"));
    assert!(stage.refused((FencingToken(6), 101), endless.clone()).await.contains("token"));
    // Somebody took over: from now on only they count.
    assert!(stage.refused((FencingToken(8), 102), endless.clone()).await.contains("slot"));
    assert!(stage.refused((TOKEN, 103), endless).await.contains("token"));
    let cancel = ToWorker::Cancel { token: TOKEN, job: JobId(1), attempt: 1 };
    assert!(matches!(stage.tell(cancel).await, DispatchReply::Refused(_)));
    while !matches!(stage.next().await.0, FromWorker::Heartbeat(beat) if beat.running.len() == 1 + MAX_AHEAD as usize) {
    }
    stage.worker.abort();
}

fn attempt(job: u64, urgency: u8, spec: &JobSpec) -> ToWorker {
    let (token, job, spec, acknowledged) = (TOKEN, JobId(job), spec.clone(), vec![]);
    ToWorker::Dispatch(Box::new(Dispatch { token, job, attempt: 1, urgency, request: None, spec, acknowledged }))
}

fn cancel(job: u64) -> ToWorker {
    ToWorker::Cancel { token: TOKEN, job: JobId(job), attempt: 1 }
}

/// A job that is held ahead waits for the slot, begins by itself when there is one, the most urgent first, and can be
/// given back as long as it waits. One that had to wait behind an endless one would never be reported.
#[tokio::test]
async fn jobs_that_wait_at_a_worker_begin_by_urgency_or_are_given_back() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    let short = JobSpec::Execute(Box::new(stage.execution(&returns(RESULT)).await));
    let endless = stage.endless().await;
    let recall = |job| ToWorker::Recall { token: TOKEN, job: JobId(job), attempt: 1 };
    for dispatch in [attempt(1, 4, &endless), attempt(2, 4, &endless), attempt(3, 4, &endless), attempt(4, 1, &short)] {
        assert_eq!(stage.tell(dispatch).await, DispatchReply::Taken);
    }
    assert!(matches!(stage.tell(recall(1)).await, DispatchReply::Refused(_)), "it has begun");
    assert_eq!(stage.tell(recall(2)).await, DispatchReply::Taken);
    assert!(matches!(stage.tell(recall(2)).await, DispatchReply::Refused(_)), "it was given back");
    assert_eq!(stage.tell(cancel(1)).await, DispatchReply::Taken);
    assert_eq!(stage.report().await.job, JobId(4));
    // Job 3 has the slot. A more urgent one takes the place of one that is as good as begun, which is the first of
    // its equals again.
    for dispatch in [attempt(5, 4, &short), attempt(6, 4, &endless), attempt(7, 1, &short)] {
        assert_eq!(stage.tell(dispatch).await, DispatchReply::Taken);
    }
    assert_eq!(stage.tell(cancel(3)).await, DispatchReply::Taken);
    let mut reported = [stage.report().await.job, stage.report().await.job];
    reported.sort_unstable();
    assert_eq!(reported, [JobId(5), JobId(7)]);
}

/// Of two slots whichever is free first: the next job goes to that, also if it waits behind the other one.
#[tokio::test]
async fn the_next_job_gets_the_slot_that_is_free_first() {
    let config = WorkerConfig { slots: 2, ..config(WorkerKind::Execute, Path::new(WORKER)) };
    let mut stage = Stage::with(config, LocalBus::new()).await;
    let short = JobSpec::Execute(Box::new(stage.execution(&returns(RESULT)).await));
    let endless = stage.endless().await;
    for (first, gone) in [(10, 10), (20, 21)] {
        // Two that run, a next one behind each, and two more urgent ones that take their places.
        for (job, urgency, spec) in
            [(0, 4, &endless), (1, 4, &endless), (2, 4, &endless), (3, 4, &endless), (4, 1, &short), (5, 1, &short)]
        {
            assert_eq!(stage.tell(attempt(first + job, urgency, spec)).await, DispatchReply::Taken);
        }
        assert_eq!(stage.tell(cancel(gone)).await, DispatchReply::Taken);
        let mut reported = [stage.report().await.job.0, stage.report().await.job.0];
        reported.sort_unstable();
        assert_eq!(reported, [first + 4, first + 5]);
        for job in 0..4 {
            assert_eq!(stage.tell(cancel(first + job)).await, DispatchReply::Taken);
        }
    }
}

/// The kernel may have begun and ended a job that the worker still thinks of as the next one: whatever the worker does
/// then, there is one report of it.
#[tokio::test]
async fn a_next_job_that_ended_before_the_worker_looked() {
    let exe = own_worker("unseen");
    let mut stage = Stage::with(config(WorkerKind::Execute, &exe), LocalBus::new()).await;
    let spec = JobSpec::Execute(Box::new(stage.execution(&returns(RESULT)).await));
    let endless = stage.endless().await;
    assert_eq!(stage.tell(attempt(1, 4, &endless)).await, DispatchReply::Taken);
    assert_eq!(stage.tell(attempt(2, 4, &spec)).await, DispatchReply::Taken);
    let named = |name| processes_of(&exe).into_iter().find(|pid| name_of(*pid) == name);
    let next = until(|| named("pvf-next")).await;
    // From here on until both have ended the worker, which is on this thread, sees nothing.
    let first = jobs_of(&exe)[0];
    // SAFETY: the process is one of this test's worker.
    assert_eq!(unsafe { libc::kill(first, libc::SIGKILL) }, 0);
    while !has_ended(next) {
        std::thread::yield_now();
    }
    // And then a more urgent one first.
    assert_eq!(stage.tell(attempt(3, 1, &spec)).await, DispatchReply::Taken);
    assert_eq!(stage.tell(attempt(4, 9, &spec)).await, DispatchReply::Taken);
    let mut reported = vec![];
    for _ in 0..4 {
        reported.push(stage.report().await.job.0);
    }
    reported.sort_unstable();
    assert_eq!(reported, [1, 2, 3, 4]);
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn another_attempt_takes_the_place_of_the_earlier_one() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    assert_eq!(stage.dispatch((TOKEN, 1), stage.endless().await).await, DispatchReply::Taken);
    let spec = JobSpec::Execute(Box::new(stage.execution(&returns(RESULT)).await));
    let acknowledged = vec![];
    let again = Dispatch { token: TOKEN, job: JobId(1), attempt: 2, urgency: 0, request: None, spec, acknowledged };
    assert_eq!(stage.tell(ToWorker::Dispatch(Box::new(again))).await, DispatchReply::Taken);
    let report = stage.report().await;
    assert_eq!((report.job, report.attempt), (JobId(1), 2));
}

#[tokio::test]
async fn a_cancelled_job_is_killed_and_not_reported() {
    let exe = own_worker("cancel");
    let mut stage = Stage::with(config(WorkerKind::Execute, &exe), LocalBus::new()).await;
    assert_eq!(stage.dispatch((TOKEN, 1), stage.endless().await).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).first().copied()).await;
    let cancel = || ToWorker::Cancel { token: TOKEN, job: JobId(1), attempt: 1 };
    assert_eq!(stage.tell(cancel()).await, DispatchReply::Taken);
    assert_eq!(stage.tell(cancel()).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).is_empty().then_some(())).await;
    // A dispatch that was overtaken by its cancellation is not done.
    assert_eq!(stage.dispatch((TOKEN, 1), stage.endless().await).await, DispatchReply::Taken);
    let job = stage.execution(&returns(RESULT)).await;
    assert!(matches!(stage.execute(2, job).await, ExecuteOutcome::Valid(_)));
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_result_that_does_not_fit_the_bus_goes_to_the_store() {
    let bus = LocalBus::with_max_payload(1024 * 1024);
    let mut stage = Stage::with(config(WorkerKind::Execute, Path::new(WORKER)), bus).await;
    let large = result(&[9; 2 * 1024 * 1024], 1);
    let job = stage.execution(&returns(&large)).await;
    let ExecuteOutcome::Valid(blob @ BlobRef::Stored { .. }) = stage.execute(1, job).await else { panic!("inline") };
    assert_eq!(stage.store.fetch(&blob).await.unwrap(), large);
}

#[tokio::test]
async fn limits_have_no_upper_bound() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    let job = ExecuteJob { cpu_limit: Duration::MAX, ..stage.execution(&returns(RESULT)).await };
    assert!(matches!(stage.execute(1, job).await, ExecuteOutcome::Valid(_)));
    stage.stop.take();
    assert_goodbye(&mut stage).await;
}

async fn assert_goodbye(stage: &mut Stage) -> usize {
    let mut beats = 0;
    loop {
        match stage.next().await {
            (FromWorker::Heartbeat(_), reply) => {
                beats += 1;
                stage.answer(&reply, WorkerReply::Ack).await;
            }
            (FromWorker::Goodbye { worker }, reply) => {
                assert_eq!(worker, stage.hello.worker);
                stage.answer(&reply, WorkerReply::Ack).await;
                return beats;
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_worker_that_ends_finishes_its_jobs_and_is_alive_all_the_while() {
    let mut stage = Stage::new(WorkerKind::Execute).await;
    let job = ExecuteJob { cpu_limit: Duration::from_secs(2), ..stage.execution(&busy(u64::MAX)).await };
    let spec = JobSpec::Execute(Box::new(job));
    assert_eq!(stage.dispatch((TOKEN, 1), spec.clone()).await, DispatchReply::Taken);
    stage.stop.take();
    // It says so by itself, so that nobody sends it more.
    loop {
        let (FromWorker::Heartbeat(beat), reply) = stage.next().await else { panic!("heartbeats go on") };
        stage.answer(&reply, WorkerReply::Ack).await;
        if beat.draining {
            break;
        }
    }
    assert!(stage.refused((TOKEN, 2), spec.clone()).await.contains("going away"));
    // A dispatch that is repeated because its answer was lost is still one that was taken.
    assert_eq!(stage.dispatch((TOKEN, 1), spec).await, DispatchReply::Taken);
    let mut beats = 0;
    while beats < 5 {
        let (FromWorker::Heartbeat(beat), reply) = stage.next().await else { panic!("heartbeats go on") };
        // The first may be from before the dispatch.
        beats += beat.running.len();
        stage.answer(&reply, WorkerReply::Ack).await;
    }
    let report = stage.report().await;
    let JobOutcome::Execute(outcome) = report.outcome else { panic!("{report:?}") };
    assert!(matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. })), "{outcome:?}");
    assert_goodbye(&mut stage).await;
    stage.worker.await.unwrap();
}

#[tokio::test]
async fn a_worker_does_not_wait_longer_than_it_may() {
    let exe = own_worker("drain");
    let config = WorkerConfig { drain: Duration::ZERO, ..config(WorkerKind::Execute, &exe) };
    let mut stage = Stage::with(config, LocalBus::new()).await;
    assert_eq!(stage.dispatch((TOKEN, 1), stage.endless().await).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).first().copied()).await;
    stage.stop.take();
    assert_goodbye(&mut stage).await;
    stage.worker.await.unwrap();
    until(|| jobs_of(&exe).is_empty().then_some(())).await;
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_worker_that_is_dropped_takes_its_jobs_with_it() {
    let exe = own_worker("dropped");
    let mut stage = Stage::with(config(WorkerKind::Execute, &exe), LocalBus::new()).await;
    assert_eq!(stage.dispatch((TOKEN, 1), stage.endless().await).await, DispatchReply::Taken);
    until(|| jobs_of(&exe).first().copied()).await;
    stage.worker.abort();
    until(|| jobs_of(&exe).is_empty().then_some(())).await;
    std::fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn rubbish_on_the_bus_is_answered() {
    let stage = Stage::new(WorkerKind::Execute).await;
    let to = subjects::worker(&FleetName::default(), &stage.hello.worker);
    let answer = stage.bus.request(&to, Bytes::from_static(b"rubbish"), AMPLE).await.unwrap();
    assert!(matches!(wire::decode(&answer).unwrap(), DispatchReply::Refused(_)));
    let nobody = subjects::worker(&FleetName::default(), &WorkerId::new());
    assert!(stage.bus.request(&nobody, Bytes::new(), AMPLE).await.is_err());
}
