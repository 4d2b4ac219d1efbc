//! What a verdict says about the jobs behind it: their reported usage, and nothing that decides anything.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use pvf_proto::{
    artifact::StoredArtifact,
    job::{AttemptEnd, ExecuteOutcome, JobOutcome, JobUsage, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{InternalError, Outcome, PrepareError},
    wire::{AttemptUsage, PreparationUsage, Submission, Verdict, VerdictUsage, Work},
};
use std::time::Duration;

/// A usage that is told from others by its CPU time.
fn used(ms: u64) -> JobUsage {
    JobUsage { cpu: Duration::from_millis(ms), cpu_limit: Duration::from_secs(2), ..JobUsage::default() }
}

fn prepared_using(env: &mut Env, job: &Job, ms: u64) {
    env.report_with_usage(job, JobOutcome::Prepare(PrepareOutcome::Prepared(info(1))), used(ms));
}

fn executed_using(env: &mut Env, job: &Job, outcome: ExecuteOutcome, ms: u64) {
    env.report_with_usage(job, JobOutcome::Execute(outcome), used(ms));
}

fn preparation(n: u64, ms: u64) -> Option<PreparationUsage> {
    Some(PreparationUsage { worker: worker(n), usage: used(ms) })
}

fn attempt_of(job: &Job, end: AttemptEnd, ms: u64) -> AttemptUsage {
    AttemptUsage { attempt: job.attempt, worker: job.worker, end, usage: used(ms) }
}

fn kernel() -> ExecuteOutcome {
    ExecuteOutcome::Internal(kernel_error())
}

/// The verdict of request 1 on code 1, which is prepared (10 ms) and executed (20 ms).
fn prepared_and_executed(env: &mut Env) -> (Job, Verdict) {
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    prepared_using(env, &prepare, 10);
    let run = env.dispatched();
    executed_using(env, &run, valid(), 20);
    (run, env.verdict())
}

/// The verdict of request `n` on code 1, which is executed once.
fn executed_once(env: &mut Env, n: u64, ms: u64) -> (Job, Verdict) {
    env.submit(n, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    executed_using(env, &run, valid(), ms);
    (run, env.verdict())
}

#[test]
fn a_verdict_has_the_usage_of_its_preparation_and_execution() {
    let mut env = small_fleet();
    let (run, verdict) = prepared_and_executed(&mut env);
    let executions = vec![attempt_of(&run, AttemptEnd::Valid, 20)];
    assert_eq!(verdict.usage, VerdictUsage { preparation: preparation(1, 10), executions });
    assert!(!verdict.artifact.unwrap().cached);
    // The next request finds the artifact: this coordinator still knows what made it.
    let (run, verdict) = executed_once(&mut env, 2, 30);
    let executions = vec![attempt_of(&run, AttemptEnd::Valid, 30)];
    assert_eq!(verdict.usage, VerdictUsage { preparation: preparation(1, 10), executions });
    assert!(verdict.artifact.unwrap().cached);
    // A client that missed the verdict gets the same.
    assert_eq!(env.ask(1, &[2]), []);
    assert_eq!(env.verdict().usage, verdict.usage);
}

#[test]
fn an_artifact_that_was_in_the_store_has_no_preparation() {
    let mut env = warm_fleet();
    let (run, verdict) = executed_once(&mut env, 1, 20);
    let executions = vec![attempt_of(&run, AttemptEnd::Valid, 20)];
    assert_eq!(verdict.usage, VerdictUsage { preparation: None, executions });
}

#[test]
fn every_attempt_that_was_reported_is_listed_in_order() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    executed_using(&mut env, &first, ExecuteOutcome::Ambiguous(job_death()), 20);
    let second = env.dispatched();
    executed_using(&mut env, &second, valid(), 30);
    let verdict = env.verdict();
    let expected = [attempt_of(&first, AttemptEnd::Ambiguous, 20), attempt_of(&second, AttemptEnd::Valid, 30)];
    assert_eq!((verdict.attempts, &verdict.usage.executions[..]), (2, &expected[..]));
    assert_ne!(first.worker, second.worker);
}

#[test]
fn attempts_that_fail_to_the_end_are_listed_in_the_verdict_on_it() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let mut expected = vec![];
    for _ in 0..3 {
        let run = env.dispatched();
        let ms = 20 + u64::from(run.attempt);
        executed_using(&mut env, &run, kernel(), ms);
        expected.push(attempt_of(&run, AttemptEnd::Internal, ms));
    }
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.usage.executions), (Outcome::Internal(kernel_error()), expected));
}

/// The worker of request 1 is lost; request 1 runs on the other worker.
fn lost_and_running_elsewhere() -> (Env, Job, Job) {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.pass_with_heartbeats(&[1, if first.worker == worker(2) { 3 } else { 2 }], 6);
    let second = env.dispatched();
    (env, first, second)
}

#[test]
fn an_attempt_that_was_lost_is_missing_until_it_is_reported() {
    for reported in [false, true] {
        let (mut env, first, second) = lost_and_running_elsewhere();
        let mut expected = vec![];
        if reported {
            // Twice: the first report counts.
            executed_using(&mut env, &first, kernel(), 20);
            executed_using(&mut env, &first, kernel(), 21);
            expected.push(attempt_of(&first, AttemptEnd::Internal, 20));
        }
        executed_using(&mut env, &second, valid(), 30);
        expected.push(attempt_of(&second, AttemptEnd::Valid, 30));
        assert_eq!(env.verdict().usage.executions, expected);
    }
    let (mut env, first, second) = lost_and_running_elsewhere();
    executed_using(&mut env, &first, valid(), 20);
    env.cancel_of(&second);
    assert_eq!(env.verdict().usage.executions, [attempt_of(&first, AttemptEnd::Valid, 20)]);
}

#[test]
fn a_request_that_expires_has_what_was_reported_until_then() {
    let mut env = warm_fleet();
    let answer_within = Duration::from_secs(1);
    env.send(Submission { answer_within, ..submission(1, 1, execute(ExecuteKind::Backing)) });
    let first = env.dispatched();
    executed_using(&mut env, &first, kernel(), 20);
    let second = env.dispatched();
    env.pass(answer_within);
    env.cancel_of(&second);
    let verdict = env.verdict();
    assert_eq!(verdict.outcome, Outcome::Expired);
    assert_eq!(verdict.usage.executions, [attempt_of(&first, AttemptEnd::Internal, 20)]);
}

#[test]
fn requests_of_one_execution_have_the_same_usage() {
    let mut env = warm_fleet();
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.submit(2, 1, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    executed_using(&mut env, &run, valid(), 20);
    let usage = [env.verdict().usage, env.verdict().usage];
    assert_eq!(usage[0].executions, [attempt_of(&run, AttemptEnd::Valid, 20)]);
    assert_eq!(usage[0], usage[1]);
}

#[test]
fn a_precheck_has_the_preparation_that_it_waited_for() {
    let mut env = small_fleet();
    let (_, verdict) = prepared_and_executed(&mut env);
    assert_eq!(verdict.usage.preparation, preparation(1, 10));
    // Its code is compiled once more, and linked.
    env.submit(2, 1, Work::Precheck);
    let precheck = env.dispatched();
    prepared_using(&mut env, &precheck, 11);
    assert_eq!(env.verdict().usage, VerdictUsage { preparation: preparation(1, 11), executions: vec![] });
    // The artifact is still the one that the execution had waited for.
    assert_eq!(executed_once(&mut env, 3, 20).1.usage.preparation, preparation(1, 10));
}

#[test]
fn a_preparation_that_failed_has_its_usage_also_when_the_failure_is_kept() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    let failed = PrepareOutcome::Failed(PrepareError::TimedOut { limit_ms: 60_000 });
    env.report_with_usage(&prepare, JobOutcome::Prepare(failed), used(10));
    assert_eq!(env.verdict().usage.preparation, preparation(1, 10));
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict().usage.preparation, preparation(1, 10));
}

#[test]
fn a_failure_that_was_in_the_store_has_no_preparation() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, Some(StoredArtifact::Failed(PrepareError::Prevalidation("bad".into()))));
    assert!(env.verdict().usage.is_empty());
}

#[test]
fn an_artifact_that_is_made_again_has_the_later_preparation() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    let missing = ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into()));
    executed_using(&mut env, &first, missing, 20);
    env.dropped(1);
    let prepare = env.dispatched();
    prepared_using(&mut env, &prepare, 10);
    let second = env.dispatched();
    executed_using(&mut env, &second, valid(), 30);
    let expected = vec![attempt_of(&first, AttemptEnd::Internal, 20), attempt_of(&second, AttemptEnd::Valid, 30)];
    assert_eq!(env.verdict().usage, VerdictUsage { preparation: preparation(1, 10), executions: expected });
}
