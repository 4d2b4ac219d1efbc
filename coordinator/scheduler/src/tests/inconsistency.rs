//! Contradictions between the scheduler's tables: they are counted and noticed, and the scheduler goes on. The tests
//! damage a table on purpose; events alone must never lead there.

use super::{env::Env, fixtures::*};
use crate::{Notice, tables::ArtifactEvent};
use pvf_proto::{
    artifact::StoredArtifact,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Work, WorkerKind},
};
use std::time::Duration;

/// The contradictions among the new notices.
fn contradictions(env: &mut Env) -> Vec<String> {
    let what = |notice| match notice {
        Notice::Inconsistent { what } => Some(what),
        _ => None,
    };
    env.new_notices().into_iter().filter_map(what).collect()
}

#[test]
fn an_illegal_transition_is_counted_and_noticed_and_others_are_served() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    assert_eq!(env.status().inconsistencies, 0);
    env.damage(|core| {
        let key = core.artifacts.iter().map(|(key, _)| key).next().unwrap();
        core.artifacts.get_mut(key).unwrap().transition(ArtifactEvent::Forgotten).unwrap();
    });
    env.prepared(&prepare, 1);
    env.quiet();
    let what = contradictions(&mut env);
    assert_eq!(what.len(), 1, "{what:?}");
    assert!(what[0].starts_with("artifact in state Listed cannot take Ready("), "{what:?}");
    assert_eq!((env.counts().inconsistencies, env.status().inconsistencies), (1, 1));
    env.submit(2, 1, Work::Precheck);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    assert_eq!([env.verdict_of(1), env.verdict_of(2)], [Outcome::PrecheckOk, Outcome::PrecheckOk]);
    assert_eq!(env.counts().inconsistencies, 1);
}

#[test]
fn a_queued_execution_that_is_not_known_is_noticed_once_and_leaves_the_queue() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.damage(|core| {
        let queued = core.executions.iter().map(|(job, _)| job).filter(|job| *job != run.job);
        let first = queued.min().unwrap();
        assert!(core.executions.remove(first).is_some());
    });
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().request, Some(request(3)));
    assert_eq!(contradictions(&mut env).len(), 1);
    env.submit(4, 1, execute(ExecuteKind::Backing));
    assert_eq!((env.counts().inconsistencies, env.gauges().execute_queue), (1, [0, 0, 0, 1]));
}

#[test]
fn an_execution_to_be_repeated_that_is_not_known_is_noticed_once_and_leaves_the_queue() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.goodbye(2);
    assert_eq!(env.gauges().execute_queue, [0, 0, 0, 1]);
    env.damage(|core| assert!(core.executions.remove(run.job).is_some()));
    env.worker(3, WorkerKind::Execute, 1);
    env.quiet();
    env.heartbeat(3);
    assert_eq!(contradictions(&mut env).len(), 1);
    assert_eq!(env.gauges().execute_queue, [0; 4]);
}

#[test]
fn a_queued_preparation_that_is_not_known_is_noticed_once_and_leaves_the_queue() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    for code in [1, 2] {
        env.submit(code.into(), code, execute(ExecuteKind::Backing));
        env.looked_up(code, None);
    }
    env.damage(|core| {
        let first = core.preparations.iter().map(|(job, _)| *job).min().unwrap();
        core.preparations.remove(&first);
    });
    env.worker(1, WorkerKind::Prepare, 1);
    assert_eq!(env.dispatched().code(), 2);
    assert_eq!(contradictions(&mut env).len(), 1);
    env.heartbeat(1);
    assert_eq!((env.counts().inconsistencies, env.gauges().prepare_queue), (1, [0; 3]));
}

#[test]
fn an_execution_that_is_not_known_leaves_the_queue_of_an_engine_that_has_lost_its_workers() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.damage(|core| {
        let queued = core.executions.iter().map(|(job, _)| job).find(|job| *job != run.job).unwrap();
        assert!(core.executions.remove(queued).is_some());
    });
    env.worker_of_engine(3, WorkerKind::Execute, "other");
    env.goodbye(2);
    assert_eq!(env.gauges().execute_queue, [0; 4]);
    assert!(!contradictions(&mut env).is_empty());
    env.take_all();
}

#[test]
fn a_preparation_that_is_not_known_leaves_the_queue_of_an_engine_that_has_lost_its_workers() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    env.damage(|core| {
        let first = core.preparations.iter().map(|(job, _)| *job).next().unwrap();
        core.preparations.remove(&first);
    });
    env.worker_of_engine(3, WorkerKind::Execute, "other");
    env.worker_of_engine(4, WorkerKind::Prepare, "other");
    env.goodbye(2);
    assert_eq!(env.gauges().prepare_queue, [0; 3]);
    assert!(!contradictions(&mut env).is_empty());
    env.take_all();
}

#[test]
fn a_timer_without_its_owner_is_noticed() {
    let (mut env, _) = one_busy_worker(unstaged());
    env.damage(|core| assert!(core.workers.remove(&worker(2)).is_some()));
    env.pass(Duration::from_secs(6));
    assert_eq!(contradictions(&mut env).len(), 1);
}
