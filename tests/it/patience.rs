//! A request waits until its own deadline for a bus and a coordinator that stand still or refuse it for a while.

use crate::tool::CliFixture;
use pvf::ValidationHost;
use pvf_shared::{
    bus::nats::{NatsBus, NatsConnection},
    client::ClientConfig,
    verdict::Outcome,
};
use pvf_tests::{
    fleet::{Fleet, FleetConfig, LONG_LEASE},
    processes::signal,
    requests::{adder, good_block},
};
use std::{sync::Arc, time::Duration};

/// Longer than the patience of a client that finds nobody.
const STANDSTILL: Duration = Duration::from_secs(7);

/// A fleet whose coordinator stays the active one while it stands still.
async fn patient_fleet() -> Fleet {
    Fleet::with(FleetConfig { settings: LONG_LEASE.into(), ..FleetConfig::default() }).await
}

/// A client with the default settings, whose patience is shorter than [`STANDSTILL`].
async fn client(fleet: &Fleet) -> ValidationHost {
    let bus =
        NatsBus::connect(&NatsConnection::to(&fleet.nats.url).unwrap(), "test", Duration::from_secs(10)).await.unwrap();
    let config = ClientConfig::default();
    assert!(config.patience < STANDSTILL);
    ValidationHost::connect(Arc::new(bus), config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_or_a_coordinator_that_stands_still_at_the_first_submission_is_waited_for() {
    let fleet = patient_fleet().await;
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
    let (fleet, cli) = (patient_fleet().await, CliFixture::new());
    signal(fleet.coordinator.pid(), libc::SIGSTOP);
    let options = ["execute", "code.wasm", "--params", "good", "--wait", "100s", "--json"];
    let mut command = cli.command(&[&options[..], &["--nats", &fleet.nats.url]].concat());
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
async fn a_request_that_is_never_accepted_has_expired_and_says_why() {
    let settings = "[policy.per_user]\nrequests = 1\nbytes = 1\n".into();
    let (fleet, cli) = (Fleet::with(FleetConfig { settings, ..FleetConfig::default() }).await, CliFixture::new());
    let request = ["execute", "code.wasm", "--params", "good", "--nats", &fleet.nats.url, "--wait", "2s"];
    let [answer] = &cli.json(&request, 3)[..] else { panic!("one object") };
    assert_eq!(answer["verdict"], "deadline", "{answer}");
    let reason = answer["reason"].as_str().unwrap();
    assert!(reason.starts_with("no verdict within 2 s: refused: overloaded: requests of user default"), "{reason}");
}
