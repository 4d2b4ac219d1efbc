//! What the simulation, the fuzzer and reviews have found, each as short as it gets.

use super::{env::Env, fixtures::*};
use crate::{Command, Delivery, Event, Listed, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    job::{ExecuteOutcome, PrepareOutcome},
    params::{ExecutorParam, ExecutorParams},
    priority::ExecuteKind,
    verdict::{AmbiguousReason, InternalError, Outcome},
    wire::{Heartbeat, Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

/// An artifact could not be made again while another execution was queued for it, and that execution was never
/// dispatched.
#[test]
fn queued_executions_ask_again_for_an_artifact_that_was_given_up() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.submit(2, 1, execute(ExecuteKind::Dispute));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    // A draining worker keeps both in the queue.
    env.heartbeat_draining(2);
    env.executed(&run, ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into())));
    env.dropped(1);
    for _ in 0..3 {
        let prepare = env.dispatched();
        env.preparation_ended(&prepare, PrepareOutcome::Internal(kernel_error()));
    }
    assert_eq!(env.verdict_of(1), Outcome::Internal(kernel_error()));
    env.quiet();
    env.heartbeat(2);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    for n in [2, 3] {
        let run = env.dispatched();
        env.executed(&run, valid());
        assert!(is_valid(&env.verdict_of(n)));
    }
}

/// Two attempts of one job were at one worker, because the first one's dispatch was not answered. Now it is the only
/// one until its worker's heartbeat, or the worker's silence, shows that it is lost.
#[test]
fn an_attempt_whose_dispatch_was_not_answered_is_the_only_one_of_its_job() {
    let (mut env, running) = one_busy_worker(Policy { ahead: 2, ..unstaged() });
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let staged = env.dispatch_without_answer();
    env.delivered(&staged, Command::Dispatch, Delivery::Unknown("lost".into()));
    env.pass_with_heartbeats(&[2], 10);
    env.quiet();
    assert_eq!(env.attempts_at(2), [running.listed(), staged.listed()]);
    let listed = vec![running.listed()];
    env.heartbeat_with(2, Heartbeat { running: listed, ..Heartbeat::default() });
    let again = env.dispatched();
    assert_eq!((again.worker, again.job, again.attempt), (worker(2), staged.job, 2));
}

/// A new coordinator knew the artifacts from the store, but no worker yet, and pruned what the waiting requests were
/// going to need.
#[test]
fn nothing_is_pruned_while_requests_wait_for_an_engine() {
    let prune_interval = Duration::from_secs(60);
    let mut env = Env::with(Policy { artifact_ttl: Duration::from_secs(24 * 3600), prune_interval, ..unstaged() });
    let idle = Duration::from_secs(100 * 24 * 3600);
    env.event(Event::Listed(vec![Listed { artifact: (*artifact(1)).clone(), bytes: 1000, idle }]));
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.pass(prune_interval);
    assert_eq!(env.needs_saved().len(), 1);
    env.quiet();
    env.worker(1, WorkerKind::Execute, 1);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    assert_eq!(env.dispatched().request, Some(request(1)));
}

/// Staged jobs of a lost worker were taken for unbegun each time. A job that kills its worker when it begins was
/// repeated without a bound, and others were blamed for it.
#[test]
fn a_job_that_is_staged_at_lost_workers_is_not_repeated_without_a_bound() {
    let mut env = Env::with(Policy { max_deaths: 2, ..staged() });
    for n in 1..=2 {
        env.submit(n, n as u8, execute(ExecuteKind::Backing));
    }
    env.worker(1, WorkerKind::Execute, 1);
    for code in [1, 2] {
        env.looked_up(code, Some(StoredArtifact::Prepared(info(1))));
    }
    for n in 1..=2 {
        let (running, staged) = (env.dispatched(), env.dispatched());
        assert_eq!([running.worker, staged.worker], [worker(n); 2]);
        env.pass(Duration::from_secs(6));
        if n == 1 {
            env.quiet();
            env.worker(2, WorkerKind::Execute, 1);
        }
    }
    let died = Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath);
    assert_eq!(env.verdict_of(1), died);
    // The other one runs now, and loses the workers that run it.
    for n in 3..=4 {
        env.quiet();
        env.worker(n, WorkerKind::Execute, 1);
        assert_eq!(env.dispatched().request, Some(request(2)));
        env.pass(Duration::from_secs(6));
    }
    assert_eq!(env.verdict_of(2), died);
}

/// Simulation seed 35: a preparation was dispatched for a request whose deadline had just passed. Nobody holds its code
/// any more.
#[test]
fn a_preparation_for_a_request_that_has_expired_is_dropped() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let first = env.dispatched();
    env.submit(2, 2, execute(ExecuteKind::Backing));
    env.looked_up(2, None);
    env.submit(3, 3, Work::Precheck);
    env.looked_up(3, None);
    env.pass_with_heartbeats(&[1, 2, 3], 600);
    for n in 1..=3 {
        assert_eq!(env.verdict_of(n), Outcome::Expired);
    }
    env.quiet();
    env.prepared(&first, 1);
    assert_eq!(env.gauges().prepare_queue, [0; 3]);
}

/// Sizes that no artifact can have were added up, with an overflow.
#[test]
fn the_store_cannot_list_impossible_sizes() {
    let mut env = small_fleet();
    let listed = |code| Listed { artifact: (*artifact(code)).clone(), bytes: u64::MAX, idle: Duration::ZERO };
    env.event(Event::Listed((0..100).map(listed).collect()));
    assert_eq!(env.gauges().artifact_bytes, 100 << 40, "at most 1 TiB each");
}

/// A worker reported a preparation for an execution, and the other way round: the job had no slot any more, and waited
/// for a report without an end.
#[test]
fn a_report_of_the_other_kind_is_an_infrastructure_failure() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.executed(&prepare, valid());
    let prepare = env.dispatched();
    assert_eq!(prepare.attempt, 2);
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    env.prepared(&run, 1);
    let run = env.dispatched();
    assert_eq!(run.attempt, 2);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

/// The other limits that a heads-up asked for were never released. The invariants count the specs in use.
#[test]
fn a_heads_up_with_other_limits_leaves_nothing_behind() {
    let mut env = small_fleet();
    env.submit(1, 1, HEADS_UP);
    env.expect_look_up(1);
    for n in 2..=4 {
        let executor_params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(n as u32)]);
        let other_limits = Submission { executor_params, ..submission(n, 1, HEADS_UP) };
        assert_eq!(env.send(other_limits), SubmitReply::Accepted);
    }
    env.found(1, Some(StoredArtifact::Prepared(info(1))));
    for n in 1..=4 {
        assert_eq!(env.verdict_of(n), Outcome::HeadsUpPrepared);
    }
    assert_eq!((env.gauges().requests, env.gauges().artifacts), (0, 1));
}
