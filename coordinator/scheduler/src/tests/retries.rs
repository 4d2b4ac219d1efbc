//! The blame table: which failures are followed by another attempt, where, and how often.

use super::{env::Env, fixtures::*};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::FencingToken,
    job::{ExecuteOutcome, JobOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{InvalidReason, Outcome},
    wire::{Work, WorkerHello, WorkerKind},
};
use std::time::Duration;

fn ambiguous() -> ExecuteOutcome {
    ExecuteOutcome::Ambiguous(job_death())
}

#[test]
fn an_invalid_candidate_gets_no_second_attempt() {
    let (mut env, run) = one_busy_worker(unstaged());
    let reason = InvalidReason::HardTimeout { limit_ms: 2000 };
    env.executed(&run, ExecuteOutcome::Invalid(reason.clone()));
    assert_eq!(env.verdict_of(1), Outcome::Invalid(reason));
}

#[test]
fn an_ambiguous_failure_gets_one_more_attempt_elsewhere() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ambiguous());
    let second = env.dispatched();
    assert_ne!(first.worker, second.worker);
    assert_eq!((second.job, second.attempt), (first.job, 2));
    env.executed(&second, ambiguous());
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::PossiblyInvalid(job_death()), 2));
    assert_eq!(verdict.worker, Some(second.worker));
}

#[test]
fn a_second_attempt_that_succeeds_decides() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ambiguous());
    let second = env.dispatched();
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_second_attempt_waits_for_another_worker_and_holds_nothing_up() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (first, other) = (env.dispatched(), env.dispatched());
    env.executed(&first, ambiguous());
    env.quiet();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    let third = env.dispatched();
    assert_eq!((third.worker, third.request), (first.worker, Some(request(3))));
    env.executed(&other, valid());
    assert!(is_valid(&env.verdict_of(2)));
    let second = env.dispatched();
    assert_eq!((second.worker, second.request), (other.worker, Some(request(1))));
}

#[test]
fn a_second_attempt_finds_the_other_machine_among_any_number_of_workers() {
    let mut env = Env::with(unstaged());
    for n in 2..=201 {
        env.register(n, WorkerHello { host: "large".into(), ..hello(n, WorkerKind::Execute) });
    }
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    // The other machine registers last and has the worker with the greatest id: the free ones are looked at by id.
    env.register(900, WorkerHello { host: "small".into(), ..hello(900, WorkerKind::Execute) });
    env.executed(&first, ambiguous());
    let second = env.dispatched();
    assert_eq!(second.worker, worker(900));
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_second_attempt_goes_to_the_same_worker_if_there_is_no_other() {
    let (mut env, first) = one_busy_worker(unstaged());
    env.executed(&first, ambiguous());
    assert_eq!(env.dispatched().worker, first.worker);
}

#[test]
fn another_machine_is_preferred_to_another_worker_of_the_same() {
    let mut env = Env::with(unstaged());
    for (n, host) in [(1, "a"), (2, "a"), (3, "b")] {
        env.register(n, WorkerHello { host: host.into(), ..hello(n, WorkerKind::Execute) });
    }
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, ambiguous());
    let second = env.dispatched();
    assert_eq!(first.worker == worker(3), second.worker != worker(3), "{:?} then {:?}", first.worker, second.worker);
}

#[test]
fn an_infrastructure_failure_gets_two_more_attempts() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    for _ in 0..3 {
        let run = env.dispatched();
        env.executed(&run, ExecuteOutcome::Internal(kernel_error()));
    }
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::Internal(kernel_error()), 3));
}

#[test]
fn a_preparation_that_fails_because_of_infrastructure_gets_two_more_attempts_elsewhere() {
    let mut env = Env::with(unstaged());
    for n in 1..=3 {
        env.worker(n, WorkerKind::Prepare, 1);
    }
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let mut workers = Vec::new();
    for attempt in 1..=3 {
        let prepare = env.dispatched();
        assert_eq!(prepare.attempt, attempt);
        workers.push(prepare.worker);
        env.preparation_ended(&prepare, PrepareOutcome::Internal(kernel_error()));
    }
    workers.sort();
    assert_eq!(workers, [1, 2, 3].map(worker));
    assert_eq!(env.verdict_of(1), Outcome::Internal(kernel_error()));
    env.submit(2, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk, "nothing is kept of an infrastructure failure");
}

#[test]
fn a_lost_worker_is_an_ambiguous_failure_which_its_late_report_does_not_repeat() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    let other = if first.worker == worker(2) { 3 } else { 2 };
    env.pass_with_heartbeats(&[1, other], 7);
    let second = env.dispatched();
    assert_eq!(second.worker, worker(other));
    env.executed(&first, ambiguous());
    env.quiet();
    env.executed(&second, ambiguous());
    assert_eq!(env.verdict_of(1), Outcome::PossiblyInvalid(job_death()));
}

#[test]
fn queued_work_goes_on_after_all_workers_were_lost() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.dispatched();
    env.submit(2, 2, execute(ExecuteKind::Backing));
    env.looked_up(2, None);
    env.dispatched();
    env.pass(Duration::from_secs(30));
    env.quiet();
    assert_eq!(env.counts().workers_lost, 3);
    env.worker(11, WorkerKind::Prepare, 1);
    let prepare = env.dispatched();
    env.worker(12, WorkerKind::Execute, 1);
    let run = env.dispatched();
    assert_eq!((prepare.attempt, run.attempt), (2, 2));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.prepared(&prepare, 3);
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(2)));
}

#[test]
fn a_job_that_its_worker_has_lost_is_given_to_another() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.pass(Duration::from_secs(4));
    env.heartbeat_without_jobs(if run.worker == worker(2) { 2 } else { 3 });
    env.quiet();
    env.pass(Duration::from_millis(1));
    env.heartbeat(if run.worker == worker(2) { 2 } else { 3 });
    let again = env.dispatched();
    assert_ne!(again.worker, run.worker);
    env.executed(&again, valid());
    assert_eq!(env.verdict().attempts, 2);
}

#[test]
fn a_worker_that_deregisters_returns_its_jobs() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.goodbye(if run.worker == worker(2) { 2 } else { 3 });
    let again = env.dispatched();
    assert_ne!(again.worker, run.worker);
    env.executed(&again, ExecuteOutcome::Internal(kernel_error()));
    let again = env.dispatched();
    env.executed(&again, ExecuteOutcome::Internal(kernel_error()));
    let again = env.dispatched();
    env.executed(&again, ExecuteOutcome::Internal(kernel_error()));
    assert_eq!(env.verdict_of(1), Outcome::Internal(kernel_error()), "returning a job is no failure of it");
}

#[test]
fn an_attempt_of_an_earlier_coordinator_does_not_count() {
    let (mut env, run) = one_busy_worker(unstaged());
    let mut earlier = run.clone();
    earlier.dispatch.token = FencingToken(TOKEN.0 - 1);
    env.report_unanswered(&earlier, JobOutcome::Execute(valid()));
    env.quiet();
    env.executed(&run, ExecuteOutcome::Invalid(InvalidReason::PovDecompression));
    assert_eq!(env.verdict_of(1), Outcome::Invalid(InvalidReason::PovDecompression));
    env.executed(&run, valid());
}
