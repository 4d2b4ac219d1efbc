//! Attempts that do not begin: dispatches that are refused, that could not be sent, or that no worker receives. They
//! are repeated with back-off and a bound, and never count against the candidate.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, Policy, Shares};
use pvf_proto::{
    artifact::StoredArtifact,
    job::{ExecuteOutcome, JobSpec},
    priority::ExecuteKind,
    verdict::{InternalError, Outcome, WireOutcome},
    wire::{CommandRefusal, Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

/// Waits after the first, second, … attempt that did not begin, milliseconds; longer rows go on with the last one.
const DELAYS: [u64; 9] = [0, 0, 100, 200, 400, 800, 1600, 3200, 5000];

fn not_sent() -> Delivery {
    Delivery::NotSent("store: down".into())
}

/// The next dispatch cannot be sent.
fn fail_dispatch(env: &mut Env) -> Job {
    let job = env.dispatch_without_answer();
    env.delivered(&job, Command::Dispatch, not_sent());
    job
}

/// The next `failures` dispatches of a job cannot be sent; the clock has moved by all waits but the last one.
fn fail_dispatches(env: &mut Env, workers: &[u64], failures: usize) {
    for failure in 1..=failures {
        let job = fail_dispatch(env);
        assert_eq!(job.attempt as usize, failure);
        if failure < failures {
            wait_for(env, workers, failure);
        }
    }
}

/// Passes exactly the wait that follows this failure.
fn wait_for(env: &mut Env, workers: &[u64], failure: usize) {
    let delay = Duration::from_millis(DELAYS[failure.min(DELAYS.len()) - 1]);
    workers.iter().for_each(|n| env.heartbeat(*n));
    if !delay.is_zero() {
        env.pass(delay - Duration::from_nanos(1));
        env.quiet();
        env.pass(Duration::from_nanos(1));
    }
    assert!(env.has_effects(), "no dispatch after {delay:?}");
}

fn infrastructure(outcome: &WireOutcome) -> &str {
    match outcome {
        Outcome::Internal(InternalError::WorkerDraining(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dispatch_that_the_coordinator_could_not_send_is_not_the_fault_of_the_worker() {
    let (mut env, first) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let failed = fail_dispatch(&mut env);
    assert_eq!(env.counts().suspected, 0);
    let again = env.dispatched();
    assert_eq!((again.worker, again.job, again.attempt), (failed.worker, failed.job, 2), "at once, to the same worker");
    env.executed(&again, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert_eq!((verdict.attempts, env.counts().came_back), (1, 1));
}

#[test]
fn an_execution_that_does_not_begin_waits_longer_each_time_and_ends_after_twenty_attempts() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    fail_dispatches(&mut env, &[1, 2, 3], 20);
    let verdict = env.verdict();
    let why = infrastructure(&verdict.outcome);
    assert!(why.contains("20 attempts did not begin or were given back") && why.contains("store: down"), "{why}");
    assert_eq!((verdict.attempts, env.counts().execute_dispatched, env.gauges().requests), (0, 20, 0));
    assert_eq!((env.running_at(2), env.running_at(3)), (0, 0));
}

#[test]
fn a_preparation_that_does_not_begin_waits_longer_each_time_and_ends_after_twenty_attempts() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    fail_dispatches(&mut env, &[1, 2, 3], 20);
    let outcome = env.verdict_of(1);
    assert!(infrastructure(&outcome).contains("20 attempts did not begin"));
    assert_eq!((env.gauges().artifacts, env.counts().prepare_dispatched), (0, 20), "nothing is kept");
    env.submit(2, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    assert_eq!(prepare.attempt, 1);
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);
}

#[test]
fn a_preparation_that_begins_after_nineteen_attempts_is_like_any_other() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    fail_dispatches(&mut env, &[1, 2, 3], 19);
    wait_for(&mut env, &[1, 2, 3], 19);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
}

#[test]
fn a_refused_dispatch_goes_to_another_worker_and_makes_the_first_one_suspect() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatch_without_answer();
    env.delivered(&first, Command::Dispatch, Delivery::Refused(CommandRefusal::NoFreeSlot));
    let second = env.dispatch_without_answer();
    assert_ne!(second.worker, first.worker);
    env.delivered(&second, Command::Dispatch, Delivery::NoSubscriber);
    env.quiet();
    assert_eq!(env.counts().suspected, 2);
    env.heartbeat(3);
    let run = env.dispatched();
    assert_eq!(run.worker, worker(3), "a suspect worker gets jobs again when it is heard from");
    env.executed(&run, ExecuteOutcome::Ambiguous(job_death()));
    env.quiet();
    env.heartbeat(2);
    let run = env.dispatched();
    env.executed(&run, ExecuteOutcome::Ambiguous(job_death()));
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::PossiblyInvalid(job_death()), 2));
}

#[test]
fn recalled_jobs_do_not_count_as_attempts_that_did_not_begin() {
    // Disputes always go first: no backing request is dispatched as a share, which would not be recalled.
    let shares = Shares { window: 1000, percent: [100; 4], ..Shares::default() };
    let (mut env, mut running) = one_busy_worker(Policy { shares, ..staged() });
    env.submit(2, 1, execute(ExecuteKind::Backing));
    for n in 0..25 {
        let staged = env.dispatched();
        assert_eq!(staged.request, Some(request(2)));
        env.submit(100 + n, 1, execute(ExecuteKind::Dispute));
        env.recall_of(&staged);
        env.delivered(&staged, Command::Recall, Delivery::Taken);
        let urgent = env.dispatched();
        env.executed(&running, valid());
        assert!(is_valid(&env.verdict().outcome));
        running = urgent;
    }
    let last = fail_dispatch(&mut env);
    assert_eq!(last.attempt, 26);
    let last = env.dispatched();
    env.executed(&running, valid());
    assert!(is_valid(&env.verdict().outcome));
    env.executed(&last, valid());
    let verdict = env.verdict();
    assert_eq!((verdict.request, verdict.attempts), (request(2), 1));
}

#[test]
fn an_execution_that_is_cancelled_while_it_waits_leaves_nothing() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    fail_dispatches(&mut env, &[1, 2, 3], 5);
    env.quiet();
    env.cancel(1, 1);
    env.quiet();
    let gauges = env.gauges();
    assert_eq!((gauges.requests, gauges.request_bytes, gauges.execute_queue), (0, 0, [0; 4]));
    env.pass_with_heartbeats(&[1, 2, 3], 10);
    env.quiet();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().attempt, 1);
}

#[test]
fn an_execution_that_expires_while_it_waits_is_answered() {
    let mut env = warm_fleet();
    let answer_within = Duration::from_millis(900);
    let submission = Submission { answer_within, ..submission(1, 1, execute(ExecuteKind::Backing)) };
    assert_eq!(env.send(submission), SubmitReply::Accepted);
    fail_dispatches(&mut env, &[1, 2, 3], 6);
    env.pass(Duration::from_millis(200));
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::Expired, 0));
    assert_eq!(verdict.timings.queued, answer_within, "waiting for another attempt is waiting for a slot");
    env.pass_with_heartbeats(&[1, 2, 3], 10);
}

#[test]
fn an_execution_whose_artifact_is_dropped_while_it_waits_has_it_prepared_again() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    fail_dispatches(&mut env, &[1, 2, 3], 3);
    env.quiet();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.executed(&run, ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into())));
    env.dropped(1);
    let prepare = env.dispatched();
    env.pass(Duration::from_millis(100));
    env.quiet();
    env.prepared(&prepare, 2);
    let mut runs = [env.dispatched(), env.dispatched()];
    runs.sort_by_key(|run| run.request);
    assert_eq!(runs.each_ref().map(|run| run.request), [Some(request(1)), Some(request(2))]);
    assert!(runs.iter().all(|run| run.execute().digest == Some(info(2).digest)));
}

#[test]
fn an_execution_whose_artifact_is_pruned_while_it_waits_looks_it_up_again() {
    let second = Duration::from_secs(1);
    let ages = Policy { prune_min_age: second, artifact_ttl: second, ..unstaged() };
    let mut env = Env::with(Policy { prune_interval: 30 * second, ..ages });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    fail_dispatches(&mut env, &[2], 13);
    let waited: u64 = (1..13).map(|failure| DELAYS[failure.min(DELAYS.len()) - 1]).sum();
    let until_pruning = 30 * second - Duration::from_millis(waited);
    env.heartbeat(2);
    env.pass(until_pruning);
    assert_eq!(env.needs_saved().len(), 1);
    env.dropped(1);
    env.quiet();
    env.pass(Duration::from_secs(5) - until_pruning);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(2))));
    assert_eq!(env.dispatched().execute().digest, Some(info(2).digest));
}

#[test]
fn a_job_that_waits_does_not_take_a_slot() {
    let (mut env, first) = one_busy_worker(unstaged());
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.submit(2, 1, execute(ExecuteKind::Dispute));
    fail_dispatches(&mut env, &[2], 3);
    env.quiet();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    assert_eq!(run.request, Some(request(3)));
    assert!(matches!(run.spec, JobSpec::Execute(_)));
    env.pass(Duration::from_secs(1));
    env.quiet();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(3)));
    assert_eq!(env.dispatched().request, Some(request(2)));
}
