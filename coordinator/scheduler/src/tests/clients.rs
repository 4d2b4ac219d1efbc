//! Silence of clients, verdicts that they miss, and their view of the relay chain.

use super::{env::Env, fixtures::*};
use crate::{Event, Policy, UserLimits};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::RelayHash,
    job::ExecuteOutcome,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{ActiveLeaf, ActiveLeavesUpdate, SubmitReply, WorkerKind},
};
use std::time::Duration;

/// Clients are gone after 30 seconds.
fn short_silence() -> Policy {
    Policy { client_silence: Duration::from_secs(30), ..unstaged() }
}

fn retired(leaf: u8) -> ActiveLeavesUpdate {
    ActiveLeavesUpdate { activated: None, deactivated: vec![RelayHash([leaf; 32])] }
}

#[test]
fn queued_work_of_a_silent_client_is_not_begun() {
    let (mut env, run) = one_busy_worker(short_silence());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.pass_with_heartbeats(&[2], 31);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)), "what runs goes on");
    env.quiet();
    assert_eq!(env.gauges().requests, 0);
    assert_eq!(env.ask(1, &[1, 2]), [request(2)], "a client that returns is told what to submit again");
    assert!(is_valid(&env.verdict_of(1)), "the verdict that it missed");
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().request, Some(request(2)));
}

#[test]
fn a_client_that_asks_is_not_silent() {
    let (mut env, run) = one_busy_worker(short_silence());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    for _ in 0..3 {
        env.pass_with_heartbeats(&[2], 20);
        assert_eq!(env.ask(1, &[1, 2]), []);
    }
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().request, Some(request(2)));
}

/// Found by simulation seed 338.
#[test]
fn a_repeated_or_refused_submission_shows_that_its_client_is_alive() {
    let per_user = UserLimits { requests: 2, ..UserLimits::default() };
    let mut env = Env::with(Policy { per_user, ..short_silence() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.pass_with_heartbeats(&[2], 20);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert!(is_valid(&env.verdict_of(1)));
    env.pass_with_heartbeats(&[2], 20);
    let refused = env.submit_as(1, 4, execute(ExecuteKind::Backing));
    assert!(matches!(refused, SubmitReply::Refused(_)));
    env.pass_with_heartbeats(&[2], 20);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(2)));
    assert_eq!(env.dispatched().request, Some(request(3)));
}

#[test]
fn silence_of_clients_counts_only_while_the_coordinator_is_connected() {
    let (mut env, run) = one_busy_worker(short_silence());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.event(Event::Link { up: false });
    env.pass(Duration::from_secs(60));
    env.event(Event::Link { up: true });
    env.pass_with_heartbeats(&[2], 5);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().request, Some(request(2)));
}

#[test]
fn a_client_without_requests_is_forgotten_at_once_unless_it_told_of_leaves() {
    let (mut env, run) = one_busy_worker(short_silence());
    assert_eq!(env.gauges().clients, 1);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.gauges().clients, 0);
    env.leaves(1, ActiveLeavesUpdate { activated: None, deactivated: vec![RelayHash([7; 32])] });
    env.pass(Duration::from_secs(590));
    assert_eq!(env.gauges().clients, 1);
    env.pass(Duration::from_secs(31));
    assert_eq!(env.gauges().clients, 0);
}

#[test]
fn a_joined_execution_goes_on_while_one_of_its_clients_is_there() {
    let (mut env, run) = one_busy_worker(short_silence());
    for client in [1, 2] {
        let reply = env.submit_as(client, 10 + client, candidate(ExecuteKind::Backing, 1));
        assert_eq!(reply, SubmitReply::Accepted);
    }
    for _ in 0..2 {
        env.pass_with_heartbeats(&[2], 20);
        assert_eq!(env.ask(2, &[12]), []);
    }
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let run = env.dispatched();
    assert_eq!(run.request, Some(request(12)), "the request of the silent client has ended");
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(12)));
}

#[test]
fn queued_backing_of_a_retired_leaf_expires() {
    let mut env = Env::new();
    env.submit(1, 1, on_leaf(ExecuteKind::Backing, 1));
    env.submit(2, 1, on_leaf(ExecuteKind::Backing, 2));
    env.submit(3, 1, on_leaf(ExecuteKind::Dispute, 1));
    env.submit(4, 1, on_leaf(ExecuteKind::BackingSystem, 1));
    let activated = Some(ActiveLeaf { hash: RelayHash([3; 32]), ancestors: vec![RelayHash([2; 32])] });
    let update = ActiveLeavesUpdate { activated, deactivated: vec![RelayHash([1; 32])] };
    env.leaves(2, update.clone());
    env.quiet();
    env.leaves(1, update);
    assert_eq!([env.verdict_of(1), env.verdict_of(4)], [Outcome::Expired, Outcome::Expired]);
    assert_eq!(env.gauges().requests, 2, "ancestors of an active leaf and disputes are still wanted");
}

#[test]
fn running_backing_of_a_retired_leaf_goes_on_and_is_not_repeated() {
    let mut env = warm_fleet();
    env.submit(1, 1, on_leaf(ExecuteKind::Backing, 1));
    env.submit(2, 1, on_leaf(ExecuteKind::Backing, 1));
    let (first, second) = (env.dispatched(), env.dispatched());
    env.leaves(1, retired(1));
    env.quiet();
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.executed(&second, ExecuteOutcome::Ambiguous(job_death()));
    assert_eq!(env.verdict_of(2), Outcome::Expired);
}

#[test]
fn backing_of_a_leaf_that_was_retired_before_is_answered_at_once() {
    let mut env = warm_fleet();
    env.leaves(1, retired(1));
    env.submit(1, 1, on_leaf(ExecuteKind::Backing, 1));
    assert_eq!(env.verdict_of(1), Outcome::Expired);
    env.submit(2, 1, on_leaf(ExecuteKind::Backing, 2));
    assert_eq!(env.dispatched().request, Some(request(2)), "a leaf that no update named is wanted");
    let activated = Some(ActiveLeaf { hash: RelayHash([1; 32]), ancestors: vec![] });
    env.leaves(1, ActiveLeavesUpdate { activated, deactivated: vec![] });
    env.submit(3, 1, on_leaf(ExecuteKind::Backing, 1));
    assert_eq!(env.dispatched().request, Some(request(3)), "a leaf that is active again");
}
