//! A coordinator that takes over from one that stands still: workers obey the newer one only.

use pvf_guests::adder::{Block, Head};
use pvf_shared::{
    Bytes,
    bus::{
        Bus as _,
        nats::{NatsBus, NatsConnection},
    },
    identity::WorkerId,
    ids::{FencingToken, FleetName, JobId},
    store::keys,
    subjects,
    verdict::Outcome,
    wire::{self, CommandRefusal, DispatchReply, ToWorker, WorkerKind},
};
use pvf_tests::{
    fleet::{Fleet, Role},
    processes::{Process, has_ended, signal, until},
    requests::{adder, assert_timed_out, backing, endless, good_block},
};
use std::time::Duration;

/// The token of the coordinator that was started last.
fn last_token(fleet: &Fleet) -> FencingToken {
    let text = std::fs::read_to_string(fleet.store().join(keys::fencing_token().as_ref())).unwrap();
    FencingToken(text.trim().parse().unwrap())
}

/// The highest token that a worker has seen, if it is higher than `token`: it refuses to give back a job that it never
/// had.
async fn newer_token(bus: &NatsBus, worker: &WorkerId, token: FencingToken) -> Option<FencingToken> {
    let recall = wire::encode(&ToWorker::Recall { token, job: JobId(u64::MAX), attempt: 1 });
    let subject = subjects::worker_commands(&FleetName::default(), worker);
    let answer: Bytes = bus.request(&subject, recall, Duration::from_secs(10)).await.ok()?;
    match wire::decode(&answer).unwrap() {
        DispatchReply::Refused(CommandRefusal::StaleToken { got, highest }) if got == token => Some(highest),
        DispatchReply::Refused(CommandRefusal::NotStaged) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_obey_the_newer_of_two_coordinators() {
    const REQUESTS: u64 = 20;
    let mut fleet = Fleet::start(1, 2).await;
    let bus =
        NatsBus::connect(&NatsConnection::to(&fleet.nats.url).unwrap(), "test", Duration::from_secs(10)).await.unwrap();
    fleet.host.precheck_pvf(adder()).await.unwrap();
    let workers: Vec<_> = fleet.status().await.workers.iter().map(|worker| worker.id).collect();
    let old = last_token(&fleet);

    let newer = Process::start(&mut fleet.coordinator_command());
    // The newer one waits until the lease of the older one is over.
    signal(fleet.coordinator.pid(), libc::SIGSTOP);
    for worker in &workers {
        let highest = until("the worker knows the newer coordinator", async || newer_token(&bus, worker, old).await);
        let highest = highest.await;
        assert!(highest > old && highest == last_token(&fleet), "{highest:?} after {old:?}");
    }
    signal(fleet.coordinator.pid(), libc::SIGCONT);
    // The older one says nothing more.
    for n in 0..REQUESTS {
        let request = backing(Head::genesis().encode(), Block { state: 0, increment: n }.encode());
        let answer = fleet.host.execute_pvf(adder(), request).await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    }
    fleet.coordinator.kill();
    fleet.coordinator = newer;
    fleet.complete(1, 2).await;
    let status = fleet.status().await;
    assert_eq!((status.token, status.executed), (last_token(&fleet), REQUESTS), "each request was executed once");
    assert_eq!(status.prepared, 0, "the newer coordinator found the artifact in the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_an_older_coordinator_had_begun_is_answered_by_the_newer_one() {
    let mut fleet = Fleet::start(1, 1).await;
    let bus =
        NatsBus::connect(&NatsConnection::to(&fleet.nats.url).unwrap(), "test", Duration::from_secs(10)).await.unwrap();
    let worker = fleet.status().await.workers.iter().find(|w| w.kind == WorkerKind::Execute).map(|w| w.id).unwrap();
    let (host, mut request) = (fleet.host.clone(), good_block());
    request.exec_timeout = Some(Duration::from_secs(3));
    let waits = tokio::spawn(async move { host.execute_pvf(endless(), request).await });
    let job = fleet.job(Role::Execute, 0).await;
    let old = last_token(&fleet);
    let newer = Process::start(&mut fleet.coordinator_command());
    signal(fleet.coordinator.pid(), libc::SIGSTOP);
    until("the worker knows the newer coordinator", async || newer_token(&bus, &worker, old).await).await;
    fleet.coordinator.kill();
    fleet.coordinator = newer;
    until("the older coordinator's job has ended", async || has_ended(job).then_some(())).await;
    let answer = waits.await.unwrap().unwrap();
    assert_timed_out(&answer.outcome, Duration::from_secs(3));
}
