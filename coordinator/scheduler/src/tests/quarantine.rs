//! Work that loses workers: after losses on `max_deaths` machines it is answered and not tried on another worker.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::Policy;
use pvf_proto::{
    artifact::StoredArtifact,
    job::ExecuteOutcome,
    priority::ExecuteKind,
    verdict::{AmbiguousReason, InvalidReason, Outcome, PrepareError, WireOutcome},
    wire::{Dispatch, Work, WorkerHello, WorkerKind},
};

const WORKERS: [u64; 6] = [1, 2, 3, 4, 5, 6];

fn fleet(kind: WorkerKind, max_deaths: u32) -> Env {
    let mut env = Env::with(Policy { max_deaths, ..unstaged() });
    WORKERS.iter().for_each(|n| env.worker(*n, kind, 1));
    env
}

/// The worker that has a job falls silent; all others do not.
fn lose_worker_of(env: &mut Env, job: &Job) {
    let others: Vec<_> = WORKERS.into_iter().filter(|n| worker(*n) != job.worker).collect();
    let lost = env.counts().workers_lost;
    env.pass_with_heartbeats(&others, 6);
    assert_eq!(env.counts().workers_lost, lost + 1);
}

fn worker_death() -> WireOutcome {
    Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath)
}

/// Request `n` loses so many workers, and is answered.
fn lose_workers(env: &mut Env, n: u64, deaths: usize) {
    env.submit(n, 1, candidate(ExecuteKind::Backing, 1));
    if env.gauges().artifact_bytes == 0 {
        env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    }
    for _ in 0..deaths {
        let job = env.dispatched();
        lose_worker_of(env, &job);
    }
    assert_eq!(env.verdict_of(n), worker_death());
}

#[test]
fn a_validation_that_lost_as_many_workers_as_it_may_is_answered_at_once() {
    let mut env = fleet(WorkerKind::Execute, 2);
    lose_workers(&mut env, 1, 2);
    assert_eq!(env.counts().quarantined, 0, "the second attempt decided");
    lose_workers(&mut env, 2, 0);
    assert_eq!(env.counts().quarantined, 1);
    env.submit(3, 1, candidate(ExecuteKind::Backing, 9));
    assert_eq!(env.dispatched().request, Some(request(3)), "another candidate is executed");
}

#[test]
fn a_validation_that_lost_fewer_workers_is_executed() {
    let mut env = fleet(WorkerKind::Execute, 3);
    lose_workers(&mut env, 1, 2);
    succeed(&mut env, 2);
}

/// Request `n`, for the candidate that lost workers, is executed.
fn succeed(env: &mut Env, n: u64) {
    env.submit(n, 1, candidate(ExecuteKind::Backing, 1));
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(n)));
}

#[test]
fn a_success_clears_the_losses() {
    let mut env = fleet(WorkerKind::Execute, 3);
    lose_workers(&mut env, 1, 2);
    succeed(&mut env, 2);
    lose_workers(&mut env, 3, 2);
    succeed(&mut env, 4);
    assert_eq!(env.counts().quarantined, 0);
}

/// Loses two workers of a fleet with request 1. Gives the attempts, and whether a later request is answered at once
/// after these are reported like this.
fn reported_late(report: impl Fn(&mut Env, &[Job; 2])) -> bool {
    let mut env = fleet(WorkerKind::Execute, 2);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let lost = [0; 2].map(|_| {
        let job = env.dispatched();
        lose_worker_of(&mut env, &job);
        job
    });
    assert_eq!(env.verdict_of(1), worker_death());
    report(&mut env, &lost);
    env.quiet();
    env.submit(2, 1, candidate(ExecuteKind::Backing, 1));
    let quarantined = env.counts().quarantined == 1;
    match quarantined {
        true => assert_eq!(env.verdict_of(2), worker_death()),
        false => assert_eq!(env.dispatched().request, Some(request(2))),
    }
    quarantined
}

#[test]
fn a_verdict_of_a_worker_that_counted_as_lost_lifts_the_quarantine() {
    assert!(reported_late(|_, _| ()));
    for outcome in [valid(), ExecuteOutcome::Invalid(InvalidReason::PovDecompression)] {
        assert!(!reported_late(|env, lost| env.executed(&lost[0], outcome.clone())));
        assert!(!reported_late(|env, lost| env.executed(&lost[1], outcome.clone())));
    }
}

#[test]
fn whatever_a_worker_that_counted_as_lost_reports_takes_its_loss_back() {
    assert!(!reported_late(|env, lost| env.executed(&lost[0], ExecuteOutcome::Ambiguous(job_death()))));
    assert!(!reported_late(|env, lost| env.executed(&lost[1], ExecuteOutcome::Internal(kernel_error()))));
    assert!(reported_late(|env, lost| {
        let attempt = lost[0].attempt + 7;
        let never = Dispatch { attempt, ..lost[0].dispatch.clone() };
        env.executed(&Job { worker: lost[0].worker, dispatch: never }, valid());
    }));
}

#[test]
fn losses_on_one_machine_count_once() {
    let mut env = Env::with(Policy { max_deaths: 2, ..unstaged() });
    for n in WORKERS {
        env.register(n, WorkerHello { host: "one".into(), ..hello(n, WorkerKind::Execute) });
    }
    lose_workers(&mut env, 1, 2);
    succeed(&mut env, 2);
}

#[test]
fn a_fresh_execution_of_a_quarantined_validation_is_run() {
    let mut env = fleet(WorkerKind::Execute, 2);
    lose_workers(&mut env, 1, 2);
    lose_workers(&mut env, 2, 0);
    let Work::Execute(mut work) = candidate(ExecuteKind::Backing, 1) else { unreachable!() };
    work.fresh = true;
    env.submit(3, 1, Work::Execute(work));
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(3)));
    succeed(&mut env, 4);
}

#[test]
fn a_request_that_was_dispatched_has_its_second_attempt_whatever_was_lost_before() {
    let mut env = fleet(WorkerKind::Execute, 3);
    lose_workers(&mut env, 1, 2);
    lose_workers(&mut env, 2, 2);
    lose_workers(&mut env, 3, 0);
    assert_eq!((env.counts().workers_lost, env.counts().quarantined), (4, 1));
}

#[test]
fn losses_are_forgotten_after_an_hour() {
    let mut env = fleet(WorkerKind::Execute, 2);
    lose_workers(&mut env, 1, 2);
    env.pass_with_heartbeats(&WORKERS, 3601);
    assert_eq!(env.needs_saved().len(), 1);
    env.submit(2, 1, candidate(ExecuteKind::Backing, 1));
    assert_eq!(env.dispatched().request, Some(request(2)));
}

#[test]
fn a_code_that_lost_as_many_workers_as_it_may_has_a_failure_that_is_kept() {
    let mut env = fleet(WorkerKind::Prepare, 3);
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    for attempt in 1..=3 {
        let prepare = env.dispatched();
        assert_eq!(prepare.attempt, attempt);
        lose_worker_of(&mut env, &prepare);
    }
    let failed = Outcome::PreparationFailed(PrepareError::JobDied("3 workers died while preparing this code".into()));
    assert_eq!(env.verdict_of(1), failed);
    assert_eq!(env.counts().quarantined, 1);
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict_of(2), failed);
}
