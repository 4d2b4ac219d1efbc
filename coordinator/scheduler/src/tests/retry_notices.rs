//! Notices about jobs that are tried again: one for each attempt that is over without a verdict, with its reason.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, Notice, RetryReason};
use pvf_proto::{
    job::{ExecuteOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{AmbiguousReason, Outcome},
    wire::{CommandRefusal, Work, WorkerKind},
};
use std::time::Duration;

fn retried(job: &Job, kind: WorkerKind, why: RetryReason) -> Notice {
    Notice::JobRetried { job: job.job, attempt: job.attempt, kind, worker: job.worker, about: job.subject(), why }
}

/// The retries among the new notices.
fn new_retries(env: &mut Env) -> Vec<Notice> {
    let mut notices = env.new_notices();
    notices.retain(|notice| matches!(notice, Notice::JobRetried { .. }));
    notices
}

/// A small fleet that prepares code 1 for a precheck.
fn preparing() -> (Env, Job) {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatch_without_answer();
    (env, prepare)
}

#[test]
fn an_attempt_that_did_not_begin() {
    let refused = CommandRefusal::Draining;
    for (delivery, why) in [
        (Delivery::NotSent("store: down".into()), "store: down".to_owned()),
        (Delivery::NoSubscriber, "no worker listens on its subject".to_owned()),
        (Delivery::Refused(refused.clone()), refused.to_string()),
    ] {
        let why = RetryReason::NotBegun(why);
        let mut env = warm_fleet();
        env.submit(1, 1, execute(ExecuteKind::Backing));
        let run = env.dispatch_without_answer();
        env.delivered(&run, Command::Dispatch, delivery.clone());
        assert_eq!(new_retries(&mut env), [retried(&run, WorkerKind::Execute, why.clone())]);
        env.dispatched();
        let (mut env, prepare) = preparing();
        env.delivered(&prepare, Command::Dispatch, delivery.clone());
        assert_eq!(new_retries(&mut env), [retried(&prepare, WorkerKind::Prepare, why)]);
        env.heartbeat(1);
        env.dispatched();
    }
}

#[test]
fn the_last_attempt_that_did_not_begin_is_not_tried_again() {
    let (mut env, mut prepare) = preparing();
    for attempt in 1..=20 {
        env.delivered(&prepare, Command::Dispatch, Delivery::NotSent("store: down".into()));
        assert_eq!(new_retries(&mut env).len(), usize::from(attempt < 20));
        if attempt < 20 {
            env.heartbeat(1);
            env.pass(Duration::from_secs(5));
            prepare = env.dispatch_without_answer();
        }
    }
    assert!(matches!(env.verdict_of(1), Outcome::Internal(_)));
}

#[test]
fn an_ambiguous_failure() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ExecuteOutcome::Ambiguous(job_death()));
    let why = RetryReason::Ambiguous(job_death().to_string());
    assert_eq!(new_retries(&mut env), [retried(&first, WorkerKind::Execute, why)]);
    let second = env.dispatched();
    env.executed(&second, ExecuteOutcome::Ambiguous(job_death()));
    assert_eq!(new_retries(&mut env), []);
    assert_eq!(env.verdict_of(1), Outcome::PossiblyInvalid(job_death()));
}

#[test]
fn an_infrastructure_failure() {
    let why = || RetryReason::Internal(kernel_error().to_string());
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    for attempt in 1..=3 {
        let run = env.dispatched();
        env.executed(&run, ExecuteOutcome::Internal(kernel_error()));
        let expected = (attempt < 3).then(|| retried(&run, WorkerKind::Execute, why()));
        assert_eq!(new_retries(&mut env), expected.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(env.verdict_of(1), Outcome::Internal(kernel_error()));
    env.submit(2, 2, Work::Precheck);
    env.looked_up(2, None);
    for attempt in 1..=3 {
        let prepare = env.dispatched();
        env.preparation_ended(&prepare, PrepareOutcome::Internal(kernel_error()));
        let expected = (attempt < 3).then(|| retried(&prepare, WorkerKind::Prepare, why()));
        assert_eq!(new_retries(&mut env), expected.into_iter().collect::<Vec<_>>());
    }
    assert_eq!(env.verdict_of(2), Outcome::Internal(kernel_error()));
}

#[test]
fn a_lost_worker() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.pass(Duration::from_secs(6));
    assert_eq!(new_retries(&mut env), [retried(&run, WorkerKind::Execute, RetryReason::WorkerLost)]);
    let (mut env, prepare) = preparing();
    env.delivered(&prepare, Command::Dispatch, Delivery::Taken);
    env.pass(Duration::from_secs(6));
    assert_eq!(new_retries(&mut env), [retried(&prepare, WorkerKind::Prepare, RetryReason::WorkerLost)]);
}

#[test]
fn a_lost_worker_with_a_staged_job() {
    let (mut env, running) = one_busy_worker(staged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let staged = env.dispatched();
    env.pass(Duration::from_secs(6));
    let why = "worker: the worker was lost while the job waited there for its input or a slot".to_owned();
    let expected = [(&running, RetryReason::WorkerLost), (&staged, RetryReason::Internal(why))]
        .map(|(job, why)| retried(job, WorkerKind::Execute, why));
    assert_eq!(new_retries(&mut env), expected);
}

#[test]
fn a_report_of_worker_death_is_a_lost_worker() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ExecuteOutcome::Ambiguous(AmbiguousReason::WorkerDeath));
    assert_eq!(new_retries(&mut env), [retried(&first, WorkerKind::Execute, RetryReason::WorkerLost)]);
    env.dispatched();
}

#[test]
fn a_recalled_job_is_not_tried_again() {
    let (mut env, _running) = one_busy_worker(staged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let staged = env.dispatched();
    env.worker(3, WorkerKind::Execute, 1);
    env.recall_of(&staged);
    env.delivered(&staged, Command::Recall, Delivery::Taken);
    env.dispatched();
    assert_eq!(new_retries(&mut env), []);
}
