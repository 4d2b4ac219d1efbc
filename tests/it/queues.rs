//! The rules of the queues, end to end: priority, coalescing, admission, and recovery after a coordinator's restart.
//! The scheduler's own tests check the rules one by one, and the simulation checks all of them together.
//!
//! Slots are blocked while a test fills the queue, so that no result depends on the speed of the machine.

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use pvf::{ExecuteRequest, Pvf};
use pvf_guests::{
    adder::{Block, Head},
    corpus::{busy, large},
};
use pvf_shared::{ids::CodeHash, priority::ExecuteKind, verdict::Outcome, wire::WorkerKind};
use pvf_testkit::DEADLINE;
use pvf_tests::{
    fleet::{Fleet, FleetConfig, Role, client},
    host::artifacts_in,
    processes::{signal, until},
    requests::{adder, backing, endless, good_block, pvf_of},
};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A candidate that differs from others by its number.
fn candidate(kind: ExecuteKind, n: u64) -> ExecuteRequest {
    let block = Block { state: 0, increment: n };
    ExecuteRequest { kind, ..backing(Head::genesis().encode(), block.encode()) }
}

/// Occupies this many execute slots until the tasks are aborted.
async fn block_slots(fleet: &Fleet, slots: u32) -> Vec<JoinHandle<()>> {
    let mut request = good_block();
    request.exec_timeout = Some(Duration::from_secs(600));
    request.fresh = true;
    let block = |_| {
        let (host, request) = (fleet.host.clone(), request.clone());
        tokio::spawn(async move { panic!("an endless guest ended: {:?}", host.execute_pvf(endless(), request).await) })
    };
    let blocked = (0..slots).map(block).collect();
    until("the slots are blocked", async || {
        // The prepare worker has a job before: the guest's code.
        let workers = fleet.status().await.workers.into_iter();
        let executing = workers.filter(|worker| worker.kind == WorkerKind::Execute).map(|worker| worker.running);
        (executing.sum::<u32>() == slots).then_some(())
    })
    .await;
    blocked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disputes_overtake_backing_which_keeps_its_share() {
    // One dispatch in twelve, and 30 %. The jobs that run and are staged when the slots become free come on top.
    disputes_among_backing("", 1, 30).await;
    disputes_among_backing("[policy.shares]\nbeyond = \"least-urgent\"\n", 4, 40).await;
}

/// Queues twenty disputes behind 300 backing requests. From the first to the last dispute, at least `least_backing`
/// backing requests are answered, and fewer than `most` requests of both kinds.
async fn disputes_among_backing(settings: &str, least_backing: usize, most: usize) {
    // With one slot the order of the answers is that of the dispatches. With two, a worker that a busy machine does not
    // run for a while answers late what was dispatched in time.
    let config = FleetConfig { execute: 1, settings: settings.into(), ..FleetConfig::default() };
    let fleet = Fleet::with(config).await;
    fleet.host.precheck_pvf(adder()).await.unwrap();
    let blocked = block_slots(&fleet, 1).await;
    let submit = |kind, n| {
        let host = fleet.host.clone();
        // How long all of them take depends on the machine.
        let request = ExecuteRequest { answer_within: Some(5 * DEADLINE), ..candidate(kind, n) };
        tokio::spawn(async move { (kind, host.execute_pvf(adder(), request).await.unwrap()) })
    };
    let mut submitted: FuturesUnordered<_> = (0..300).map(|n| submit(ExecuteKind::Backing, n)).collect();
    until("all backing requests are accepted", async || (fleet.status().await.requests == 301).then_some(())).await;
    submitted.extend((1000..1020).map(|n| submit(ExecuteKind::Dispute, n)));
    until("all disputes are accepted", async || (fleet.status().await.requests == 321).then_some(())).await;
    blocked.iter().for_each(JoinHandle::abort);
    let mut order = Vec::new();
    while let Some(answered) = submitted.next().await {
        let (kind, answer) = answered.unwrap();
        if !matches!(answer.outcome, Outcome::Valid(_)) {
            panic!("answer {} is {answer:?}; the fleet: {:?}", order.len(), fleet.status().await);
        }
        order.push(kind);
    }
    assert_eq!(order.len(), 320);
    let disputes: Vec<_> =
        order.iter().enumerate().filter(|(_, kind)| **kind == ExecuteKind::Dispute).map(|(n, _)| n).collect();
    let (first, last) = (disputes[0], disputes[19]);
    assert!(last - first < most && last < 299, "the disputes are answered at {disputes:?}");
    let share = (first..last).filter(|n| order[*n] == ExecuteKind::Backing).count();
    assert!(share >= least_backing, "backing got {share} of {} meanwhile", last - first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_overtakes_a_background_backlog() {
    let fleet = Fleet::start(1, 1).await;
    let codes: Vec<_> = [4000].into_iter().chain(200..207).map(large).collect();
    let announce = |codes: &[Vec<u8>]| {
        let (host, pvfs) = (fleet.host.clone(), codes.iter().cloned().map(pvf_of).collect());
        tokio::spawn(async move { host.heads_up(pvfs, true).await })
    };
    let queued = async |least| {
        let queued = async || (fleet.status().await.prepare_queue.iter().sum::<u64>() >= least).then_some(());
        until("preparations are queued", queued).await;
    };
    // The only prepare slot is blocked until the dispute is in the queue. One preparation may be staged at the worker:
    // not that of the dispute, which comes last.
    let mut announced = vec![announce(&codes[..1])];
    let first = fleet.job(Role::Prepare, 0).await;
    signal(first, libc::SIGSTOP);
    announced.push(announce(&codes[1..7]));
    queued(5).await;
    announced.push(announce(&codes[7..]));
    queued(6).await;
    let (host, wanted) = (fleet.host.clone(), pvf_of(codes[7].clone()));
    let dispute = tokio::spawn(async move { host.execute_pvf(wanted, candidate(ExecuteKind::Dispute, 1)).await });
    until("the dispute's preparation is queued as critical", async || {
        (fleet.status().await.prepare_queue[2] == 1).then_some(())
    })
    .await;
    signal(first, libc::SIGCONT);
    let answer = dispute.await.unwrap().unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
    until("the backlog is prepared, too", async || (artifacts_in(fleet.store()).len() == 8).then_some(())).await;
    assert_eq!(fleet.status().await.prepared, 8);
    let mut prepared = 0;
    for announced in announced {
        prepared += announced.await.unwrap().unwrap().len();
    }
    assert_eq!(prepared, 8);
    // The order of preparation is that of the files: the dispute's follows the one that was running.
    let mut files = artifacts_in(fleet.store());
    files.sort_by_key(|file| file.metadata().and_then(|data| data.modified()).unwrap());
    let wanted = CodeHash::of(&codes[7]).to_string();
    let place = files.iter().position(|file| file.display().to_string().contains(wanted.trim_start_matches("0x")));
    assert_eq!(place, Some(1), "{files:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identical_validations_of_two_clients_run_once() {
    let fleet = Fleet::start(1, 1).await;
    let other = client(&fleet.nats.url).await;
    let (pvf, mut request) = (pvf_of(busy(2_000_000_000)), good_block());
    request.exec_timeout = Some(Duration::from_secs(60));
    let execute = |host: &pvf::ValidationHost| {
        let (host, pvf, request) = (host.clone(), pvf.clone(), request.clone());
        tokio::spawn(async move { host.execute_pvf(pvf, request).await.unwrap() })
    };
    let first = execute(&fleet.host);
    // The job is stopped until the second request has joined it.
    let job = fleet.job(Role::Execute, 0).await;
    signal(job, libc::SIGSTOP);
    let second = execute(&other);
    until("the second request has joined the first", async || (fleet.status().await.coalesced == 1).then_some(()))
        .await;
    signal(job, libc::SIGCONT);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(matches!(first.outcome, Outcome::Valid(_)), "{first:?}");
    assert_eq!((&first.outcome, first.worker), (&second.outcome, second.worker));
    assert_ne!(first.request, second.request);
    let status = fleet.status().await;
    assert_eq!((status.executed, status.coalesced, status.clients), (1, 1, 0));
    request.fresh = true;
    fleet.host.execute_pvf(pvf, request).await.unwrap();
    assert_eq!(fleet.status().await.executed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_its_limit_retries_and_is_served() {
    let settings = "[policy]\nretry_after = \"20ms\"\n[policy.per_user]\nrequests = 2\nbytes = 1000000\n";
    let fleet = Fleet::with(FleetConfig { settings: settings.into(), ..FleetConfig::default() }).await;
    let answers = join_all((0..20).map(|n| fleet.host.execute_pvf(adder(), candidate(ExecuteKind::Backing, n)))).await;
    assert!(answers.into_iter().all(|answer| matches!(answer.unwrap().outcome, Outcome::Valid(_))));
    let status = fleet.status().await;
    assert!(status.overloaded > 0, "{status:?}");
    assert_eq!(status.executed, 20, "a refused request is not executed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_coordinator_prepares_nothing_again_and_answers_earlier_requests() {
    let mut fleet = Fleet::start(1, 1).await;
    let codes: Vec<Pvf> = (0..3).map(|n| pvf_of(large(20 + n))).collect();
    for code in &codes {
        assert_eq!(fleet.host.precheck_pvf(code.clone()).await.unwrap().outcome, Outcome::PrecheckOk);
    }
    let (host, mut request) = (fleet.host.clone(), good_block());
    request.exec_timeout = Some(Duration::from_secs(60));
    let waits = tokio::spawn(async move { host.execute_pvf(pvf_of(busy(400_000_000)), request).await });
    fleet.job(Role::Execute, 0).await;
    fleet.replace_coordinator();
    fleet.complete(1, 1).await;
    let taken = fleet.host.heads_up(codes, false).await.unwrap();
    assert!(taken.iter().all(|answer| answer.outcome == Outcome::HeadsUpPrepared), "{taken:?}");
    let answer = waits.await.unwrap().unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{answer:?}");
    let status = fleet.status().await;
    assert_eq!((status.prepared, status.artifacts), (0, 4));
}
