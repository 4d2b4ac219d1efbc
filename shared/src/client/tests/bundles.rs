//! Replay bundles that the client writes by itself.

use super::*;
use crate::{
    bundle::{BundleFolder, Retention, read_file},
    content::Content,
    identity::{UserName, WorkerKind},
    ids::{BlobHash, EngineId},
    job::{AttemptEnd, JobUsage},
    pull::serve,
    record::{Backtrace, HeldRecord, JobRecord},
    verdict::InvalidReason,
    wire::AttemptUsage,
};

fn worker() -> WorkerId {
    WorkerId::new(WorkerKind::Execute, UserName::default())
}

fn invalid() -> WireOutcome {
    Outcome::Invalid(InvalidReason::PovDecompression)
}

fn record() -> JobRecord {
    let engine = EngineId::parse("engine").unwrap();
    let (host, version, log) = ("h".into(), "v".into(), "[t] why\n".into());
    JobRecord { host, version, engine, log, backtrace: Backtrace::default() }
}

async fn writing_to(folder: &std::path::Path, all: bool) -> Fixture {
    let bundles = Some(BundleSettings { all, ..BundleSettings::new(folder) });
    Fixture::with(LocalBus::new(), ClientConfig { bundles, ..ClientConfig::default() }).await
}

/// The bundles in a folder once the client has written them.
async fn written(fixture: &Fixture, folder: &std::path::Path) -> Vec<Bundle> {
    fixture.client.bundles_written().await;
    let listed = BundleFolder::new(folder, Retention::default()).list().unwrap();
    listed.iter().map(|kept| read_file(&kept.path).unwrap()).collect()
}

/// Has an execution answered as invalid, by an attempt with a record at this worker.
async fn answer_invalid(fixture: &mut Fixture, worker: WorkerId) -> Answer {
    let task = fixture.execute(b"code", b"block");
    let submission = fixture.accept().await;
    let bytes = wire::encode(&record());
    let held = HeldRecord { hash: BlobHash::of(&bytes), len: bytes.len() as u32 };
    let usage = JobUsage { record: Some(held), ..JobUsage::default() };
    let mut verdict = fixture.verdict(&submission, invalid(), Some(worker));
    verdict.usage.executions = vec![AttemptUsage { attempt: 1, worker, end: AttemptEnd::Invalid, usage }];
    fixture.publish(verdict).await;
    task.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_bundle_has_the_request_the_answer_and_what_the_worker_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = writing_to(dir.path(), false).await;
    let worker = worker();
    let pulls = fixture.bus.subscribe(&subjects::worker_pulls(&fixture.config.fleet, &worker)).await.unwrap();
    let bytes = wire::encode(&record());
    let name = Content::of_blob(&bytes);
    tokio::spawn(serve(fixture.bus.clone(), pulls, move |content| (*content == name).then(|| bytes.clone())));
    let answer = answer_invalid(&mut fixture, worker).await;
    let [bundle] = &written(&fixture, dir.path()).await[..] else { panic!("one bundle") };
    assert_eq!((bundle.answer(), &bundle.code[..]), (answer, &b"code"[..]));
    let request = bundle.request().unwrap();
    assert_eq!((&request.block_data[..], request.fresh), (&b"block"[..], true));
    assert_eq!(bundle.deciding_job().unwrap().record, Some(record()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_gone_delays_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = writing_to(dir.path(), false).await;
    let answer = answer_invalid(&mut fixture, worker()).await;
    assert!(matches!(answer.outcome, Outcome::Invalid(_)));
    let [bundle] = &written(&fixture, dir.path()).await[..] else { panic!("one bundle") };
    let job = bundle.deciding_job().unwrap();
    assert!(job.record.is_none() && job.missing.is_some(), "{job:?}");
}

#[tokio::test]
async fn only_what_is_not_valid_has_a_bundle_unless_all_is_wanted() {
    for (all, outcome, expected) in [
        (false, Outcome::PrecheckOk, 0),
        (false, Outcome::Expired, 0),
        (false, invalid(), 1),
        (true, Outcome::PrecheckOk, 1),
        (true, Outcome::Expired, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut fixture = writing_to(dir.path(), all).await;
        let task = fixture.precheck();
        let submission = fixture.accept().await;
        fixture.send_verdict(&submission, outcome).await;
        task.await.unwrap().unwrap();
        assert_eq!(written(&fixture, dir.path()).await.len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_finds_too_many_others_waiting_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = writing_to(dir.path(), false).await;
    // Records of this worker are asked for, and nobody answers: the first bundle waits.
    let worker = worker();
    let _pulls = fixture.bus.subscribe(&subjects::worker_pulls(&fixture.config.fleet, &worker)).await.unwrap();
    answer_invalid(&mut fixture, worker).await;
    for n in 0..40_u8 {
        let client = fixture.client.clone();
        let task = tokio::spawn(async move { client.precheck_pvf(pvf(&[n])).await });
        let submission = fixture.accept().await;
        fixture.send_verdict(&submission, invalid()).await;
        task.await.unwrap().unwrap();
    }
    // The one that waits, and those behind it.
    assert_eq!(written(&fixture, dir.path()).await.len(), 1 + 16);
}
