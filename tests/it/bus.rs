//! The bus, and messages that the fleet must refuse.

use pvf_shared::{
    Bytes, ValidationHost,
    bus::{
        Bus, conformance,
        nats::{NatsBus, NatsConnection},
    },
    client::{ClientConfig, ClientError},
    identity::{ClientId, WorkerId, WorkerKind},
    ids::FleetName,
    subjects,
    verdict::Outcome,
    wire::{self, CommandRefusal, Refusal, SubmitReply, WorkerRefusal, WorkerReply},
};
use pvf_testkit::nats::{DEFAULT_PAYLOAD, NatsServer};
use pvf_tests::{
    fleet::Fleet,
    processes::{signal, until},
    requests::{adder, good_block},
};
use std::{sync::Arc, time::Duration};

/// Time to connect, and to answer a request of the test.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn connect(url: &str) -> NatsBus {
    NatsBus::connect(&NatsConnection::to(url).unwrap(), "test", PATIENCE).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_conforms_to_the_bus_contract() {
    let nats = NatsServer::start(4096).await;
    conformance::check(Arc::new(connect(&nats.url).await), Arc::new(connect(&nats.url).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_do_not_decode_are_refused() {
    let fleet = Fleet::start(1, 1).await;
    let bus = connect(&fleet.nats.url).await;
    let name = FleetName::default();
    let from_client = subjects::client_requests(&name, &ClientId::new(bus.user()));
    let from_worker = subjects::worker_requests(&name, &WorkerId::new(WorkerKind::Execute, bus.user()));
    // MessagePack of {"v": 99, "m": null}.
    let newer = Bytes::from_static(b"\x82\xa1v\x63\xa1m\xc0");
    for (payload, words) in
        [(newer, "version 99"), (Bytes::from_static(b"\xc1rubbish"), "malformed"), (Bytes::new(), "malformed")]
    {
        let answer = bus.request(&from_client, payload.clone(), PATIENCE).await.unwrap();
        let SubmitReply::Refused(refusal) = wire::decode(&answer).unwrap() else { panic!("not refused") };
        assert!(refusal.to_string().contains(words), "{refusal}");
        let answer = bus.request(&from_worker, payload.clone(), PATIENCE).await.unwrap();
        let WorkerReply::Refused(why) = wire::decode(&answer).unwrap() else { panic!("not refused") };
        assert!(matches!(&why, WorkerRefusal::NotUnderstood(text) if text.contains(words)), "{why}");
        let worker = fleet.status().await.workers[0].id;
        let answer = bus.request(&subjects::worker_commands(&name, &worker), payload, PATIENCE).await.unwrap();
        let wire::DispatchReply::Refused(why) = wire::decode(&answer).unwrap() else { panic!("not refused") };
        assert!(matches!(&why, CommandRefusal::NotUnderstood(text) if text.contains(words)), "{why}");
    }
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_the_field() {
    let fleet = Fleet::start(1, 1).await;
    let error = fleet.host.precheck_pvf(adder().with_code_bomb_limit(0)).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(Refusal::OutOfRange { .. })), "{error}");
    assert!(error.to_string().contains("code bomb limit: 0 is outside 1..=1073741824 bytes"), "{error}");
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(7200));
    let error = fleet.host.execute_pvf(adder(), request).await.unwrap_err();
    assert!(error.to_string().contains("execution timeout: 7200000 is outside 1..=3600000 ms"), "{error}");
    assert_eq!(fleet.status().await.requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_coordinator_the_client_gives_up_after_its_patience() {
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    let config = ClientConfig { patience: Duration::from_millis(300), ..ClientConfig::default() };
    let bus = Arc::new(connect(&nats.url).await);
    let host = ValidationHost::connect(bus, config).await.unwrap();
    let error = host.execute_pvf(adder(), good_block()).await.unwrap_err();
    assert!(matches!(error, ClientError::NoCoordinator { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_workers_a_request_expires_at_its_deadline() {
    let fleet = Fleet::start(0, 0).await;
    let mut request = good_block();
    request.answer_within = Some(Duration::from_millis(300));
    let answer = fleet.host.execute_pvf(adder(), request).await.unwrap();
    assert_eq!(answer.outcome, Outcome::Expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_end_on_sigterm_without_a_bus() {
    let mut fleet = Fleet::start(1, 1).await;
    fleet.nats.kill();
    let roles = [&mut fleet.coordinator, &mut fleet.prepare[0], &mut fleet.execute[0]];
    for role in &roles {
        signal(role.pid(), libc::SIGTERM);
    }
    for role in roles {
        let ended = until("the role ends", async || role.0.try_wait().unwrap()).await;
        assert!(ended.success(), "{ended}");
    }
}
