//! What becomes of executions after they were adopted: they are cancelled, lost and tried again as others are.

use super::{
    adoption::{earlier, register, two_candidates},
    env::Env,
    fixtures::*,
};
use crate::{Command, Delivery, Policy, UserLimits};
use pvf_proto::{
    artifact::StoredArtifact,
    job::ExecuteOutcome,
    priority::ExecuteKind,
    verdict::{InvalidReason, Outcome},
    wire::{HeldStage, WorkerKind},
};

#[test]
fn an_adopted_execution_that_nobody_waits_for_is_cancelled_and_its_slot_freed() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.cancel(1, 1);
    env.cancel_of(&job);
    assert_eq!(env.running_at(2), 1);
    env.delivered(&job, Command::Cancel, Delivery::Taken);
    assert_eq!(env.running_at(2), 0);
}

#[test]
fn an_adopted_execution_whose_worker_is_lost_is_tried_again_as_the_next_attempt() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.pass_with_heartbeats(&[3], 7);
    assert!(!env.is_registered(2));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let again = env.dispatched();
    assert_eq!((again.job, again.attempt, again.token, again.worker), (job.job, 2, TOKEN, worker(3)));
    env.executed(&again, ExecuteOutcome::Invalid(InvalidReason::PovDecompression));
    let verdict = env.verdict();
    assert_eq!(verdict.attempts, 2);
}

#[test]
fn a_worker_that_was_lost_with_an_adopted_execution_may_report_it_when_it_is_back() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.pass_with_heartbeats(&[3], 7);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let again = env.dispatched();
    register(&mut env, 2, &job, HeldStage::Ended);
    env.quiet();
    env.executed(&job, valid());
    env.cancel_of(&again);
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!((env.counts().late_reports, env.running_at(2)), (1, 0));
    env.delivered(&again, Command::Cancel, Delivery::Taken);
}

#[test]
fn an_adopted_execution_that_the_worker_has_lost_is_tried_again() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.pass_with_heartbeats(&[2], 5);
    env.quiet();
    env.heartbeat_without_jobs(2);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let again = env.dispatched();
    assert_eq!((again.job, again.attempt), (job.job, 2));
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn an_adopted_execution_counts_for_its_user_and_a_deregistered_worker_gives_it_back() {
    let [job, _] = earlier(two_candidates());
    let per_user = UserLimits { jobs: 1, ..UserLimits::default() };
    let mut env = Env::with(Policy { per_user, ..unstaged() });
    register(&mut env, 2, &job, HeldStage::Running);
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.submit(2, 1, candidate(ExecuteKind::Backing, 2));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.quiet();
    env.goodbye(2);
    let again = env.dispatched();
    assert_eq!((again.job, again.attempt), (job.job, 2));
    env.executed(&again, valid());
    let outcome = env.verdict_of(1);
    assert!(matches!(outcome, Outcome::Valid(_)), "{outcome:?}");
    let second = env.dispatched();
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(2)));
}
