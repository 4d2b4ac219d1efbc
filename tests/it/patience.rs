//! A request waits until its own deadline: for a bus, a coordinator and a store that stand still or cannot be used for
//! a while, when it is submitted first and when it is submitted again.

use crate::tool::CliFixture;
use pvf::ValidationHost;
use pvf_shared::{
    bus::nats::{NatsBus, NatsConnection},
    client::ClientConfig,
    store::{ArtifactKeys, BlobStore},
    verdict::Outcome,
};
use pvf_tests::{
    fleet::{Fleet, Role},
    processes::{signal, until},
    requests::{adder, good_block},
};
use std::{
    fs::{File, remove_file, rename},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Longer than the patience of a client that finds nobody.
const STANDSTILL: Duration = Duration::from_secs(7);

/// A client with the default settings, whose patience is shorter than [`STANDSTILL`].
async fn client(fleet: &Fleet) -> ValidationHost {
    let bus =
        NatsBus::connect(&NatsConnection::to(&fleet.nats.url).unwrap(), "test", Duration::from_secs(10)).await.unwrap();
    let store = BlobStore::open(fleet.store().to_str().unwrap(), ArtifactKeys::unsigned()).unwrap();
    let config = ClientConfig::default();
    assert!(config.patience < STANDSTILL);
    ValidationHost::connect(Arc::new(bus), Some(store), config).await.unwrap()
}

/// A store in which inputs can neither be looked up nor written: a file is in the way of their folder.
struct BrokenInputs {
    inputs: PathBuf,
    away: PathBuf,
}

impl BrokenInputs {
    fn new(fleet: &Fleet) -> Self {
        let (inputs, away) = (fleet.store().join("inputs"), fleet.store().join("inputs-away"));
        if inputs.is_dir() {
            rename(&inputs, &away).unwrap();
        }
        File::create(&inputs).unwrap();
        Self { inputs, away }
    }

    fn repair(self) {
        remove_file(&self.inputs).unwrap();
        if self.away.is_dir() {
            rename(&self.away, &self.inputs).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_or_a_coordinator_that_stands_still_at_the_first_submission_is_waited_for() {
    let fleet = Fleet::start(1, 1).await;
    for pid in [fleet.coordinator.pid(), fleet.nats.pid()] {
        // This client has never heard of the coordinator.
        let host = client(&fleet).await;
        signal(pid, libc::SIGSTOP);
        let answer = tokio::spawn(async move { host.execute_pvf(adder(), good_block()).await });
        // The fault is a standstill of a certain length. Nothing can be asked meanwhile.
        tokio::time::sleep(STANDSTILL).await;
        assert!(!answer.is_finished());
        signal(pid, libc::SIGCONT);
        let answer = answer.await.unwrap().expect("an answer");
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_waits_for_a_coordinator_that_stands_still_and_says_so() {
    let (fleet, cli) = (Fleet::start(1, 1).await, CliFixture::new());
    signal(fleet.coordinator.pid(), libc::SIGSTOP);
    let store = fleet.store().display().to_string();
    let options = ["execute", "code.wasm", "--params", "good", "--wait", "100s", "--json"];
    let mut command = cli.command(&[&options[..], &["--nats", &fleet.nats.url, "--store", &store]].concat());
    let waits = tokio::task::spawn_blocking(move || command.output().unwrap());
    // As above: the fault is a standstill of a certain length.
    tokio::time::sleep(STANDSTILL).await;
    assert!(!waits.is_finished());
    signal(fleet.coordinator.pid(), libc::SIGCONT);
    let output = waits.await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains(r#""verdict":"valid""#), "{stdout}{stderr}");
    // Once, not with each submission.
    assert_eq!(stderr.matches("the request is not accepted yet").count(), 1, "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_outlasts_a_new_coordinator_that_cannot_use_the_store_for_a_while() {
    // Without an execute worker the request is accepted and waits.
    let mut fleet = Fleet::start(1, 0).await;
    let host = client(&fleet).await;
    let mut trouble = host.trouble();
    let answer = tokio::spawn(async move { host.execute_pvf(adder(), good_block()).await });
    until("the request is accepted", async || (fleet.status().await.requests == 1).then_some(())).await;
    fleet.coordinator.kill();
    let broken = BrokenInputs::new(&fleet);
    fleet.replace_coordinator();
    until("the new coordinator refuses the request", async || {
        let why = trouble.borrow_and_update().clone();
        why.filter(|why| why.contains("the fleet's store cannot be used"))
    })
    .await;
    broken.repair();
    fleet.add(Role::Execute);
    let answer = answer.await.unwrap().expect("an answer");
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    assert_eq!(*trouble.borrow(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_never_accepted_has_expired_and_says_why() {
    let (fleet, cli) = (Fleet::start(1, 1).await, CliFixture::new());
    let broken = BrokenInputs::new(&fleet);
    let store = fleet.store().display().to_string();
    let of_fleet = ["--nats", &fleet.nats.url, "--store", &store, "--wait", "2s"];
    for request in [&["execute", "code.wasm", "--params", "good"][..], &["precheck", "code.wasm"]] {
        let [answer] = &cli.json(&[request, &of_fleet[..]].concat(), 3)[..] else { panic!("one object") };
        assert_eq!(answer["verdict"], "deadline", "{answer}");
        let reason = answer["reason"].as_str().unwrap();
        assert!(reason.starts_with("no verdict within 2 s: refused: the fleet's store cannot be used"), "{reason}");
    }
    broken.repair();
}
