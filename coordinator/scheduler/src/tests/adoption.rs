//! Executions that an earlier coordinator dispatched: adopted by whoever asks for the same, or cancelled.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, Event, Notice, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::FencingToken,
    job::{ExecuteOutcome, JobOutcome},
    priority::ExecuteKind,
    wire::{Heartbeat, HeldAttempt, HeldStage, Work, WorkerHello, WorkerKind, WorkerReply},
};
use std::time::Duration;

pub(super) const EARLIER: FencingToken = FencingToken(TOKEN.0 - 1);
const GRACE: Duration = Duration::from_secs(15);

/// A coordinator before the one under test, with two execute workers (2, 3) of one slot, and what it has dispatched to
/// each, for requests 1 and 2.
pub(super) fn earlier(works: [Work; 2]) -> [Job; 2] {
    let mut env = Env::of_token(EARLIER, Policy { dispatch_delay: Duration::ZERO, ..unstaged() });
    env.worker(2, WorkerKind::Execute, 1);
    let [first, second] = works;
    env.submit(1, 1, first);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(2, 1, second);
    let second = env.dispatched();
    assert_eq!((first.worker, second.worker), (worker(2), worker(3)));
    [first, second]
}

pub(super) fn two_candidates() -> [Work; 2] {
    [candidate(ExecuteKind::Backing, 1), candidate(ExecuteKind::Backing, 2)]
}

pub(super) fn held(job: &Job, stage: HeldStage) -> HeldAttempt {
    HeldAttempt { attempt: job.listed(), urgency: job.urgency, stage, work: (&job.dispatch).into() }
}

/// The registration of a worker that has these attempts.
pub(super) fn with_held(n: u64, kind: WorkerKind, held: Vec<HeldAttempt>) -> WorkerHello {
    WorkerHello { running: held.iter().map(|held| held.attempt).collect(), held, ..hello(n, kind) }
}

pub(super) fn register(env: &mut Env, n: u64, job: &Job, stage: HeldStage) {
    env.register(n, with_held(n, WorkerKind::Execute, vec![held(job, stage)]));
}

fn adopted(notices: &[Notice]) -> Vec<(u64, u32)> {
    let adopted = notices.iter().filter_map(|notice| match notice {
        Notice::JobAdopted { job, attempt, .. } => Some((job.0, *attempt)),
        _ => None,
    });
    adopted.collect()
}

#[test]
fn a_running_execution_is_adopted_by_the_same_request_and_not_run_again() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    assert_eq!(env.running_at(2), 1, "its slot is taken before anybody asks for it");
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.quiet();
    assert_eq!(adopted(&env.new_notices()), [(job.job.0, 1)]);
    // Others join it as any execution that runs.
    env.submit(7, 1, candidate(ExecuteKind::BackingSystem, 1));
    env.pass_with_heartbeats(&[2], 20);
    env.quiet();
    env.executed(&job, valid());
    let verdict = env.verdict();
    assert_eq!((verdict.worker, verdict.attempts, verdict.request), (Some(worker(2)), 1, request(1)));
    assert!(is_valid(&verdict.outcome));
    assert!(is_valid(&env.verdict_of(7)));
    assert_eq!((env.running_at(2), env.counts().execute_dispatched, env.counts().execute_adopted), (0, 0, 1));
    assert_eq!(env.status().executed, 1);
}

/// Clients and workers hear of the coordinator at the same time.
#[test]
fn it_does_not_matter_whether_the_request_or_the_worker_comes_first() {
    // No worker at all, so that the request has no engine.
    let [job, other] = earlier(two_candidates());
    let mut env = Env::of_token(TOKEN, unstaged());
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.quiet();
    register(&mut env, 2, &job, HeldStage::Running);
    env.quiet();
    assert_eq!(env.counts().execute_adopted, 1);
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
    // Another worker has registered before, and the request is queued already.
    env.worker(9, WorkerKind::Execute, 1);
    env.submit(2, 1, candidate(ExecuteKind::Backing, 2));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.quiet();
    register(&mut env, 3, &other, HeldStage::Running);
    env.pass(Duration::from_secs(1));
    env.quiet();
    assert_eq!((env.counts().execute_adopted, env.counts().execute_dispatched), (2, 0));
    env.executed(&other, valid());
    assert!(is_valid(&env.verdict_of(2)));
}

#[test]
fn a_coordinator_that_has_just_started_dispatches_nothing_for_a_moment() {
    let delay = Policy::default().dispatch_delay;
    let mut env = Env::of_token(TOKEN, unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.pass(delay - Duration::from_millis(1));
    env.quiet();
    env.pass(Duration::from_millis(1));
    let job = env.dispatched();
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

/// The worker has no acknowledgement until somebody has what it reports.
#[test]
fn a_report_that_comes_before_its_request_is_kept_and_not_acknowledged() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Ended);
    for _ in 0..2 {
        env.report_unanswered(&job, JobOutcome::Execute(valid()));
        env.quiet();
        assert_eq!(env.running_at(2), 0, "what has ended takes no slot");
    }
    env.heartbeat(2);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.acknowledgement_of(&job);
    assert!(is_valid(&env.verdict_of(1)));
    // It repeats the report as long as the acknowledgement has not arrived.
    env.executed(&job, valid());
    env.quiet();
    assert_eq!(env.running_at(2), 0);
}

#[test]
fn what_is_reported_by_a_worker_that_has_not_registered_is_not_acknowledged() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    env.report_unanswered(&job, JobOutcome::Execute(valid()));
    register(&mut env, 2, &job, HeldStage::Ended);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.quiet();
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn what_nobody_asks_for_is_cancelled_after_a_while_and_keeps_its_slot_until_then() {
    let [job, other] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    register(&mut env, 3, &other, HeldStage::Ended);
    env.report_unanswered(&other, JobOutcome::Execute(valid()));
    env.pass_with_heartbeats(&[2, 3], GRACE.as_secs() - 1);
    env.quiet();
    env.pass_with_heartbeats(&[2, 3], 1);
    env.cancel_of(&job);
    // The report of the other one is not wanted, and its worker is told so.
    env.acknowledgement_of(&other);
    assert_eq!((env.running_at(2), env.counts().not_adopted), (1, 2));
    env.delivered(&job, Command::Cancel, Delivery::Taken);
    assert_eq!(env.running_at(2), 0);
    // Whoever comes now is served anew.
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let again = env.dispatched();
    assert_ne!(again.job, job.job);
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn time_in_which_the_coordinator_hears_nothing_does_not_count() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    env.event(Event::Link { up: false });
    env.pass(GRACE * 3);
    env.event(Event::Link { up: true });
    env.pass_with_heartbeats(&[2], GRACE.as_secs() - 1);
    env.quiet();
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn of_two_workers_with_the_same_validation_one_is_adopted_and_the_other_cancelled() {
    // The earlier coordinator had given the first one up.
    let [first, second] = earlier([execute(ExecuteKind::Backing), candidate(ExecuteKind::Backing, 2)]);
    let mut env = Env::with(unstaged());
    let stage = HeldStage::Fetching;
    let twice = HeldAttempt { work: held(&second, stage).work, ..held(&first, stage) };
    env.register(2, with_held(2, WorkerKind::Execute, vec![twice]));
    register(&mut env, 3, &second, HeldStage::Running);
    env.submit(2, 1, candidate(ExecuteKind::Backing, 2));
    env.cancel_of(&first);
    env.delivered(&first, Command::Cancel, Delivery::Taken);
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(2)));
    assert_eq!((env.running_at(2), env.running_at(3)), (0, 0));
}

/// The same of a fresh execution: its worker's registration does not find it, but its next attempt does.
#[test]
fn a_fresh_execution_that_is_tried_again_ends_an_attempt_that_its_worker_describes_late() {
    let [job, _] = earlier([execute(ExecuteKind::Backing), candidate(ExecuteKind::Backing, 2)]);
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let own = env.dispatched();
    let late = Job { worker: worker(4), ..job };
    env.register(4, with_held(4, WorkerKind::Execute, vec![held(&late, HeldStage::Running)]));
    env.quiet();
    env.executed(&own, ExecuteOutcome::Internal(kernel_error()));
    env.cancel_of(&late);
    let again = env.dispatched();
    env.delivered(&late, Command::Cancel, Delivery::Taken);
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn what_runs_already_elsewhere_is_cancelled_when_its_worker_registers_late() {
    let [job, _] = earlier(two_candidates());
    let mut env = warm_fleet();
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    let again = env.dispatched();
    env.register(4, with_held(4, WorkerKind::Execute, vec![held(&job, HeldStage::Running)]));
    let late = Job { worker: worker(4), ..job };
    env.cancel_of(&late);
    env.delivered(&late, Command::Cancel, Delivery::Taken);
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

/// A fresh execution is its request's own: it is adopted by that request and by no other.
#[test]
fn a_fresh_execution_is_adopted_by_its_own_request_only() {
    let [job, _] = earlier([execute(ExecuteKind::Backing), candidate(ExecuteKind::Backing, 2)]);
    let mut env = Env::with(unstaged());
    register(&mut env, 2, &job, HeldStage::Running);
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(5, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let own = env.dispatched();
    assert_eq!(own.worker, worker(3));
    env.submit_as(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.counts().execute_adopted, 0, "another client has the same id");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.counts().execute_adopted, 1);
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let others = env.dispatched();
    assert_eq!(others.worker, worker(2));
    for (job, n) in [(&own, 5), (&others, 1)] {
        env.executed(job, valid());
        assert!(is_valid(&env.verdict_of(n)));
    }
}

/// A registration that is sent again, or comes late, tells nothing new.
#[test]
fn a_worker_that_registers_again_has_no_attempts_that_were_not_there() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    let registration = with_held(2, WorkerKind::Execute, vec![held(&job, HeldStage::Running)]);
    env.register(2, registration.clone());
    env.register(2, registration.clone());
    assert_eq!((env.running_at(2), env.counts().taken_up), (1, 1));
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.register(2, registration);
    assert_eq!((env.running_at(2), env.counts().taken_up), (0, 1), "it has ended");
    // What this coordinator dispatched itself has its slot already, and none once it has ended.
    env.submit(2, 1, candidate(ExecuteKind::Backing, 2));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let own = env.dispatched();
    let again = with_held(2, WorkerKind::Execute, vec![held(&own, HeldStage::Running)]);
    env.register(2, again.clone());
    assert_eq!((env.running_at(2), env.counts().taken_up), (1, 1));
    env.executed(&own, valid());
    assert!(is_valid(&env.verdict_of(2)));
    env.register(2, again);
    assert_eq!((env.running_at(2), env.counts().taken_up), (0, 1));
}

/// A worker may take a job of the earlier coordinator after it has registered with this one.
#[test]
fn a_worker_that_lists_an_attempt_without_a_description_is_asked_to_register_again() {
    let [job, _] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    let beat = || Heartbeat { running: vec![job.listed()], ..Heartbeat::default() };
    assert_eq!(env.heartbeat_with(2, beat()), WorkerReply::SayHello);
    assert_eq!(env.running_at(2), 0);
    register(&mut env, 2, &job, HeldStage::Running);
    assert_eq!((env.heartbeat_with(2, beat()), env.running_at(2)), (WorkerReply::Ack, 1));
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

/// Workers of earlier versions list their attempts and do not say what they are.
#[test]
fn attempts_that_cannot_be_adopted_are_cancelled_at_once() {
    let [job, other] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    env.register(2, WorkerHello { running: vec![job.listed()], ..hello(2, WorkerKind::Execute) });
    env.cancel_of(&job);
    assert_eq!(env.running_at(2), 0);
    for attempt in [0, u32::MAX] {
        let mut odd = Job { worker: worker(3), ..other.clone() };
        odd.dispatch.attempt = attempt;
        register(&mut env, 3, &odd, HeldStage::Running);
        env.cancel_of(&odd);
    }
    let mut unnamed = other;
    unnamed.dispatch.validation = None;
    register(&mut env, 3, &unnamed, HeldStage::Running);
    env.cancel_of(&unnamed);
    assert_eq!(env.running_at(3), 1, "its slot is free when the worker has answered");
    env.delivered(&unnamed, Command::Cancel, Delivery::Taken);
    assert_eq!(env.running_at(3), 0);
}

#[test]
fn a_staged_attempt_that_nobody_has_claimed_is_recalled_like_others() {
    let [job, other] = earlier(two_candidates());
    let mut env = Env::with(staged());
    let jobs = vec![held(&job, HeldStage::Running), held(&other, HeldStage::Staged)];
    env.register(2, with_held(2, WorkerKind::Execute, jobs));
    let other = Job { worker: worker(2), ..other };
    assert_eq!(env.running_at(2), 1);
    // Another worker is idle, and nothing is queued.
    env.worker(3, WorkerKind::Execute, 1);
    env.recall_of(&other);
    env.delivered(&other, Command::Recall, Delivery::Taken);
    env.submit(2, 1, candidate(ExecuteKind::Backing, 2));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let again = env.dispatched();
    assert_eq!(again.worker, worker(3));
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    for (job, n) in [(&again, 2), (&job, 1)] {
        env.executed(job, valid());
        assert!(is_valid(&env.verdict_of(n)));
    }
}

/// A worker that has more than it should gets nothing until it has room.
#[test]
fn held_attempts_take_slots_as_dispatched_ones_do() {
    let [job, other] = earlier(two_candidates());
    let mut env = Env::with(unstaged());
    let jobs = vec![held(&other, HeldStage::Fetching), held(&job, HeldStage::Running)];
    env.register(2, with_held(2, WorkerKind::Execute, jobs));
    env.submit(9, 1, candidate(ExecuteKind::Backing, 9));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.quiet();
    assert_eq!(env.running_at(2), 1, "what is being fetched takes no slot");
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.executed(&job, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let next = env.dispatched();
    env.executed(&next, valid());
    assert!(is_valid(&env.verdict_of(9)));
    env.goodbye(2);
}

#[test]
fn the_job_ids_of_two_coordinators_differ() {
    let [first, second] = earlier(two_candidates());
    let (mut env, own) = one_busy_worker(unstaged());
    assert!(second.job > first.job && own.job > second.job, "{first:?} {own:?}");
    assert!(own.job.0 - first.job.0 > 1 << 23, "far apart");
    env.executed(&own, valid());
    assert!(is_valid(&env.verdict_of(1)));
}
