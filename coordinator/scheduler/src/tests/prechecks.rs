//! Prechecks: what they answer depends on code and parameters alone, not on what was asked before.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::Event;
use pvf_proto::{
    artifact::StoredArtifact,
    job::{ExecuteOutcome, PrepareOutcome},
    params::{ExecutorParam, ExecutorParams},
    priority::ExecuteKind,
    verdict::{InternalError, Outcome, PrepareError},
    wire::{Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

fn not_linked() -> PrepareError {
    PrepareError::RuntimeConstruction("no such import".into())
}

/// A fleet that has executed code 1 with request 1, which compiled it, or found it in the store.
fn executed(in_store: bool) -> Env {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    match in_store {
        true => env.looked_up(1, Some(StoredArtifact::Prepared(info(1)))),
        false => {
            env.looked_up(1, None);
            let prepare = env.dispatched();
            assert!(!prepare.prepare().precheck);
            env.prepared(&prepare, 1);
        }
    }
    execute_well(&mut env, None, 1);
    env
}

fn execute_well(env: &mut Env, run: Option<Job>, n: u64) {
    let run = run.unwrap_or_else(|| env.dispatched());
    assert_eq!((run.request, run.execute().digest), (Some(request(n)), Some(info(1).digest)));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(n)));
}

/// Code 1 is linked for the precheck `n`.
fn precheck(env: &mut Env, n: u64, result: Result<(), PrepareError>) {
    env.submit(n, 1, Work::Precheck);
    let prepare = env.dispatched();
    assert_eq!((prepare.worker, prepare.prepare().precheck), (worker(1), true));
    assert_eq!(prepare.prepare().cpu_limit, Duration::from_secs(60));
    end(env, &prepare, n, result);
}

fn end(env: &mut Env, prepare: &Job, n: u64, result: Result<(), PrepareError>) {
    env.preparation_ended(prepare, outcome_of(&result));
    if result.as_ref().is_err_and(PrepareError::may_be_the_machines) {
        // It is tried once more; the only prepare worker gets it again.
        let again = env.dispatched();
        assert_eq!((again.code(), again.attempt), (prepare.code(), prepare.attempt + 1));
        env.preparation_ended(&again, outcome_of(&result));
    }
    assert_eq!(env.verdict_of(n), answer(result));
}

fn outcome_of(result: &Result<(), PrepareError>) -> PrepareOutcome {
    match result {
        Ok(()) => PrepareOutcome::Prepared(info(1)),
        Err(error) => PrepareOutcome::Failed(error.clone()),
    }
}

fn answer<R>(result: Result<(), PrepareError>) -> Outcome<R> {
    result.map_or_else(Outcome::PreparationFailed, |()| Outcome::PrecheckOk)
}

#[test]
fn a_precheck_says_the_same_before_and_after_an_execution() {
    for result in [Ok(()), Err(not_linked()), Err(PrepareError::TimedOut { limit_ms: 60_000 })] {
        // Before: nothing is known of the code.
        let mut env = small_fleet();
        env.submit(9, 1, Work::Precheck);
        env.looked_up(1, None);
        let prepare = env.dispatched();
        end(&mut env, &prepare, 9, result.clone());
        drop(env);
        // After: it was compiled for an execution, by this coordinator or one before it.
        for in_store in [false, true] {
            let mut env = executed(in_store);
            precheck(&mut env, 2, result.clone());
            // The answer is remembered, and executions go on.
            env.submit(3, 1, Work::Precheck);
            assert_eq!(env.verdict_of(3), answer(result.clone()));
            env.submit(4, 1, execute(ExecuteKind::Backing));
            execute_well(&mut env, None, 4);
            env.submit(5, 1, Work::Precheck);
            assert_eq!(env.verdict_of(5), answer(result.clone()));
        }
    }
}

#[test]
fn a_precheck_after_a_precheck_that_found_the_code_linkable_is_answered_at_once() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    end(&mut env, &prepare, 1, Ok(()));
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);
    assert_eq!(env.counts().prepare_dispatched, 1);
}

#[test]
fn executions_go_on_while_the_code_is_linked_for_a_precheck() {
    let mut env = executed(false);
    env.submit(2, 1, Work::Precheck);
    let prepare = env.dispatched();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    execute_well(&mut env, None, 3);
    // Another precheck joins.
    env.submit(4, 1, Work::Precheck);
    env.quiet();
    env.preparation_ended(&prepare, PrepareOutcome::Failed(not_linked()));
    assert_eq!([env.verdict_of(2), env.verdict_of(4)], [answer(Err(not_linked())), answer(Err(not_linked()))]);
    env.submit(5, 1, execute(ExecuteKind::Backing));
    execute_well(&mut env, None, 5);
    assert_eq!(env.gauges().artifacts, 1);
}

#[test]
fn other_parameters_are_another_question() {
    let mut env = executed(false);
    precheck(&mut env, 2, Ok(()));
    let executor_params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1)]);
    let other = Submission { executor_params: executor_params.clone(), ..submission(3, 1, Work::Precheck) };
    assert_eq!(env.send(other), SubmitReply::Accepted);
    let prepare = env.dispatched();
    assert_eq!(prepare.prepare().executor_params, executor_params);
    end(&mut env, &prepare, 3, Err(not_linked()));
    env.submit(4, 1, Work::Precheck);
    assert_eq!(env.verdict_of(4), Outcome::PrecheckOk);
}

#[test]
fn a_precheck_that_is_cancelled_or_expires_while_the_code_is_linked_leaves_nothing() {
    let mut env = executed(false);
    env.submit(2, 1, Work::Precheck);
    let prepare = env.dispatched();
    env.cancel(1, 2);
    env.quiet();
    env.prepared(&prepare, 1);
    env.quiet();
    env.submit(3, 1, Work::Precheck);
    assert_eq!(env.verdict_of(3), Outcome::PrecheckOk, "what it found holds for the next one");
    let within = Duration::from_secs(1);
    let other = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1)]);
    let submission = Submission { executor_params: other, answer_within: within, ..submission(4, 1, Work::Precheck) };
    assert_eq!(env.send(submission), SubmitReply::Accepted);
    let prepare = env.dispatched();
    env.pass(within);
    assert_eq!(env.verdict_of(4), Outcome::Expired);
    env.preparation_ended(&prepare, PrepareOutcome::Failed(not_linked()));
    assert_eq!(env.gauges().artifacts, 1);
}

#[test]
fn infrastructure_that_fails_while_the_code_is_linked_is_not_kept() {
    let mut env = executed(false);
    env.submit(2, 1, Work::Precheck);
    for _ in 0..3 {
        let prepare = env.dispatched();
        env.preparation_ended(&prepare, PrepareOutcome::Internal(kernel_error()));
    }
    assert_eq!(env.verdict_of(2), Outcome::Internal(kernel_error()));
    precheck(&mut env, 3, Ok(()));
    env.submit(4, 1, execute(ExecuteKind::Backing));
    execute_well(&mut env, None, 4);
}

#[test]
fn an_artifact_that_is_dropped_while_the_code_is_linked_is_prepared_again_by_itself() {
    let mut env = executed(false);
    env.submit(2, 1, Work::Precheck);
    let link = env.dispatched();
    env.worker(4, WorkerKind::Prepare, 1);
    env.submit(3, 1, execute(ExecuteKind::Dispute));
    let run = env.dispatched();
    let missing = InternalError::ArtifactMissing("gone".into());
    env.executed(&run, ExecuteOutcome::Internal(missing));
    env.dropped(1);
    let prepare = env.dispatched();
    assert_eq!((prepare.worker, prepare.prepare().precheck), (worker(4), false));
    end(&mut env, &link, 2, Ok(()));
    env.prepared(&prepare, 1);
    execute_well(&mut env, None, 3);
    env.event(Event::Dropped { artifact: artifact(1), error: None });
}

#[test]
fn a_preparation_that_died_once_is_tried_elsewhere_and_blames_nothing() {
    for kind in [PrepareError::JobDied, PrepareError::Io, PrepareError::Kernel] {
        let error = kind("signal 9".into());
        let mut env = small_fleet();
        env.worker(4, WorkerKind::Prepare, 1);
        env.submit(1, 1, Work::Precheck);
        env.looked_up(1, None);
        let prepare = env.dispatched();
        env.preparation_ended(&prepare, PrepareOutcome::Failed(error));
        let again = env.dispatched();
        assert_ne!(again.worker, prepare.worker);
        end(&mut env, &again, 1, Ok(()));
    }
}

/// A worker died, or the process of the preparation did: that may be over soon.
#[test]
fn a_death_is_kept_for_a_short_time_and_longer_each_time() {
    let died = || PrepareError::JobDied("signal 9".into());
    let pauses = [10, 40, 160, 640, 3600, 3600];
    for work in [Work::Precheck, execute(ExecuteKind::Backing)] {
        let mut env = small_fleet();
        env.submit(1, 1, work.clone());
        env.looked_up(1, None);
        for (n, pause) in (1..).zip(pauses) {
            let prepare = env.dispatched();
            end(&mut env, &prepare, 10 * n - 9, Err(died()));
            env.pass_with_heartbeats(&[1, 2, 3], pause - 1);
            if pause == 3600 {
                assert_eq!(env.needs_saved().len(), 1, "after an hour");
            }
            env.submit(10 * n, 1, work.clone());
            assert_eq!(env.verdict_of(10 * n), answer(Err(died())), "too early");
            env.pass_with_heartbeats(&[1, 2, 3], 1);
            env.submit(10 * n + 1, 1, work.clone());
        }
        let prepare = env.dispatched();
        env.prepared(&prepare, 1);
        env.take_all();
    }
}

#[test]
fn a_death_while_the_code_is_linked_is_kept_for_a_short_time_too() {
    let died = || PrepareError::JobDied("signal 9".into());
    let mut env = executed(false);
    precheck(&mut env, 2, Err(died()));
    for (n, pause) in [(10, 10), (20, 40)] {
        env.pass_with_heartbeats(&[1, 2, 3], pause - 1);
        env.submit(n, 1, Work::Precheck);
        assert_eq!(env.verdict_of(n), answer(Err(died())), "too early");
        env.pass_with_heartbeats(&[1, 2, 3], 1);
        precheck(&mut env, n + 1, if n == 10 { Err(died()) } else { Ok(()) });
    }
    env.submit(3, 1, Work::Precheck);
    assert_eq!(env.verdict_of(3), Outcome::PrecheckOk);
}
