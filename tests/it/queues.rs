//! The rules of the queues, end to end: what goes first, what is done once, what is turned away, and what a new
//! coordinator finds. The rules themselves are tested one by one in `coordinator/src/scheduler/tests`, and all together
//! in the simulation.

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use pvf::{ExecuteRequest, Pvf};
use pvf_guests::{
    adder::{Block, Head},
    corpus::{busy, large},
};
use pvf_shared::{params::ExecutorParams, priority::ExecuteKind, verdict::Outcome};
use pvf_tests::{
    ask::{adder, backing, good_block},
    fleet::{Fleet, Role, client},
    processes::until,
};
use std::time::Duration;

/// A candidate of its own.
fn candidate(kind: ExecuteKind, n: u64) -> ExecuteRequest {
    let block = Block { state: 0, increment: n };
    ExecuteRequest { kind, ..backing(Head::genesis().encode(), block.encode()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disputes_overtake_backing_which_keeps_its_share() {
    // At one in twelve and at 30 %; what was running and held ahead comes on top.
    disputes_among_backing("", 1, 30).await;
    disputes_among_backing("[policy.shares]\nbeyond = \"least-urgent\"\n", 4, 40).await;
}

/// Twenty disputes among much backing: at least so many of backing are done meanwhile, and less than so many of all.
async fn disputes_among_backing(settings: &str, least_backing: usize, most: usize) {
    let fleet = Fleet::start_with(1, 2, settings).await;
    fleet.host.precheck_pvf(adder()).await.unwrap();
    let ask = |kind, n| {
        let host = fleet.host.clone();
        async move {
            let answer = host.execute_pvf(adder(), candidate(kind, n)).await.unwrap();
            assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
            kind
        }
    };
    let mut asked: FuturesUnordered<_> = (0..300).map(|n| tokio::spawn(ask(ExecuteKind::Backing, n))).collect();
    until("backing is queued", async || (fleet.status().await.execute_queue[3] > 150).then_some(())).await;
    for n in 1000..1020 {
        asked.push(tokio::spawn(ask(ExecuteKind::Dispute, n)));
    }
    until("the disputes are there", async || {
        let status = fleet.status().await;
        // Nobody asks for so much that backing is done before.
        (status.execute_queue[0] > 0 || status.execute_queue[3] == 0).then_some(())
    })
    .await;
    let mut order = Vec::new();
    while let Some(kind) = asked.next().await {
        order.push(kind.unwrap());
    }
    assert_eq!(order.len(), 320);
    let disputes: Vec<_> =
        order.iter().enumerate().filter(|(_, k)| **k == ExecuteKind::Dispute).map(|(n, _)| n).collect();
    let (first, last) = (disputes[0], disputes[19]);
    assert!(last - first < most && last < 299, "the disputes are answered at {disputes:?}");
    let share = (first..last).filter(|n| order[*n] == ExecuteKind::Backing).count();
    assert!(share >= least_backing, "backing got {share} of {} meanwhile", last - first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_overtakes_a_background_backlog() {
    let fleet = Fleet::start(1, 1).await;
    let codes: Vec<_> = (0..8).map(|n| Pvf::new(large(200 + n), ExecutorParams::default())).collect();
    fleet.host.heads_up(codes.clone()).await.unwrap();
    let wanted = codes[7].clone();
    let answer = fleet.host.execute_pvf(wanted, candidate(ExecuteKind::Dispute, 1)).await.unwrap();
    assert!(matches!(answer.outcome, Outcome::Valid(_)), "{:?}", answer.outcome);
    let status = fleet.status().await;
    // The one that was running, the dispute's, and what was begun since.
    assert!(status.prepared <= 4 && status.prepare_queue[0] >= 4, "{status:?}");
    until("the others are prepared, too", async || (fleet.status().await.prepare_queue == [0; 3]).then_some(())).await;
    assert_eq!(fleet.status().await.prepared, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identical_validations_of_two_nodes_run_once() {
    let fleet = Fleet::start(1, 1).await;
    let other = client(&fleet.nats.url, Some(fleet.store())).await;
    let pvf = Pvf::new(busy(40_000_000), ExecutorParams::default());
    let (a, b) =
        tokio::join!(fleet.host.execute_pvf(pvf.clone(), good_block()), other.execute_pvf(pvf.clone(), good_block()));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((&a.outcome, a.worker), (&b.outcome, b.worker));
    assert_ne!(a.request, b.request);
    let status = fleet.status().await;
    assert_eq!((status.executed, status.coalesced, status.clients), (1, 1, 2));
    let mut again = good_block();
    again.fresh = true;
    fleet.host.execute_pvf(pvf, again).await.unwrap();
    assert_eq!(fleet.status().await.executed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_its_limit_comes_again_and_is_served() {
    let config = "[policy]\nretry_after = \"20ms\"\n[policy.per_client]\nrequests = 2\nbytes = 1000000\n";
    let fleet = Fleet::start_with(1, 1, config).await;
    let answers = join_all((0..20).map(|n| fleet.host.execute_pvf(adder(), candidate(ExecuteKind::Backing, n)))).await;
    assert!(answers.into_iter().all(|answer| matches!(answer.unwrap().outcome, Outcome::Valid(_))));
    let status = fleet.status().await;
    assert!(status.overloaded > 0, "{status:?}");
    assert_eq!(status.executed, 20, "what was turned away cost nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_coordinator_prepares_nothing_again_and_answers_what_was_asked_before() {
    let mut fleet = Fleet::start(1, 1).await;
    let codes: Vec<_> = (0..3).map(|n| Pvf::new(large(20 + n), ExecutorParams::default())).collect();
    for code in &codes {
        assert_eq!(fleet.host.precheck_pvf(code.clone()).await.unwrap().outcome, Outcome::PrecheckOk);
    }
    let slow = Pvf::new(busy(400_000_000), ExecutorParams::default());
    let host = fleet.host.clone();
    let waits = tokio::spawn(async move { host.execute_pvf(slow, good_block()).await });
    fleet.job(Role::Execute, 0).await;
    fleet.replace_coordinator();
    fleet.complete(1, 1).await;
    for code in &codes {
        let answer = fleet.host.precheck_pvf(code.clone()).await.unwrap();
        assert!(answer.artifact.unwrap().cached);
    }
    let answer = tokio::time::timeout(Duration::from_secs(60), waits).await.expect("an answer in time");
    assert!(matches!(answer.unwrap().unwrap().outcome, Outcome::Valid(_)));
    let status = fleet.status().await;
    assert_eq!((status.prepared, status.artifacts), (0, 4));
}
