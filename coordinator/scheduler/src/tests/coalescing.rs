//! Requests for the same validation at the same time share one execution.

use super::fixtures::*;
use crate::{Command, Delivery};
use pvf_proto::{
    blob::BlobRef,
    ids::BlobHash,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Submission, SubmitReply, Work},
};
use std::time::Duration;

fn submit_as(env: &mut super::env::Env, client: u64, n: u64, work: Work) {
    assert_eq!(env.submit_as(client, n, work), SubmitReply::Accepted);
}

#[test]
fn equal_validations_run_once_and_all_are_answered() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    submit_as(&mut env, 2, 2, candidate(ExecuteKind::Backing, 1));
    submit_as(&mut env, 2, 3, candidate(ExecuteKind::BackingSystem, 1));
    env.quiet();
    env.executed(&run, valid());
    let verdicts = [env.verdict(), env.verdict(), env.verdict()];
    assert_eq!(verdicts.each_ref().map(|verdict| verdict.request), [1, 2, 3].map(request));
    assert!(verdicts.iter().all(|verdict| is_valid(&verdict.outcome) && verdict.attempts == 1));
    assert_eq!((env.counts().coalesced, env.counts().execute_dispatched), (2, 1));
}

#[test]
fn different_validations_are_not_joined() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Backing, 1));
    assert_eq!(env.dispatched().request, Some(request(1)));
    submit_as(&mut env, 2, 2, candidate(ExecuteKind::Approval, 1));
    assert_eq!(env.dispatched().request, Some(request(2)), "approvals have another time-out");
    submit_as(&mut env, 2, 3, candidate(ExecuteKind::Backing, 2));
    submit_as(&mut env, 2, 4, execute(ExecuteKind::Backing));
    submit_as(&mut env, 2, 5, execute(ExecuteKind::Backing));
    assert_eq!((env.counts().coalesced, env.gauges().execute_queue), (0, [0, 0, 0, 3]));
}

#[test]
fn a_request_that_joins_makes_the_execution_more_urgent() {
    let mut env = warm_fleet();
    env.submit(91, 1, execute(ExecuteKind::Backing));
    env.submit(92, 1, execute(ExecuteKind::Backing));
    let (a, b) = (env.dispatched(), env.dispatched());
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Approval, 1));
    submit_as(&mut env, 1, 2, candidate(ExecuteKind::Approval, 2));
    submit_as(&mut env, 2, 3, candidate(ExecuteKind::Dispute, 2));
    assert_eq!(env.gauges().execute_queue, [1, 1, 0, 0]);
    env.cancel(1, 2);
    env.quiet();
    env.executed(&a, valid());
    assert!(is_valid(&env.verdict_of(91)));
    let urgent = env.dispatched();
    assert_eq!(urgent.request, Some(request(3)), "it goes on for the request that is left");
    env.executed(&b, valid());
    assert!(is_valid(&env.verdict_of(92)));
    assert_eq!(env.dispatched().request, Some(request(1)));
    env.executed(&urgent, valid());
    assert!(is_valid(&env.verdict_of(3)));
}

#[test]
fn an_execution_ends_when_the_last_of_its_requests_is_cancelled() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    submit_as(&mut env, 2, 2, candidate(ExecuteKind::Backing, 1));
    env.cancel(1, 1);
    env.quiet();
    env.cancel(2, 2);
    env.cancel_of(&run);
    env.delivered(&run, Command::Cancel, Delivery::Taken);
    submit_as(&mut env, 3, 3, candidate(ExecuteKind::Backing, 1));
    assert_ne!(env.dispatched().job, run.job, "a later request starts another execution");
}

#[test]
fn a_request_that_joins_late_expires_on_its_own() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    let soon =
        Submission { answer_within: Duration::from_secs(2), ..submission(2, 1, candidate(ExecuteKind::Backing, 1)) };
    assert_eq!(env.send(soon), SubmitReply::Accepted);
    env.pass_with_heartbeats(&[1, 2, 3], 2);
    assert_eq!(env.verdict_of(2), Outcome::Expired);
    env.quiet();
    env.executed(&run, valid());
    let verdict = env.verdict();
    assert_eq!((verdict.request, verdict.timings.execute), (request(1), Duration::from_secs(2)));
}

#[test]
fn a_request_that_joins_states_only_the_time_that_it_waited() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    env.pass(Duration::from_secs(3));
    submit_as(&mut env, 2, 2, candidate(ExecuteKind::Backing, 1));
    env.pass(Duration::from_secs(1));
    env.executed(&run, valid());
    let executed = [env.verdict(), env.verdict()].map(|verdict| (verdict.timings.execute, verdict.timings.total));
    let seconds = |n| (Duration::from_secs(n), Duration::from_secs(n));
    assert_eq!(executed, [seconds(4), seconds(1)]);
}

#[test]
fn a_pov_in_the_store_and_the_same_pov_in_the_message_are_the_same_validation() {
    let mut env = warm_fleet();
    submit_as(&mut env, 1, 1, candidate(ExecuteKind::Backing, 7));
    env.dispatched();
    let Work::Execute(mut work) = candidate(ExecuteKind::Backing, 7) else { unreachable!() };
    work.block_data = BlobRef::Held { hash: BlobHash::of(&[7]), len: 1 };
    submit_as(&mut env, 2, 2, Work::Execute(work));
    env.quiet();
    assert_eq!(env.counts().coalesced, 1);
}
