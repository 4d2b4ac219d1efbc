//! How a standby takes over.

use super::*;
use pvf::Answer;
use pvf_guests::adder::{Block, Head};
use pvf_shared::{
    Bytes,
    bus::{
        Bus as _,
        nats::{NatsBus, NatsConnection},
    },
    subjects::Subject,
    verdict::Outcome,
};
use pvf_tests::{
    fleet::LONG_LEASE,
    processes::signal,
    requests::{adder, backing},
};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Executions of different blocks, all under way at once.
fn many(fleet: &Fleet, numbers: std::ops::Range<u64>) -> Vec<JoinHandle<Answer>> {
    let one = |n| {
        let host = fleet.host.clone();
        let request = backing(Head::genesis().encode(), Block { state: 0, increment: n }.encode());
        tokio::spawn(async move { host.execute_pvf(adder(), request).await.expect("an answer") })
    };
    numbers.map(one).collect()
}

async fn assert_valid(answers: Vec<JoinHandle<Answer>>) {
    for answer in answers {
        let answer = answer.await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_coordinators_that_are_started_at_once_one_is_active() {
    let config = FleetConfig { prepare: 0, execute: 0, ..FleetConfig::default() };
    let mut watched = Watched::watch(Fleet::with(config).await);
    let before = watched.fleet.status().await.token;
    watched.fleet.coordinator.kill();
    // The killed one's lease runs out while they wait.
    let mut started = [0; 3].map(|_| watched.standby());
    let token = watched.successor(before).await;
    watched.look();
    // Whoever else were active would answer as well.
    for _ in 0..50 {
        assert_eq!(watched.fleet.status().await.token, token);
    }
    watched.look();
    assert_eq!((watched.term.map(|term| term.token), &watched.late[..]), (Some(token), &[] as &[String]));
    started.iter_mut().for_each(Process::kill);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_answers_what_was_in_flight_when_the_active_coordinator_is_killed() {
    let mut watched = Watched::start("", 2).await;
    assert_valid(many(&watched.fleet, 0..20)).await;
    let old = watched.fleet.status().await.token;
    let standby = watched.standby();
    let answers = many(&watched.fleet, 100..300);
    until("some of them are answered", async || {
        watched.look();
        (watched.verdicts.len() > 40).then_some(())
    })
    .await;
    watched.fleet.coordinator.kill();
    let token = watched.successor(old).await;
    assert_valid(answers).await;
    watched.look();
    assert!(watched.announced.contains(&token.0), "{:?}", watched.announced);
    watched.assert_not_contradicted();
    assert_eq!(watched.fleet.status().await.inconsistencies, 0);
    drop(standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_stood_still_sends_nothing_when_it_goes_on_and_becomes_a_standby() {
    let mut watched = Watched::start("", 2).await;
    assert_valid(many(&watched.fleet, 0..20)).await;
    let first = watched.fleet.status().await.token;
    let mut second = watched.standby();
    // Every message before this answer has been sent: what the witness sees of it later, it sent after it woke.
    assert_eq!(watched.fleet.status().await.requests, 0);
    signal(watched.fleet.coordinator.pid(), libc::SIGSTOP);
    let answers = many(&watched.fleet, 100..200);
    let token = watched.successor(first).await;
    assert_valid(answers).await;
    watched.look();
    signal(watched.fleet.coordinator.pid(), libc::SIGCONT);
    assert_valid(many(&watched.fleet, 300..400)).await;
    watched.look();
    assert_eq!((watched.term.map(|term| term.token), &watched.late[..]), (Some(token), &[] as &[String]));
    // It is the only standby.
    second.kill();
    let third = watched.successor(token).await;
    assert_valid(many(&watched.fleet, 500..520)).await;
    watched.look();
    assert!(third > token);
    assert_eq!(watched.late, [""; 0], "the one that woke said nothing");
    watched.assert_not_contradicted();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_ends_hands_the_lease_over() {
    // Nothing else than the hand-over ends this lease during the test.
    let mut watched = Watched::start(LONG_LEASE, 1).await;
    let mut tokens = vec![watched.fleet.status().await.token];
    for n in 0..3 {
        let standby = watched.standby();
        let answers = many(&watched.fleet, n * 100..n * 100 + 50);
        // It must wait already: whoever comes later takes the lease at its start.
        until("the standby is connected", async || (watched.fleet.nats.varz("connections") >= 6).then_some(())).await;
        signal(watched.fleet.coordinator.pid(), libc::SIGTERM);
        let token = watched.successor(tokens[tokens.len() - 1]).await;
        tokens.push(token);
        assert_valid(answers).await;
        let status = watched.fleet.coordinator.0.wait().unwrap();
        assert!(status.success(), "{status}");
        watched.fleet.coordinator = standby;
        watched.look();
    }
    watched.assert_not_contradicted();
    assert!(tokens.is_sorted(), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_removed_is_made_anew_with_a_higher_epoch() {
    let mut watched = Watched::start("", 1).await;
    let connection = NatsConnection::to(&watched.fleet.nats.url).unwrap();
    let bus = NatsBus::connect(&connection, "test", Duration::from_secs(10)).await.unwrap();
    let remove = Subject::received("$JS.API.STREAM.DELETE.KV_pvf-coordinator");
    let mut token = watched.fleet.status().await.token;
    for n in 0..2 {
        let answer = bus.request(&remove, Bytes::new(), Duration::from_secs(10)).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("\"success\":true"), "{answer:?}");
        let next = watched.successor(token).await;
        assert!(next.0 >> 32 > token.0 >> 32, "epochs grow: {token:?}, {next:?}");
        token = next;
        assert_valid(many(&watched.fleet, n * 10..n * 10 + 10)).await;
        watched.look();
    }
    watched.assert_not_contradicted();
}
