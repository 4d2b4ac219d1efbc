//! Jobs whose artifact and input are still being fetched, by the heartbeats of their worker: they keep no slot from
//! others, and the loss of their worker is not their doing.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    job::ExecuteOutcome,
    priority::ExecuteKind,
    verdict::{InternalError, Outcome},
    wire::{Work, WorkerKind},
};
use std::time::Duration;

/// An execution of this code, whose artifact is in the store.
fn submit(env: &mut Env, n: u64, code: u8) {
    env.submit(n, code, execute(ExecuteKind::Backing));
    env.looked_up(code, Some(StoredArtifact::Prepared(info(code))));
}

/// Worker 2, of one slot, has as many cold jobs as it may have at once: requests 1 to `jobs`, each of its own code.
fn cold_jobs(policy: Policy, jobs: u8) -> (Env, Vec<Job>) {
    let mut env = Env::with(policy);
    env.worker(2, WorkerKind::Execute, 1);
    let mut dispatched = Vec::new();
    for n in 1..=jobs {
        submit(&mut env, n.into(), n);
        dispatched.push(env.dispatched());
    }
    submit(&mut env, 100, 100);
    env.quiet();
    (env, dispatched)
}

fn end_well(env: &mut Env, job: &Job, n: u64) {
    env.executed(job, valid());
    assert!(is_valid(&env.verdict_of(n)));
}

#[test]
fn jobs_whose_fetch_hangs_keep_no_slot_from_another() {
    for (policy, credit) in [(unstaged(), 1), (staged(), 2)] {
        let (mut env, cold) = cold_jobs(policy, credit);
        env.heartbeat_fetching(2, &cold.iter().collect::<Vec<_>>());
        let warm = env.dispatched();
        assert_eq!((warm.request, env.running_at(2)), (Some(request(100)), 1));
        end_well(&mut env, &warm, 100);
        for n in 101..110 {
            env.submit(n, 100, execute(ExecuteKind::Backing));
            let warm = env.dispatched();
            env.heartbeat_fetching(2, &cold.iter().collect::<Vec<_>>());
            end_well(&mut env, &warm, n);
        }
        for (job, n) in cold.iter().zip(1..) {
            end_well(&mut env, job, n);
        }
    }
}

#[test]
fn a_worker_fetches_as_many_jobs_beside_its_slots_as_it_may_have_in_them() {
    let (mut env, mut cold) = cold_jobs(staged(), 2);
    env.heartbeat_fetching(2, &cold.iter().collect::<Vec<_>>());
    cold.push(env.dispatched());
    submit(&mut env, 101, 101);
    cold.push(env.dispatched());
    submit(&mut env, 102, 102);
    env.heartbeat_fetching(2, &cold.iter().collect::<Vec<_>>());
    env.quiet();
    // One that ends makes room for another.
    end_well(&mut env, &cold.remove(0), 1);
    env.quiet();
    env.heartbeat_fetching(2, &cold.iter().collect::<Vec<_>>());
    assert_eq!(env.dispatched().request, Some(request(102)));
}

#[test]
fn what_is_fetched_queues_at_its_worker() {
    let (mut env, cold) = cold_jobs(unstaged(), 1);
    env.heartbeat_fetching(2, &[&cold[0]]);
    let warm = env.dispatched();
    env.heartbeat(2);
    assert_eq!(env.running_at(2), 1);
    env.submit(101, 100, execute(ExecuteKind::Backing));
    end_well(&mut env, &warm, 100);
    env.quiet();
    assert_eq!(env.running_at(2), 1, "it has the slot now");
    end_well(&mut env, &cold[0], 1);
    assert_eq!(env.dispatched().request, Some(request(101)));
}

#[test]
fn a_job_that_is_fetched_and_staged_moves_to_an_idle_worker() {
    let (mut env, cold) = cold_jobs(unstaged(), 1);
    env.heartbeat_fetching(2, &[&cold[0]]);
    let warm = env.dispatched();
    env.worker(3, WorkerKind::Execute, 1);
    env.quiet();
    env.heartbeat(2);
    env.recall_of(&cold[0]);
    env.delivered(&cold[0], Command::Recall, Delivery::Taken);
    let moved = env.dispatched();
    assert_eq!((moved.worker, moved.request), (worker(3), Some(request(1))));
    end_well(&mut env, &warm, 100);
}

#[test]
fn an_older_heartbeat_that_comes_late_does_not_take_a_fetch_back() {
    let (mut env, cold) = cold_jobs(unstaged(), 1);
    env.heartbeat(2);
    env.heartbeat_fetching(2, &[&cold[0]]);
    env.quiet();
    end_well(&mut env, &cold[0], 1);
    assert_eq!(env.dispatched().request, Some(request(100)));
}

#[test]
fn a_fetch_that_hangs_for_ever_is_cancelled_and_the_job_tried_elsewhere() {
    let (mut env, cold) = cold_jobs(unstaged(), 1);
    // Four times the CPU limit of two seconds, and the allowance.
    for _ in 0..127 {
        env.heartbeat_fetching(2, &[&cold[0]]);
        env.pass(Duration::from_secs(1));
    }
    assert_eq!(env.dispatched().request, Some(request(100)));
    env.quiet();
    env.heartbeat_fetching(2, &[&cold[0]]);
    env.pass(Duration::from_secs(1));
    env.heartbeat_fetching(2, &[&cold[0]]);
    env.cancel_of(&cold[0]);
    assert_eq!(env.counts().leases_over, 1);
}

#[test]
fn the_loss_of_a_worker_that_was_fetching_is_not_the_candidates_doing() {
    let mut env = Env::with(Policy { max_deaths: 1, ..unstaged() });
    for n in 2..=5 {
        env.worker(n, WorkerKind::Execute, 1);
    }
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    for _ in 0..2 {
        lose_while_fetching(&mut env);
    }
    // Its first ambiguous attempt.
    let third = env.dispatched();
    env.executed(&third, ExecuteOutcome::Ambiguous(job_death()));
    let fourth = env.dispatched();
    assert_ne!(fourth.worker, third.worker);
    env.executed(&fourth, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert_eq!((verdict.attempts, env.counts().quarantined), (2, 0));
}

/// The worker of the next dispatch is lost while it fetches.
fn lose_while_fetching(env: &mut Env) {
    let job = env.dispatched();
    let n = (1..100).find(|n| worker(*n) == job.worker).unwrap();
    let others: Vec<_> = (1..=5).filter(|other| *other != n && env.is_registered(*other)).collect();
    env.heartbeat_fetching(n, &[&job]);
    env.pass_with_heartbeats(&others, 5);
    env.pass(Duration::from_secs(1));
    assert!(!env.is_registered(n));
}

#[test]
fn three_workers_that_are_lost_while_they_fetch_are_an_infrastructure_failure() {
    let mut env = Env::with(unstaged());
    for n in 2..=5 {
        env.worker(n, WorkerKind::Execute, 1);
    }
    submit(&mut env, 1, 1);
    for _ in 0..3 {
        lose_while_fetching(&mut env);
    }
    let verdict = env.verdict();
    assert!(matches!(verdict.outcome, Outcome::Internal(InternalError::WorkerDraining(_))), "{verdict:?}");
    assert_eq!((verdict.attempts, env.counts().workers_lost), (0, 3));
}

#[test]
fn a_worker_that_deregisters_while_it_fetches_has_not_begun() {
    let (mut env, cold) = cold_jobs(unstaged(), 1);
    env.heartbeat_fetching(2, &[&cold[0]]);
    let warm = env.dispatched();
    env.goodbye(2);
    env.worker(3, WorkerKind::Execute, 2);
    for (again, (n, attempts)) in [env.dispatched(), env.dispatched()].into_iter().zip([(1, 1), (100, 2)]) {
        assert_eq!(again.request, Some(request(n)));
        env.executed(&again, valid());
        assert_eq!(env.verdict().attempts, attempts, "{warm:?} had begun");
    }
}

#[test]
fn preparations_that_lose_workers_while_these_fetch_are_bounded() {
    let mut env = Env::with(unstaged());
    env.submit(1, 1, Work::Precheck);
    env.worker(1, WorkerKind::Prepare, 1);
    env.looked_up(1, None);
    for n in 1..=20 {
        let prepare = env.dispatched();
        assert_eq!(prepare.worker, worker(n));
        env.heartbeat_fetching(n, &[&prepare]);
        env.pass(Duration::from_secs(6));
        assert_eq!(env.counts().workers_lost, n);
        if n < 20 {
            env.quiet();
            env.worker(n + 1, WorkerKind::Prepare, 1);
            if !env.has_effects() {
                env.pass(Duration::from_secs(5));
            }
        }
    }
    let Outcome::Internal(InternalError::WorkerDraining(why)) = env.verdict_of(1) else { panic!("another outcome") };
    assert!(why.contains("20 attempts did not begin") && why.contains("waited there for its code"), "{why}");
    assert_eq!((env.counts().quarantined, env.gauges().artifacts), (0, 0));
}
