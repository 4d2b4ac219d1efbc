//! Preparations that an earlier coordinator dispatched.

use super::{
    adoption::{EARLIER, held, with_held},
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    job::{JobOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{HeldStage, Submission, Work, WorkerKind},
};
use std::time::Duration;

/// What an earlier coordinator had a prepare worker (1) do for this request about code 1.
fn earlier(submission: Submission) -> Job {
    let mut env = Env::of_token(EARLIER, Policy { dispatch_delay: Duration::ZERO, ..unstaged() });
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.send(submission);
    env.looked_up(1, None);
    env.dispatched()
}

fn backing(n: u64) -> Submission {
    submission(n, 1, candidate(ExecuteKind::Backing, 1))
}

fn successor(job: &Job, stage: HeldStage) -> Env {
    let mut env = Env::with(unstaged());
    env.register(1, with_held(1, WorkerKind::Prepare, vec![held(job, stage)]));
    env.worker(2, WorkerKind::Execute, 1);
    env
}

/// The execution of request 1 runs with the artifact that was made, and ends well.
fn executes(env: &mut Env) {
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_running_preparation_is_adopted_when_the_store_does_not_have_the_artifact() {
    let job = earlier(backing(1));
    let mut env = successor(&job, HeldStage::Running);
    assert_eq!(env.running_at(1), 1);
    env.send(backing(1));
    env.looked_up(1, None);
    env.quiet();
    assert_eq!((env.counts().prepare_adopted, env.counts().prepare_dispatched), (1, 0));
    env.prepared(&job, 1);
    executes(&mut env);
    assert_eq!(env.running_at(1), 0);
}

#[test]
fn a_preparation_is_adopted_also_if_another_one_waits_already() {
    let job = earlier(backing(1));
    let mut env = Env::of_token(TOKEN, unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    env.send(backing(1));
    env.looked_up(1, None);
    env.quiet();
    env.register(1, with_held(1, WorkerKind::Prepare, vec![held(&job, HeldStage::Running)]));
    env.pass(Duration::from_secs(1));
    env.quiet();
    env.prepared(&job, 1);
    executes(&mut env);
    assert_eq!((env.counts().prepare_adopted, env.counts().prepare_dispatched), (1, 0));
}

#[test]
fn a_report_of_a_preparation_is_kept_until_the_look_up_has_missed() {
    let job = earlier(backing(1));
    let mut env = successor(&job, HeldStage::Ended);
    env.report_unanswered(&job, JobOutcome::Prepare(PrepareOutcome::Prepared(info(1))));
    env.send(backing(1));
    env.looked_up(1, None);
    env.acknowledgement_of(&job);
    executes(&mut env);
}

#[test]
fn a_preparation_under_other_limits_is_not_adopted() {
    let other = [
        Submission { code_bomb_limit: 999, ..backing(1) },
        Submission { prepare_timeout: Some(Duration::from_secs(7)), ..backing(1) },
    ];
    for submission in other {
        let job = earlier(backing(1));
        let mut env = Env::with(unstaged());
        env.register(1, with_held(1, WorkerKind::Prepare, vec![held(&job, HeldStage::Running)]));
        env.worker(2, WorkerKind::Execute, 1);
        env.worker(3, WorkerKind::Prepare, 4);
        env.send(submission);
        env.looked_up(1, None);
        let own = env.dispatched();
        assert_eq!(own.worker, worker(3));
        env.prepared(&own, 1);
        executes(&mut env);
        env.goodbye(1);
    }
}

/// A precheck links what it compiles and has the shorter limit, so it answers an execution as well, but not the other
/// way round.
#[test]
fn a_precheck_is_adopted_by_an_execution_and_not_the_other_way_round() {
    let job = earlier(submission(1, 1, Work::Precheck));
    let mut env = successor(&job, HeldStage::Running);
    env.send(backing(1));
    env.looked_up(1, None);
    env.quiet();
    env.prepared(&job, 1);
    executes(&mut env);
    // The precheck that was adopted is remembered.
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);

    let job = earlier(backing(1));
    let mut env = Env::with(unstaged());
    env.register(1, with_held(1, WorkerKind::Prepare, vec![held(&job, HeldStage::Running)]));
    env.worker(3, WorkerKind::Prepare, 4);
    env.submit(2, 1, Work::Precheck);
    env.looked_up(1, None);
    let own = env.dispatched();
    assert!(own.prepare().precheck);
    env.prepared(&own, 1);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);
    env.goodbye(1);
}

/// What a heads-up asked for is of use although nobody asks again: it may end.
#[test]
fn a_preparation_that_nobody_asks_for_may_end() {
    let job = earlier(backing(1));
    let mut env = successor(&job, HeldStage::Running);
    env.pass_with_heartbeats(&[1, 2], 60);
    env.quiet();
    assert_eq!(env.running_at(1), 1);
    env.report_unanswered(&job, JobOutcome::Prepare(PrepareOutcome::Prepared(info(1))));
    assert_eq!(env.running_at(1), 0);
    env.pass_with_heartbeats(&[1, 2], 16);
    env.acknowledgement_of(&job);
    // It is in the store.
    env.send(backing(1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    executes(&mut env);
}

#[test]
fn a_preparation_that_nobody_asks_for_ends_with_its_lease() {
    let job = earlier(backing(1));
    let mut env = successor(&job, HeldStage::Running);
    let limit = job.prepare().cpu_limit * 4 + Duration::from_secs(120);
    env.pass_with_heartbeats(&[1, 2], limit.as_secs() - 1);
    env.quiet();
    env.pass_with_heartbeats(&[1, 2], 1);
    env.cancel_of(&job);
    env.delivered(&job, Command::Cancel, Delivery::Taken);
    assert_eq!(env.running_at(1), 0);
}

#[test]
fn an_adopted_preparation_that_is_lost_is_dispatched_again() {
    let job = earlier(backing(1));
    let mut env = successor(&job, HeldStage::Running);
    env.send(backing(1));
    env.looked_up(1, None);
    env.worker(3, WorkerKind::Prepare, 1);
    env.pass_with_heartbeats(&[2, 3], 7);
    let again = env.dispatched();
    assert_eq!((again.job, again.attempt, again.worker), (job.job, 2, worker(3)));
    env.prepared(&again, 1);
    executes(&mut env);
}

#[test]
fn a_heads_up_is_answered_at_once_if_a_worker_has_the_code_already() {
    let job = earlier(backing(1));
    let mut env = successor(&job, HeldStage::Running);
    env.submit(5, 1, HEADS_UP);
    env.looked_up(1, None);
    assert_eq!(env.verdict_of(5), Outcome::HeadsUpTaken);
    env.prepared(&job, 1);
}
