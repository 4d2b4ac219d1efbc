//! Clients that choose the same id: each has a request of its own, and nothing of the other's.

use super::{env::Env, fixtures::*};
use crate::{Command, Delivery, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::RelayHash,
    job::ExecuteOutcome,
    priority::ExecuteKind,
    verdict::{InvalidReason, Outcome},
    wire::{ActiveLeavesUpdate, Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

fn submit_as(env: &mut Env, from: u64, n: u64, work: Work) {
    assert_eq!(env.submit_as(from, n, work), SubmitReply::Accepted);
}

fn invalid() -> ExecuteOutcome {
    ExecuteOutcome::Invalid(InvalidReason::WorkerReported("no result".into()))
}

#[test]
fn each_gets_the_verdict_of_its_own_request() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 2));
    let (first, second) = (env.dispatched(), env.dispatched());
    assert_ne!((first.job, &first.execute().block_data), (second.job, &second.execute().block_data));
    assert_eq!((env.gauges().requests, env.gauges().clients), (2, 2));
    env.executed(&second, invalid());
    assert!(matches!(env.verdict_for(2, 7), Outcome::Invalid(_)));
    env.quiet();
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_for(1, 7)));
}

#[test]
fn one_execution_answers_both() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 1));
    env.quiet();
    assert_eq!((env.gauges().requests, env.counts().coalesced), (2, 1));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(1, 7)) && is_valid(&env.verdict_for(2, 7)));
}

#[test]
fn a_repeated_submission_is_that_of_the_same_client() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    let first = env.dispatched();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    env.quiet();
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_for(1, 7)));
    // The kept verdict of the first is nothing to the other.
    submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 2));
    let second = env.dispatched();
    assert_eq!(env.ask(2, &[7]), []);
    env.quiet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    assert!(is_valid(&env.verdict_for(1, 7)));
    env.executed(&second, invalid());
    assert!(matches!(env.verdict_for(2, 7), Outcome::Invalid(_)));
    for (from, expected) in [(1, "valid"), (2, "invalid")] {
        submit_as(&mut env, from, 7, candidate(ExecuteKind::Backing, 3));
        assert_eq!(env.verdict_for(from, 7).name(), expected);
    }
}

#[test]
fn a_question_is_about_ones_own_requests() {
    let (mut env, run) = one_busy_worker(unstaged());
    submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 1));
    assert_eq!((env.ask(2, &[1, 7]), env.ask(1, &[1, 7])), (vec![request(1)], vec![request(7)]));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(1, 1)));
    env.dispatched();
    assert_eq!(env.ask(2, &[1, 7]), [request(1)]);
}

#[test]
fn a_cancellation_ends_ones_own_request_only() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 2));
    let (first, second) = (env.dispatched(), env.dispatched());
    env.cancel(1, 7);
    env.cancel_of(&first);
    env.delivered(&first, Command::Cancel, Delivery::Taken);
    env.quiet();
    assert_eq!((env.gauges().requests, env.ask(2, &[7]), env.ask(1, &[7])), (1, vec![], vec![request(7)]));
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_for(2, 7)));
}

#[test]
fn a_cancellation_that_overtakes_its_submission_is_not_that_of_another_client() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    env.cancel(2, 7);
    submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 2));
    env.quiet();
    assert_eq!(env.gauges().requests, 1, "that of client 2 was cancelled before it came");
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(1, 7)));
}

#[test]
fn one_of_two_that_joined_can_leave() {
    for leaves in [1, 2] {
        let mut env = warm_fleet();
        submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
        let run = env.dispatched();
        submit_as(&mut env, 2, 7, candidate(ExecuteKind::Backing, 1));
        env.cancel(leaves, 7);
        env.quiet();
        env.executed(&run, valid());
        assert!(is_valid(&env.verdict_for(3 - leaves, 7)));
    }
}

#[test]
fn each_expires_at_its_own_deadline() {
    let (mut env, run) = one_busy_worker(Policy { client_silence: Duration::from_secs(3600), ..unstaged() });
    for (from, seconds) in [(2, 40), (1, 20)] {
        let answer_within = Duration::from_secs(seconds);
        let submission = Submission { answer_within, ..submission(7, 1, execute(ExecuteKind::Backing)) };
        assert_eq!(env.send_as(from, submission), SubmitReply::Accepted);
    }
    env.pass_with_heartbeats(&[2], 20);
    assert_eq!(env.verdict_for(1, 7), Outcome::Expired);
    env.quiet();
    env.pass_with_heartbeats(&[2], 20);
    assert_eq!(env.verdict_for(2, 7), Outcome::Expired);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(1, 1)));
}

#[test]
fn a_retired_leaf_ends_the_requests_of_the_client_that_tells_of_it() {
    let mut env = Env::new();
    submit_as(&mut env, 1, 7, on_leaf(ExecuteKind::Backing, 1));
    submit_as(&mut env, 2, 7, on_leaf(ExecuteKind::Backing, 1));
    env.leaves(2, ActiveLeavesUpdate { activated: None, deactivated: vec![RelayHash([1; 32])] });
    assert_eq!(env.verdict_for(2, 7), Outcome::Expired);
    env.quiet();
    assert_eq!((env.gauges().requests, env.ask(1, &[7])), (1, vec![]));
}

#[test]
fn prechecks_of_both_wait_for_one_preparation() {
    let mut env = small_fleet();
    for from in 1..=3 {
        submit_as(&mut env, from, 7, Work::Precheck);
    }
    env.looked_up(1, None);
    let prepare = env.dispatched();
    assert_eq!(prepare.holders.len(), 3);
    env.cancel(2, 7);
    env.quiet();
    env.prepared(&prepare, 1);
    assert_eq!([env.verdict_for(1, 7), env.verdict_for(3, 7)], [Outcome::PrecheckOk, Outcome::PrecheckOk]);
}

#[test]
fn heads_ups_and_executions_without_a_worker_wait_each_for_itself() {
    let mut env = Env::with(unstaged());
    submit_as(&mut env, 1, 7, HEADS_UP);
    submit_as(&mut env, 2, 7, HEADS_UP);
    submit_as(&mut env, 3, 7, execute(ExecuteKind::Backing));
    submit_as(&mut env, 4, 7, execute(ExecuteKind::Backing));
    env.cancel(1, 7);
    env.cancel(3, 7);
    env.worker(1, WorkerKind::Prepare, 1);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    assert_eq!(env.verdict_for(2, 7), Outcome::HeadsUpPrepared);
    env.worker(2, WorkerKind::Execute, 1);
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(4, 7)));
    assert_eq!(env.gauges().requests, 0);
}

/// More than are answered at once: the others are answered in the background, and stay those of their clients.
#[test]
fn very_many_that_joined_are_all_answered() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 7, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    for from in 2..=100 {
        submit_as(&mut env, from, 7, candidate(ExecuteKind::Backing, 1));
    }
    env.executed(&run, valid());
    let mut answered: Vec<_> = (0..100).map(|_| env.next_verdict().0).collect();
    answered.sort_unstable();
    let mut all: Vec<_> = (1..=100).map(client).collect();
    all.sort_unstable();
    assert_eq!(answered, all);
    assert_eq!((env.gauges().requests, env.gauges().clients), (0, 0));
}
