//! Which preparation is next: priorities, aging, and the slots that are kept for critical ones.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::Policy;
use pvf_proto::{
    job::PrepareOutcome,
    priority::ExecuteKind,
    verdict::{Outcome, PrepareError},
    wire::{Work, WorkerKind},
};
use std::time::Duration;

/// Submits a request for a code that has to be prepared.
fn submit(env: &mut Env, n: u64, code: u8, work: Work) {
    env.submit(n, code, work);
    env.looked_up(code, None);
}

/// A preparation fails, and the request that waits for it is told. Returns the next one.
fn next_after(env: &mut Env, prepare: &Job) -> Job {
    let error = PrepareError::Prevalidation("bad".into());
    env.preparation_ended(prepare, PrepareOutcome::Failed(error.clone()));
    assert_eq!(env.verdict_of(prepare.code().into()), Outcome::PreparationFailed(error));
    env.dispatched()
}

#[test]
fn more_urgent_preparations_go_first_then_earlier_ones() {
    let mut env = small_fleet();
    submit(&mut env, 1, 1, HEADS_UP);
    let mut prepare = env.dispatched();
    submit(&mut env, 2, 2, HEADS_UP);
    submit(&mut env, 3, 3, execute(ExecuteKind::Backing));
    submit(&mut env, 4, 4, execute(ExecuteKind::Dispute));
    submit(&mut env, 5, 5, Work::Precheck);
    assert_eq!(env.gauges().prepare_queue, [1, 2, 1]);
    let mut order = Vec::new();
    for _ in 0..4 {
        prepare = next_after(&mut env, &prepare);
        order.push((prepare.code(), prepare.prepare().threads, prepare.prepare().precheck));
    }
    assert_eq!(order, [(4, 0, false), (3, 0, false), (5, 0, true), (2, 1, false)]);
}

#[test]
fn a_later_request_raises_a_queued_preparation() {
    let mut env = small_fleet();
    submit(&mut env, 1, 1, HEADS_UP);
    let first = env.dispatched();
    submit(&mut env, 2, 2, HEADS_UP);
    submit(&mut env, 3, 3, HEADS_UP);
    env.submit(4, 3, execute(ExecuteKind::Dispute));
    assert_eq!(env.gauges().prepare_queue, [1, 0, 1]);
    env.prepared(&first, 1);
    assert_eq!(env.verdict_of(1), Outcome::HeadsUpPrepared);
    assert_eq!(env.dispatched().code(), 3);
}

#[test]
fn preparations_below_critical_use_their_share_of_the_slots() {
    let mut env = Env::with(Policy { prepare_soft_percent: 50, ..unstaged() });
    env.worker(1, WorkerKind::Prepare, 2);
    env.worker(2, WorkerKind::Prepare, 2);
    env.worker(3, WorkerKind::Execute, 1);
    submit(&mut env, 1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    submit(&mut env, 2, 2, execute(ExecuteKind::Backing));
    env.dispatched();
    submit(&mut env, 3, 3, execute(ExecuteKind::Backing));
    submit(&mut env, 4, 4, execute(ExecuteKind::Backing));
    env.quiet();
    submit(&mut env, 5, 5, execute(ExecuteKind::Dispute));
    assert_eq!(env.dispatched().code(), 5, "critical ones may use all slots");
    env.submit(6, 4, execute(ExecuteKind::Approval));
    let raised = env.dispatched();
    assert_eq!(raised.code(), 4, "one that is raised is critical");
    env.prepared(&first, 1);
    assert_eq!(env.dispatched().execute().artifact, *artifact(1));
    env.quiet();
    env.prepared(&raised, 4);
    env.quiet();
    assert_eq!(env.gauges().prepare_queue, [0, 1, 0], "two of four slots are still taken");
}

#[test]
fn a_preparation_that_waited_for_long_counts_as_more_urgent() {
    for (aging, expected) in [(Duration::from_secs(60), 2), (Duration::ZERO, 3)] {
        let mut env = Env::with(Policy { prepare_aging: aging, ..unstaged() });
        env.worker(1, WorkerKind::Prepare, 1);
        env.worker(2, WorkerKind::Execute, 1);
        submit(&mut env, 1, 1, HEADS_UP);
        let first = env.dispatched();
        submit(&mut env, 2, 2, HEADS_UP);
        env.heartbeat(1);
        assert_eq!(env.verdict_of(1), Outcome::HeadsUpTaken);
        env.pass_with_heartbeats(&[1, 2], 61);
        submit(&mut env, 3, 3, execute(ExecuteKind::Backing));
        env.prepared(&first, 1);
        assert_eq!(env.dispatched().code(), expected);
    }
}

#[test]
fn a_running_preparation_that_is_raised_is_repeated_with_the_higher_priority() {
    let mut env = small_fleet();
    submit(&mut env, 1, 1, HEADS_UP);
    let first = env.dispatched();
    assert_eq!(first.prepare().threads, 1);
    env.submit(2, 1, execute(ExecuteKind::Dispute));
    env.quiet();
    env.preparation_ended(&first, PrepareOutcome::Internal(kernel_error()));
    let again = env.dispatched();
    assert_eq!(again.prepare().threads, 0, "a critical one uses all cores");
}
