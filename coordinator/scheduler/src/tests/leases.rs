//! Leases: an attempt ends when its worker has listed the job for longer than it may take. And late reports of attempts
//! that were given up.

use super::{env::Env, fixtures::*};
use crate::{Command, Delivery, Event};
use pvf_proto::{
    ids::FencingToken,
    job::{ExecuteOutcome, JobOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{InternalError, InvalidReason, Outcome, PrepareError},
    wire::{Work, WorkerKind},
};
use std::time::Duration;

/// Seconds that a worker may have a backing execution: 2 s of CPU time, four times that on the wall clock, and the
/// allowance.
const BACKING_LEASE: u64 = 8 + 120;
/// The same for a precheck: 60 s of CPU time.
const PRECHECK_LEASE: u64 = 4 * 60 + 120;

fn number(env: &super::env::Job) -> u64 {
    if env.worker == worker(2) { 2 } else { 3 }
}

#[test]
fn an_attempt_that_goes_on_for_too_long_is_cancelled_and_tried_elsewhere() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.pass_with_heartbeats(&[1, 2, 3], BACKING_LEASE);
    env.quiet();
    env.pass_with_heartbeats(&[1, 2, 3], 1);
    env.cancel_of(&first);
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    assert_eq!((env.running_at(number(&first)), env.counts().leases_over), (1, 1), "its slot is not free yet");
    env.delivered(&first, Command::Cancel, Delivery::Taken);
    assert_eq!(env.running_at(number(&first)), 0);
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn an_attempt_that_always_goes_on_for_too_long_ends_as_internal() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let mut run = env.dispatched();
    for attempt in 1..=3 {
        env.pass_with_heartbeats(&[1, 2, 3], BACKING_LEASE + 1);
        env.cancel_of(&run);
        env.delivered(&run, Command::Cancel, Delivery::Taken);
        if attempt < 3 {
            run = env.dispatched();
        }
    }
    let outcome = env.verdict_of(1);
    let Outcome::Internal(InternalError::WorkerDraining(why)) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("for more than 128 s"), "{why}");
}

#[test]
fn a_staged_job_has_no_lease_until_it_has_a_slot() {
    let (mut env, first) = one_busy_worker(staged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let second = env.dispatched();
    env.pass_with_heartbeats(&[2], 100);
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.pass_with_heartbeats(&[2], BACKING_LEASE);
    env.quiet();
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(2)));
}

#[test]
fn no_lease_ends_right_after_the_coordinator_was_deaf() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.pass_with_heartbeats(&[1, 2, 3], 10);
    env.event(Event::Link { up: false });
    env.pass(Duration::from_secs(300));
    env.event(Event::Link { up: true });
    // The worker repeats its report until it is acknowledged, and lists the job until then.
    env.pass_with_heartbeats(&[1, 2, 3], 3);
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.counts().leases_over, 0);
}

#[test]
fn a_preparation_that_goes_on_for_too_long_is_cancelled_and_tried_elsewhere() {
    let mut env = small_fleet();
    env.worker(4, WorkerKind::Prepare, 1);
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let first = env.dispatched();
    env.pass_with_heartbeats(&[1, 2, 3, 4], PRECHECK_LEASE + 1);
    env.cancel_of(&first);
    env.delivered(&first, Command::Cancel, Delivery::Taken);
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    env.prepared(&second, 1);
    assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
}

/// The worker of request 1 is lost; request 1 runs on the other worker.
fn lost_and_running_elsewhere() -> (Env, super::env::Job, super::env::Job) {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.pass_with_heartbeats(&[1, if number(&first) == 2 { 3 } else { 2 }], 6);
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    (env, first, second)
}

#[test]
fn a_lost_worker_that_reports_before_the_verdict_is_heard() {
    for outcome in [valid(), ExecuteOutcome::Invalid(InvalidReason::PovDecompression)] {
        for is_registered in [false, true] {
            let (mut env, first, second) = lost_and_running_elsewhere();
            if is_registered {
                env.worker(number(&first), WorkerKind::Execute, 1);
            }
            env.executed(&first, outcome.clone());
            env.cancel_of(&second);
            let verdict = env.verdict();
            assert_eq!(verdict.worker, Some(first.worker));
            match &outcome {
                ExecuteOutcome::Invalid(reason) => assert_eq!(verdict.outcome, Outcome::Invalid(reason.clone())),
                _ => assert!(is_valid(&verdict.outcome)),
            }
            assert_eq!(env.counts().late_reports, 1);
            // The other attempt, and the same report once more, change nothing.
            env.executed(&second, ExecuteOutcome::Ambiguous(job_death()));
            env.executed(&first, outcome.clone());
            env.quiet();
        }
    }
}

#[test]
fn a_lost_worker_is_heard_while_its_job_waits_for_another_one() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.pass(Duration::from_secs(6));
    env.quiet();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_late_report_counts_only_from_the_worker_and_for_the_attempt_that_was_given_up() {
    let (mut env, first, second) = lost_and_running_elsewhere();
    let mut forged = first.clone();
    forged.worker = second.worker;
    env.executed(&forged, valid());
    let mut forged = first.clone();
    forged.dispatch.attempt = 7;
    env.executed(&forged, valid());
    let mut forged = first.clone();
    forged.dispatch.token = FencingToken(TOKEN.0 + 1);
    env.report_unanswered(&forged, JobOutcome::Execute(valid()));
    // What is no verdict was counted when the worker was lost.
    env.executed(&first, ExecuteOutcome::Ambiguous(job_death()));
    env.executed(&first, ExecuteOutcome::Internal(kernel_error()));
    env.preparation_ended(&first, PrepareOutcome::Prepared(info(1)));
    env.quiet();
    assert_eq!(env.counts().late_reports, 0);
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn an_attempt_that_a_worker_gave_back_is_not_heard_any_more() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.goodbye(number(&first));
    let second = env.dispatched();
    env.executed(&first, valid());
    env.quiet();
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn an_artifact_that_a_lost_worker_made_is_used() {
    // While its preparation is queued, backs off, and runs elsewhere.
    for (refusals, is_elsewhere) in [(0, false), (3, true), (0, true)] {
        let mut env = Env::with(unstaged());
        env.worker(1, WorkerKind::Prepare, 1);
        env.worker(2, WorkerKind::Execute, 1);
        env.submit(1, 1, execute(ExecuteKind::Backing));
        env.looked_up(1, None);
        let first = env.dispatched();
        env.pass_with_heartbeats(&[2], 6);
        if is_elsewhere {
            env.worker(4, WorkerKind::Prepare, 1);
            for _ in 0..refusals {
                let refused = env.dispatched();
                env.delivered(&refused, Command::Dispatch, Delivery::NotSent("the bus is full".into()));
            }
        }
        let second = (is_elsewhere && refusals == 0).then(|| env.dispatched());
        env.quiet();
        env.preparation_ended(&first, PrepareOutcome::Failed(PrepareError::OutOfMemory));
        env.quiet();
        env.prepared(&first, 1);
        if let Some(second) = &second {
            env.cancel_of(second);
        }
        let run = env.dispatched();
        assert_eq!(run.execute().digest, Some(info(1).digest));
        env.executed(&run, valid());
        assert!(is_valid(&env.verdict_of(1)));
        if let Some(second) = &second {
            env.prepared(second, 1);
        }
        assert_eq!(env.counts().late_reports, 1);
    }
}

#[test]
fn workers_that_restart_in_turn_end_nothing() {
    let (mut env, mut run) = one_busy_worker(unstaged());
    for n in 3..=14 {
        env.worker(n, WorkerKind::Execute, 1);
        env.goodbye(n - 1);
        // The back-off is at most this long.
        env.pass_with_heartbeats(&[n], 5);
        run = env.dispatched();
        assert_eq!(run.worker, worker(n));
    }
    env.executed(&run, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert_eq!(verdict.attempts, 13, "each of them began");
}

#[test]
fn prepare_workers_that_restart_in_turn_end_nothing() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    for n in 10..16 {
        let run = env.dispatched();
        let left = (1..30).find(|n| worker(*n) == run.worker).unwrap();
        env.worker(n, WorkerKind::Prepare, 1);
        env.goodbye(left);
        env.pass_with_heartbeats(&[2], 5);
        env.heartbeat(n);
    }
    let run = env.dispatched();
    env.prepared(&run, 1);
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}
