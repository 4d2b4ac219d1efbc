//! Replay bundles of the client handle.

use crate::on_both::on_both;
use pvf::{Answer, BundleFolder, BundleSettings, Config, ExecuteRequest, Metrics, Pvf, Retention, ValidationHost};
use pvf_guests::corpus;
use pvf_shared::{
    bundle::{Bundle, read_file},
    bus::nats::{NatsBus, NatsConnection},
    client::ClientConfig,
    verdict::{InvalidReason, Outcome, PrepareError},
};
use pvf_tests::{
    fleet::Fleet,
    host::Host,
    processes::binary,
    requests::{adder, bad_block, good_block, pvf_of},
};
use std::{path::Path, sync::Arc, time::Duration};

on_both! {
    an_invalid_candidate_is_replayed_from_its_bundle
    a_valid_candidate_is_replayed_with_its_result
    a_precheck_is_replayed
    what_the_guest_logged_and_where_it_trapped_is_in_the_bundle
}

/// A request, its answer and its bundle, which went through the format.
async fn bundled(host: &ValidationHost, pvf: &Pvf, request: Option<ExecuteRequest>) -> (Answer, Bundle) {
    let answer = match request.clone() {
        Some(request) => host.execute_pvf(pvf.clone(), request).await,
        None => host.precheck_pvf(pvf.clone()).await,
    };
    let answer = answer.unwrap();
    let bundle = host.bundle(pvf, request.as_ref(), &answer).await;
    let file = bundle.parts().unwrap().concat();
    let read = Bundle::decode(&file.into()).unwrap();
    assert_eq!((&read, &read.answer()), (&bundle, &answer));
    (answer, read)
}

/// Runs a bundle again, and expects the same outcome.
async fn replays(host: &ValidationHost, bundle: &Bundle) -> Bundle {
    let (_, again) = bundled(host, &bundle.pvf(), bundle.request()).await;
    assert_eq!(bundle.differences(&again.outcome), [""; 0], "{again:?}");
    assert_eq!(again.id(), bundle.id());
    again
}

async fn an_invalid_candidate_is_replayed_from_its_bundle(host: Host) {
    let (answer, bundle) = bundled(host.handle(), &adder(), Some(bad_block())).await;
    assert!(matches!(answer.outcome, Outcome::Invalid(InvalidReason::WorkerReported(_))), "{answer:?}");
    let jobs = &bundle.notes.jobs;
    assert_eq!(jobs.iter().map(|job| job.attempt).collect::<Vec<_>>(), [None, Some(1)]);
    let engine = &answer.artifact.unwrap().id.engine;
    for job in jobs {
        let record = job.record.as_ref().unwrap_or_else(|| panic!("{:?}", job.missing));
        assert!(!record.host.is_empty() && !record.version.is_empty() && record.engine == *engine, "{record:?}");
    }
    replays(host.handle(), &bundle).await;
}

async fn a_valid_candidate_is_replayed_with_its_result(host: Host) {
    let (answer, bundle) = bundled(host.handle(), &adder(), Some(good_block())).await;
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    let again = replays(host.handle(), &bundle).await;
    // The first one waited for the preparation, and both were executed.
    assert_ne!(again.notes.request, bundle.notes.request);
    assert_eq!(host.status().await.executed, 2);
}

async fn a_precheck_is_replayed(host: Host) {
    let (answer, bundle) = bundled(host.handle(), &pvf_of(b"not wasm".to_vec()), None).await;
    let Outcome::PreparationFailed(PrepareError::Prevalidation(_)) = answer.outcome else { panic!("{answer:?}") };
    assert!(bundle.request().is_none() && bundle.candidate.is_none());
    replays(host.handle(), &bundle).await;
    let (answer, bundle) = bundled(host.handle(), &adder(), None).await;
    assert_eq!(answer.outcome, Outcome::PrecheckOk);
    replays(host.handle(), &bundle).await;
}

async fn what_the_guest_logged_and_where_it_trapped_is_in_the_bundle(host: Host) {
    let (answer, bundle) = bundled(host.handle(), &pvf_of(corpus::logs_and_traps()), Some(good_block())).await;
    let Outcome::Invalid(InvalidReason::WorkerReported(why)) = &answer.outcome else { panic!("{answer:?}") };
    // The reason is as without a log.
    assert_eq!(why, "wasm trap: wasm `unreachable` instruction executed");
    let record = bundle.deciding_job().unwrap().record.as_ref().unwrap();
    assert_eq!(record.log, "[runtime] the block is bad\n");
    let functions: Vec<_> = record.backtrace.frames.iter().map(|frame| frame.function).collect();
    // `ext_logging_log` is function 0, the one that traps 1, `validate_block` 2. The instrumentation adds a function
    // that calls the export.
    assert_eq!((functions, record.backtrace.total), (vec![1, 2, 3], 3));
}

/// The bundles in this folder.
fn bundles_in(folder: &Path) -> Vec<Bundle> {
    let listed = BundleFolder::new(folder, Retention::default()).list().unwrap();
    listed.iter().map(|kept| read_file(&kept.path).unwrap()).collect()
}

/// Asks for a valid, an invalid and an unpreparable candidate and a bad precheck, and looks at what is written.
async fn writes_bundles(host: &ValidationHost, folder: &Path) {
    let outcomes = async || {
        for (pvf, request) in [
            (adder(), Some(good_block())),
            (adder(), Some(bad_block())),
            (pvf_of(b"not wasm".to_vec()), Some(good_block())),
            (pvf_of(b"no wasm".to_vec()), None),
        ] {
            let answer = match request {
                Some(request) => host.execute_pvf(pvf, request).await,
                None => host.precheck_pvf(pvf).await,
            };
            answer.unwrap();
        }
        host.bundles_written().await;
    };
    outcomes().await;
    let mut names: Vec<_> = bundles_in(folder).iter().map(|bundle| bundle.outcome.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["invalid", "preparation_failed", "preparation_failed"]);
    // The same cases again are the same files.
    outcomes().await;
    assert_eq!(bundles_in(folder).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_host_writes_bundles_of_what_is_not_valid() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("bundles");
    let config = Config {
        worker_exe: Some(binary("pvf-execute-worker")),
        bundles: Some(BundleSettings::new(&folder)),
        ..Config::new(dir.path().join("store").to_str().unwrap())
    };
    let (host, run) = pvf::start(config, Metrics::default()).await.unwrap();
    tokio::spawn(run);
    writes_bundles(&host, &folder).await;
}

async fn client_with(fleet: &Fleet, settings: BundleSettings) -> ValidationHost {
    let nats = NatsConnection::to(&fleet.nats.url).unwrap();
    let bus = NatsBus::connect(&nats, "test", Duration::from_secs(20)).await.unwrap();
    let config = ClientConfig { bundles: Some(settings), ..ClientConfig::default() };
    ValidationHost::connect(Arc::new(bus), config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_fleet_writes_bundles_of_what_is_not_valid() {
    let (fleet, dir) = (Fleet::start(1, 1).await, tempfile::tempdir().unwrap());
    let folder = dir.path().join("bundles");
    let host = client_with(&fleet, BundleSettings::new(&folder)).await;
    writes_bundles(&host, &folder).await;
    // All of them, if that is wanted.
    let folder = dir.path().join("all");
    let host = client_with(&fleet, BundleSettings { all: true, ..BundleSettings::new(&folder) }).await;
    host.execute_pvf(adder(), good_block()).await.unwrap();
    host.bundles_written().await;
    assert_eq!(bundles_in(&folder).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_changes_no_verdict() {
    let (fleet, dir) = (Fleet::start(1, 1).await, tempfile::tempdir().unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let host = client_with(&fleet, BundleSettings::new(file.join("bundles"))).await;
    let answer = host.execute_pvf(adder(), bad_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Invalid(_)), "{answer:?}");
    host.bundles_written().await;
}
