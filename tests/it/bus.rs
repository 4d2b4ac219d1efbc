//! The bus itself, and messages that do not belong on it.

use pvf_shared::{
    Bytes, ValidationHost,
    bus::{Bus, conformance, nats::NatsBus},
    client::{ClientConfig, ClientError},
    ids::{BlobHash, FleetName},
    params::{ExecutorParam, ExecutorParams},
    store::keys,
    subjects,
    verdict::Outcome,
    wire::{self, Refusal, SubmitReply, WorkerReply},
};
use pvf_tests::{
    ask::{adder, backing, good_block},
    fleet::{Fleet, Nats, client},
    processes::{signal, until},
};
use std::{sync::Arc, time::Duration};

const SOON: Duration = Duration::from_secs(10);

async fn connect(url: &str) -> NatsBus {
    NatsBus::connect(url, "test", SOON).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_the_contract_of_a_bus() {
    let nats = Nats::start(4096).await;
    conformance::check(Arc::new(connect(&nats.url).await), Arc::new(connect(&nats.url).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_refused_and_the_fleet_goes_on() {
    let fleet = Fleet::start(1, 1).await;
    let bus = connect(&fleet.nats.url).await;
    let name = FleetName::default();
    // MessagePack of {"v": 99, "m": null}.
    let newer = Bytes::from_static(b"\x82\xa1v\x63\xa1m\xc0");
    for (payload, words) in
        [(newer, "version 99"), (Bytes::from_static(b"\xc1rubbish"), "malformed"), (Bytes::new(), "malformed")]
    {
        let answer = bus.request(&subjects::from_node(&name), payload.clone(), SOON).await.unwrap();
        let SubmitReply::Refused(refusal) = wire::decode(&answer).unwrap() else { panic!("not refused") };
        assert!(refusal.to_string().contains(words), "{refusal}");
        let answer = bus.request(&subjects::from_worker(&name), payload.clone(), SOON).await.unwrap();
        let WorkerReply::Refused(why) = wire::decode(&answer).unwrap() else { panic!("not refused") };
        assert!(why.contains(words), "{why}");
        let worker = fleet.status().await.workers[0].id;
        let answer = bus.request(&subjects::worker(&name, &worker), payload, SOON).await.unwrap();
        let wire::DispatchReply::Refused(why) = wire::decode(&answer).unwrap() else { panic!("not refused") };
        assert!(why.contains(words), "{why}");
    }
    let answer = fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_limit_of_the_bus_without_a_store_of_ones_own() {
    let fleet = Fleet::start(1, 1).await;
    let without_store = client(&fleet.nats.url, None).await;
    let large = backing(b"head".to_vec(), vec![0; 2 * 1024 * 1024]);
    let error = without_store.execute_pvf(adder(), large.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { field: "block data", len: 2_097_152, .. }), "{error}");
    // A store that is not the fleet's does not help either, and is told from a missing blob.
    let elsewhere = tempfile::tempdir().unwrap();
    let wrong_store = client(&fleet.nats.url, Some(elsewhere.path())).await;
    let error = wrong_store.execute_pvf(adder(), large).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(Refusal::BlobMissing { field, .. }) if field == "block data"),
        "{error}"
    );
    let head = backing(vec![0; 2 * 1024 * 1024], b"block".to_vec());
    let error = wrong_store.execute_pvf(adder(), head).await.unwrap_err();
    assert!(error.to_string().contains("parent head"), "{error}");
    let answer = without_store.execute_pvf(adder(), good_block()).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)));
}

/// A node remembers which codes it left in the store, and a coordinator which it saw there; neither insists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_is_gone_from_the_store_is_brought_again() {
    let mut fleet = Fleet::with_payload(1, 1, 64 * 1024).await;
    let code = pvf_guests::corpus::large(200);
    let left = fleet.store().join(keys::blob(&BlobHash::of(&code)).as_ref());
    let pvf = pvf::Pvf::new(code, ExecutorParams::default());
    let valid = async |fleet: &Fleet, block: &[u8]| {
        let answer = fleet.host.execute_pvf(pvf.clone(), backing(b"head".to_vec(), block.to_vec())).await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
    };
    valid(&fleet, b"first").await;
    std::fs::remove_file(&left).unwrap();
    fleet.replace_coordinator();
    valid(&fleet, b"second").await;
    assert!(left.is_file());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_name_the_field() {
    let fleet = Fleet::start(1, 1).await;
    let twice = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1), ExecutorParam::MaxMemoryPages(2)]);
    let error = fleet.host.precheck_pvf(pvf::Pvf::new(b"x".to_vec(), twice)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Params(_))), "{error}");
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(7200));
    let error = fleet.host.execute_pvf(adder(), request).await.unwrap_err();
    assert!(error.to_string().contains("execution timeout: 7200000 is outside 1..=3600000 ms"), "{error}");
    assert_eq!(fleet.status().await.requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_coordinator_it_is_said_soon() {
    let nats = Nats::start(1024 * 1024).await;
    let config = ClientConfig { patience: Duration::from_millis(300), ..ClientConfig::default() };
    let bus = Arc::new(connect(&nats.url).await);
    let host = ValidationHost::connect(bus, None, config).await.unwrap();
    let error = host.execute_pvf(adder(), good_block()).await.unwrap_err();
    assert!(matches!(error, ClientError::NoCoordinator { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_workers_the_deadline_is_the_answer() {
    let fleet = Fleet::start(0, 0).await;
    let mut request = good_block();
    request.answer_within = Some(Duration::from_millis(300));
    let answer = fleet.host.execute_pvf(adder(), request).await.unwrap();
    assert_eq!(answer.outcome, Outcome::ExecutionDeadline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_end_when_asked_though_the_bus_is_gone() {
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
