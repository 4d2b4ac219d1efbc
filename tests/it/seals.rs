//! Sealed artifacts with a secret key, on a fleet of processes.

use pvf_shared::{
    Bytes,
    ids::ArtifactId,
    store::{
        keys,
        seal::{self, SealKey, Sealed},
    },
    verdict::{InternalError, Outcome},
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role},
    host::artifacts_in,
    processes::until,
    requests::{adder, good_block},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef\n";

async fn keyed_fleet(execute: usize) -> Fleet {
    Fleet::with(FleetConfig { execute, seal_secret: Some(SECRET.into()), ..FleetConfig::default() }).await
}

/// The only artifact in the store: its id and its sealed bytes.
fn only_artifact(fleet: &Fleet) -> (ArtifactId, Bytes) {
    let [file] = &artifacts_in(fleet.store())[..] else { panic!("one artifact") };
    let key = file.strip_prefix(fleet.store()).unwrap().to_str().unwrap().into();
    (keys::parse_artifact(&key).expect("an artifact's key"), std::fs::read(file).unwrap().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_with_a_seal_key_seals_with_it() {
    let fleet = keyed_fleet(1).await;
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    let (id, sealed) = only_artifact(&fleet);
    // White space around the secret in the file does not count.
    let key: SealKey = SECRET.trim().parse().unwrap();
    assert!(matches!(seal::open(&key, &id, &sealed), Ok(Sealed::Artifact { .. })));
    for other in [SealKey::unkeyed(), SealKey::from_secret(b"another secret of 16").unwrap()] {
        assert!(seal::open(&other, &id, &sealed).is_err());
    }
}

/// An execute worker with another key takes every artifact for a forgery: it maps none. The artifact is prepared again
/// once, and the verdict is `internal`: no worker has executed the candidate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execute_worker_with_another_key_maps_no_artifact() {
    let mut fleet = keyed_fleet(0).await;
    let other = fleet.folder().join("another-key");
    std::fs::write(&other, "another secret, long enough").unwrap();
    fleet.add_with(Role::Execute, &["--seal-key-file", other.to_str().unwrap()]);
    fleet.complete(1, 1).await;
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    let Outcome::Internal(InternalError::Store(why)) = &answer.outcome else { panic!("{answer:?}") };
    assert!(why.contains("the artifact does not open"), "{why}");
    assert_eq!(answer.attempts, 3);
    assert_eq!(fleet.status().await.prepared, 2);
    // A worker with the fleet's key runs the same artifact.
    fleet.execute.clear();
    fleet.add(Role::Execute);
    fleet.complete(1, 1).await;
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    assert_eq!(fleet.status().await.prepared, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_cannot_be_used_stops_a_role() {
    let mut fleet = keyed_fleet(0).await;
    let short = fleet.folder().join("short-key");
    std::fs::write(&short, "short").unwrap();
    for file in [short, fleet.folder().join("absent")] {
        fleet.add_with(Role::Execute, &["--seal-key-file", file.to_str().unwrap()]);
        let worker = fleet.execute.last_mut().unwrap();
        let ended = until("the worker ends", async || worker.0.try_wait().unwrap()).await;
        assert_eq!(ended.code(), Some(2), "{}", file.display());
    }
}
