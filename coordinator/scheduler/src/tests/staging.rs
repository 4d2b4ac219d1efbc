//! Jobs that are staged at a worker behind its slots, and their recall.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery};
use pvf_proto::{
    job::ExecuteOutcome,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{CommandRefusal, WorkerKind},
};
use std::time::Duration;

/// Worker 2 runs request 1 and has request 2 staged.
fn one_staged_job() -> (Env, Job, Job) {
    let (mut env, running) = one_busy_worker(staged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let staged = env.dispatched();
    assert_eq!((staged.worker, env.running_at(2)), (worker(2), 1));
    (env, running, staged)
}

/// Worker 3, which is idle, has registered, and the staged job is recalled for it.
fn one_recalled_job() -> (Env, Job, Job) {
    let (mut env, running, staged) = one_staged_job();
    env.worker(3, WorkerKind::Execute, 1);
    env.recall_of(&staged);
    env.quiet();
    (env, running, staged)
}

/// A job ends well: its request is answered.
fn execute_well(env: &mut Env, job: &Job, n: u64) {
    env.executed(job, valid());
    let verdict = env.verdict();
    assert_eq!((verdict.request, verdict.attempts), (request(n), 1), "what came back has not begun");
    assert!(is_valid(&verdict.outcome));
}

#[test]
fn one_job_is_staged_for_each_slot() {
    let (mut env, running, staged) = one_staged_job();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.quiet();
    execute_well(&mut env, &running, 1);
    assert_eq!(env.running_at(2), 1, "the staged job has taken the slot");
    let third = env.dispatched();
    execute_well(&mut env, &staged, 2);
    execute_well(&mut env, &third, 3);
    assert_eq!(env.counts().recalled, 0);
}

#[test]
fn a_more_urgent_job_replaces_a_staged_one() {
    let (mut env, running, staged) = one_staged_job();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.quiet();
    env.submit(4, 1, execute(ExecuteKind::Dispute));
    env.recall_of(&staged);
    env.quiet();
    env.delivered(&staged, Command::Recall, Delivery::Taken);
    let urgent = env.dispatched();
    assert_eq!(urgent.request, Some(request(4)));
    env.quiet();
    execute_well(&mut env, &running, 1);
    let again = env.dispatched();
    assert_eq!((again.request, again.attempt), (Some(request(2)), 2), "what came back goes before what never left");
    execute_well(&mut env, &urgent, 4);
    assert_eq!(env.dispatched().request, Some(request(3)));
    execute_well(&mut env, &again, 2);
    assert_eq!((env.counts().recalled, env.counts().came_back), (1, 1));
}

#[test]
fn a_staged_job_moves_to_a_worker_that_has_nothing_to_do() {
    let (mut env, running, staged) = one_recalled_job();
    env.delivered(&staged, Command::Recall, Delivery::Taken);
    let moved = env.dispatched();
    assert_eq!((moved.worker, moved.request, moved.attempt), (worker(3), Some(request(2)), 2));
    execute_well(&mut env, &moved, 2);
    execute_well(&mut env, &running, 1);
}

#[test]
fn a_job_whose_recall_is_refused_stays_where_it_began() {
    let (mut env, running, staged) = one_recalled_job();
    env.delivered(&staged, Command::Recall, Delivery::Refused(CommandRefusal::NotStaged));
    env.quiet();
    assert_eq!(
        (env.running_at(2), env.running_at(3)),
        (2, 0),
        "the worker has begun it: the report of the other one is on its way"
    );
    execute_well(&mut env, &running, 1);
    execute_well(&mut env, &staged, 2);
}

#[test]
fn a_job_whose_recall_is_not_answered_stays_where_it_is() {
    for delivery in [Delivery::Unknown("lost".into()), Delivery::NotSent("bus".into()), Delivery::NoSubscriber] {
        let (mut env, running, staged) = one_recalled_job();
        env.delivered(&staged, Command::Recall, delivery);
        env.quiet();
        execute_well(&mut env, &staged, 2);
        execute_well(&mut env, &running, 1);
    }
}

#[test]
fn a_recalled_job_that_is_reported_before_the_answer_is_done() {
    let (mut env, running, staged) = one_recalled_job();
    execute_well(&mut env, &running, 1);
    execute_well(&mut env, &staged, 2);
    env.delivered(&staged, Command::Recall, Delivery::Refused(CommandRefusal::NotStaged));
    env.quiet();
}

#[test]
fn a_staged_job_of_a_lost_worker_goes_to_another_and_costs_no_attempt() {
    let (mut env, running, staged) = one_staged_job();
    env.pass(Duration::from_secs(6));
    env.quiet();
    env.worker(3, WorkerKind::Execute, 2);
    let (first, second) = (env.dispatched(), env.dispatched());
    assert_eq!([first.request, second.request], [running.request, staged.request]);
    env.executed(&first, ExecuteOutcome::Ambiguous(job_death()));
    assert_eq!(env.verdict_of(1), Outcome::PossiblyInvalid(job_death()), "its first attempt had begun");
    execute_well(&mut env, &second, 2);
}

#[test]
fn a_recalled_job_of_a_worker_that_is_lost_before_it_answers_goes_to_another() {
    let (mut env, running, staged) = one_recalled_job();
    env.pass_with_heartbeats(&[3], 6);
    let (first, second) = (env.dispatched(), env.dispatched());
    assert_eq!([first.worker, second.worker], [worker(3); 2]);
    assert_eq!([first.request, second.request], [running.request, staged.request]);
    env.delivered(&staged, Command::Recall, Delivery::Unknown("no answer".into()));
    env.executed(&first, valid());
    assert_eq!(env.verdict().attempts, 2);
    execute_well(&mut env, &second, 2);
}

#[test]
fn a_staged_job_of_a_worker_that_deregisters_goes_to_another() {
    let (mut env, running, staged) = one_recalled_job();
    env.goodbye(2);
    let (first, second) = (env.dispatched(), env.dispatched());
    assert_eq!([first.worker, second.worker], [worker(3); 2]);
    assert_eq!([first.request, second.request], [running.request, staged.request]);
    env.executed(&first, valid());
    assert_eq!(env.verdict().attempts, 2);
    execute_well(&mut env, &second, 2);
}

#[test]
fn a_cancelled_staged_job_is_cancelled_at_its_worker() {
    let (mut env, running, staged) = one_staged_job();
    env.cancel(1, 2);
    env.cancel_of(&staged);
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.quiet();
    env.delivered(&staged, Command::Cancel, Delivery::Taken);
    let third = env.dispatched();
    execute_well(&mut env, &running, 1);
    execute_well(&mut env, &third, 3);
}

#[test]
fn a_job_that_was_dispatched_as_the_share_of_its_kind_is_not_recalled_for_a_more_urgent_one() {
    let (mut env, mut running) = one_busy_worker(staged());
    let mut n = 100;
    let mut submit = |env: &mut Env, kind| {
        n += 1;
        env.submit(n, 1, execute(kind));
    };
    submit(&mut env, ExecuteKind::Dispute);
    let mut staged = env.dispatched();
    for _ in 0..30 {
        submit(&mut env, ExecuteKind::Dispute);
    }
    submit(&mut env, ExecuteKind::Backing);
    env.quiet();
    while staged.urgency != 0 {
        env.executed(&running, valid());
        assert!(is_valid(&env.verdict().outcome));
        running = std::mem::replace(&mut staged, env.dispatched());
    }
    assert_eq!(staged.request, Some(request(132)), "the backing request has its share");
    env.quiet();
    assert_eq!((env.gauges().execute_queue[3], env.counts().recalled), (0, 0));
}

#[test]
fn a_worker_that_drains_gives_back_what_has_not_begun_there() {
    let (mut env, running, staged) = one_staged_job();
    env.heartbeat_draining(2);
    env.recall_of(&staged);
    // Once, and not the one that runs.
    env.heartbeat_draining(2);
    env.quiet();
    env.delivered(&staged, Command::Recall, Delivery::Taken);
    env.quiet();
    env.worker(3, WorkerKind::Execute, 1);
    let again = env.dispatched();
    assert_eq!((again.worker, again.request, again.attempt), (worker(3), Some(request(2)), 2));
    execute_well(&mut env, &running, 1);
    execute_well(&mut env, &again, 2);
    assert_eq!((env.counts().recalled, env.counts().came_back), (1, 1));
}

#[test]
fn a_job_that_began_meanwhile_stays_at_a_worker_that_drains() {
    let (mut env, running, staged) = one_staged_job();
    env.heartbeat_draining(2);
    env.recall_of(&staged);
    execute_well(&mut env, &running, 1);
    env.delivered(&staged, Command::Recall, Delivery::Refused(CommandRefusal::NotStaged));
    env.heartbeat_draining(2);
    env.quiet();
    execute_well(&mut env, &staged, 2);
}
