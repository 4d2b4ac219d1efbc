//! Health: a worker at which jobs fail gets none for a while, and the status says why.

use super::{env::Env, fixtures::*};
use crate::Notice;
use pvf_proto::{
    artifact::StoredArtifact,
    job::{ExecuteOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{InternalError, InvalidReason, Outcome, PrepareError},
    wire::{Work, WorkerKind},
};

/// Seconds of the first pause.
const PAUSE: u64 = 5;

/// Execute workers of one slot, the first one with number 2, each on a machine of its own. The first one has artifact 1
/// warm, so that it gets every job of it while it is free.
fn fleet(workers: std::ops::RangeInclusive<u64>) -> Env {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    workers.skip(1).for_each(|n| env.worker(n, WorkerKind::Execute, 1));
    env
}

/// Submits request `n` and fails its attempts at worker 2 with this outcome; other workers find it valid. Returns
/// whether worker 2 got an attempt.
fn job(env: &mut Env, n: u64, outcome: &ExecuteOutcome) -> bool {
    env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
    let mut failed = false;
    loop {
        let run = env.dispatched();
        if run.worker != worker(2) {
            env.executed(&run, valid());
            assert!(is_valid(&env.verdict_of(n)));
            return failed;
        }
        failed = true;
        env.executed(&run, outcome.clone());
    }
}

/// Fails three jobs at worker 2. Returns the number of the next request.
fn pause_worker_2(env: &mut Env) -> u64 {
    let (mut n, mut failed) = (10, 0);
    while failed < 3 {
        assert!(n < 100, "worker 2 gets no jobs");
        failed += u64::from(job(env, n, &ExecuteOutcome::Internal(kernel_error())));
        n += 1;
    }
    n
}

fn trouble(env: &mut Env, n: u64) -> Option<String> {
    env.status().workers.into_iter().find(|status| status.id == worker(n)).unwrap().trouble
}

fn paused(env: &mut Env) -> Vec<(u64, u64)> {
    let number = |id| (1..100).find(|n| worker(*n) == id).unwrap();
    let notices = env.new_notices();
    let of = |notice: &Notice| match notice {
        Notice::WorkerPaused { worker, pause, .. } => Some((number(*worker), pause.as_secs())),
        _ => None,
    };
    notices.iter().filter_map(of).collect()
}

#[test]
fn a_worker_at_which_three_jobs_fail_gets_no_more_for_a_while() {
    for outcome in [
        ExecuteOutcome::Internal(kernel_error()),
        ExecuteOutcome::Internal(InternalError::Store("unreachable".into())),
        ExecuteOutcome::Ambiguous(job_death()),
    ] {
        let mut env = fleet(2..=4);
        let mut n = 10;
        let mut failed = 0;
        // A failed attempt is no reason to prefer other workers for other jobs, until it has failed three.
        while failed < 3 {
            assert_eq!(trouble(&mut env, 2).is_some(), failed > 0);
            failed += u64::from(job(&mut env, n, &outcome));
            n += 1;
            assert!(n < 100, "worker 2 gets no jobs");
        }
        assert_eq!((paused(&mut env), env.counts().workers_paused), (vec![(2, PAUSE)], 1));
        let text = trouble(&mut env, 2).unwrap();
        assert!(text.starts_with("gets no jobs for 5 s: 3 or more jobs failed"), "{text}");
        for n in n..n + 20 {
            assert!(!job(&mut env, n, &outcome), "it is paused");
        }
        env.pass_with_heartbeats(&[2, 3, 4], PAUSE);
        assert!(env.new_notices().contains(&Notice::WorkerResumed { worker: worker(2) }));
        // One more failure is enough now, and the pause is longer.
        let mut n = n + 20;
        while !job(&mut env, n, &outcome) {
            n += 1;
        }
        assert_eq!(paused(&mut env), [(2, 2 * PAUSE)]);
    }
}

#[test]
fn one_job_that_fails_everywhere_pauses_no_worker() {
    let mut env = fleet(2..=5);
    for n in 10..30 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, 7));
        for _ in 0..2 {
            let run = env.dispatched();
            env.executed(&run, ExecuteOutcome::Ambiguous(job_death()));
        }
        assert_eq!(env.verdict_of(n), Outcome::PossiblyInvalid(job_death()));
    }
    assert_eq!(paused(&mut env), []);
}

#[test]
fn an_invalid_candidate_is_no_failure_of_its_worker() {
    let mut env = fleet(2..=3);
    for n in 10..20 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
        let run = env.dispatched();
        env.executed(&run, ExecuteOutcome::Invalid(InvalidReason::PovDecompression));
        assert_eq!(env.verdict_of(n), Outcome::Invalid(InvalidReason::PovDecompression));
    }
    assert_eq!((paused(&mut env), trouble(&mut env, 2), trouble(&mut env, 3)), (vec![], None, None));
}

#[test]
fn a_missing_input_is_no_failure_of_the_workers() {
    let mut env = fleet(2..=5);
    for n in 10..13 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
        for attempt in 1..=20 {
            let run = env.dispatched();
            env.executed(&run, ExecuteOutcome::Internal(InternalError::InputBlob("gone".into())));
            if attempt < 20 {
                env.pass_with_heartbeats(&[2, 3, 4, 5], 5);
            }
        }
        assert!(matches!(env.verdict_of(n), Outcome::Internal(_)));
    }
    assert_eq!(paused(&mut env), []);
}

#[test]
fn at_most_half_of_the_workers_are_paused() {
    let mut env = fleet(2..=5);
    let down = ExecuteOutcome::Internal(InternalError::Store("down".into()));
    for n in 10..40 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
        for _ in 0..3 {
            let run = env.dispatched();
            env.executed(&run, down.clone());
        }
        assert!(matches!(env.verdict_of(n), Outcome::Internal(_)), "job {n}");
    }
    assert_eq!(paused(&mut env).len(), 2);
    for n in [50, 51] {
        env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
        env.dispatched();
    }
    env.submit(52, 1, candidate(ExecuteKind::Backing, 52));
    env.quiet();
    // The two that are not paused leave: paused ones are better than none.
    let unpaused: Vec<u64> = (2..=5).filter(|n| env.running_at(*n) == 1).collect();
    unpaused.iter().for_each(|n| env.goodbye(*n));
    let again = [env.dispatched(), env.dispatched()];
    for run in &again {
        assert!(unpaused.iter().all(|n| run.worker != worker(*n)));
        env.executed(run, valid());
        assert!(is_valid(&env.verdict().outcome));
        if run.worker == again[0].worker {
            assert_eq!(env.dispatched().request, Some(request(52)));
        }
    }
}

#[test]
fn a_paused_worker_that_leaves_takes_its_pause_with_it() {
    let mut env = fleet(2..=3);
    pause_worker_2(&mut env);
    env.goodbye(2);
    env.worker(2, WorkerKind::Execute, 1);
    assert_eq!(trouble(&mut env, 2), None);
    env.pass_with_heartbeats(&[2, 3], 60);
}

#[test]
fn a_prepare_worker_at_which_preparations_fail_is_paused_too() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Prepare, 1);
    env.worker(3, WorkerKind::Prepare, 1);
    let (mut n, mut failed) = (10, 0);
    while failed < 3 {
        env.submit(n, n as u8, Work::Precheck);
        env.looked_up(n as u8, None);
        let mut run = env.dispatched();
        if run.worker == worker(2) {
            failed += 1;
            env.preparation_ended(&run, PrepareOutcome::Internal(kernel_error()));
            run = env.dispatched();
        }
        // A code that cannot be prepared is no failure of the worker.
        env.preparation_ended(&run, PrepareOutcome::Failed(PrepareError::OutOfMemory));
        assert_eq!(env.verdict_of(n), Outcome::PreparationFailed(PrepareError::OutOfMemory));
        n += 1;
    }
    assert_eq!(paused(&mut env), [(2, PAUSE)]);
}

#[test]
fn a_second_opinion_waits_for_a_worker_that_is_paused() {
    let mut env = fleet(2..=3);
    let n = pause_worker_2(&mut env);
    env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
    let first = env.dispatched();
    assert_eq!(first.worker, worker(3));
    env.executed(&first, ExecuteOutcome::Ambiguous(job_death()));
    env.pass_with_heartbeats(&[2, 3], PAUSE - 1);
    env.quiet();
    env.pass_with_heartbeats(&[2, 3], 1);
    let second = env.dispatched();
    assert_eq!(second.worker, worker(2));
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(n)));
}

#[test]
fn a_paused_worker_works_if_the_others_drain() {
    let mut env = fleet(2..=3);
    let n = pause_worker_2(&mut env);
    env.heartbeat_draining(3);
    env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
    let run = env.dispatched();
    assert_eq!(run.worker, worker(2));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(n)));
}

#[test]
fn a_pause_ends_when_the_only_other_worker_is_asked_to_drain() {
    let mut env = fleet(2..=3);
    pause_worker_2(&mut env);
    env.new_notices();
    env.drain(3);
    env.heartbeat(3);
    assert!(env.new_notices().contains(&Notice::WorkerResumed { worker: worker(2) }));
}
