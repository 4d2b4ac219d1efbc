//! Fleets with several engines: each has artifacts of its own, and work moves when an engine loses its workers.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, Effect, Event, Listed, Notice};
use pvf_proto::{
    artifact::StoredArtifact,
    job::{JobSpec, PrepareOutcome},
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Work, WorkerHello, WorkerKind},
};
use std::time::Duration;

/// A prepare worker (1) and an execute worker (2) of engine `a`.
fn fleet_of_a() -> Env {
    let mut env = Env::with(unstaged());
    env.worker_of_engine(1, WorkerKind::Prepare, "a");
    env.worker_of_engine(2, WorkerKind::Execute, "a");
    env
}

/// A prepare worker (3) and an execute worker (4) of engine `b` register.
fn add_b(env: &mut Env) {
    env.worker_of_engine(3, WorkerKind::Prepare, "b");
    env.worker_of_engine(4, WorkerKind::Execute, "b");
}

fn engine_of(job: &Job) -> String {
    let artifact = match &job.spec {
        JobSpec::Prepare(job) => &job.artifact,
        JobSpec::Execute(job) => &job.artifact,
    };
    artifact.engine.as_str().to_owned()
}

#[test]
fn a_running_execution_of_an_engine_that_leaves_is_repeated_with_another() {
    let mut env = fleet_of_a();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    assert_eq!(env.dispatched().worker, worker(2));
    env.goodbye(1);
    add_b(&mut env);
    env.quiet();
    env.goodbye(2);
    env.looked_up_for(artifact_for(1, "b"), None);
    let prepare = env.dispatched();
    assert_eq!(prepare.worker, worker(3));
    env.prepared(&prepare, 2);
    let run = env.dispatched();
    assert_eq!(run.worker, worker(4));
    env.executed(&run, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert_eq!((verdict.attempts, verdict.artifact.unwrap().id), (2, (*artifact_for(1, "b")).clone()));
}

#[test]
fn queued_executions_of_an_engine_without_execute_workers_move_to_another() {
    let mut env = fleet_of_a();
    for n in 1..=3 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    env.looked_up_for(artifact_for(1, "a"), Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    add_b(&mut env);
    env.quiet();
    assert_eq!(env.gauges().execute_queue, [0, 0, 0, 2]);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let run = env.dispatched();
    env.goodbye(2);
    env.looked_up_for(artifact_for(1, "b"), Some(StoredArtifact::Prepared(info(2))));
    let mut moved = Vec::new();
    for _ in 0..2 {
        let run = env.dispatched();
        assert_eq!((run.worker, engine_of(&run)), (worker(4), "b".into()));
        moved.push((run.request, run.attempt));
        env.executed(&run, valid());
        assert!(is_valid(&env.verdict().outcome));
    }
    assert_eq!(moved, [(Some(request(2)), 2), (Some(request(3)), 1)]);
    assert_eq!(run.request, Some(request(2)));
}

#[test]
fn queued_preparations_of_an_engine_without_prepare_workers_move_to_another() {
    let mut env = fleet_of_a();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), None);
    let first = env.dispatched();
    env.submit(2, 2, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(2, "a"), None);
    env.submit(3, 3, Work::Precheck);
    env.looked_up_for(artifact_for(3, "a"), None);
    add_b(&mut env);
    env.quiet();
    env.goodbye(1);
    for code in [1, 2, 3] {
        env.looked_up_for(artifact_for(code, "b"), None);
    }
    let mut prepare = env.dispatched();
    for code in 1..=3 {
        assert_eq!((prepare.worker, prepare.code(), engine_of(&prepare)), (worker(3), code, "b".into()));
        env.prepared(&prepare, code);
        match code {
            3 => assert_eq!(env.verdict_of(3), Outcome::PrecheckOk),
            _ => {
                prepare = env.dispatched();
                let run = env.dispatched();
                assert_eq!((run.worker, engine_of(&run)), (worker(4), "b".into()));
                env.executed(&run, valid());
                assert!(is_valid(&env.verdict_of(code.into())));
            }
        }
    }
    assert_eq!((first.worker, env.gauges().prepare_queue), (worker(1), [0; 3]));
}

#[test]
fn an_execution_whose_engine_lost_its_execute_workers_during_the_preparation_moves_to_another() {
    let mut env = fleet_of_a();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), None);
    let prepare = env.dispatched();
    add_b(&mut env);
    env.goodbye(2);
    env.quiet();
    env.prepared(&prepare, 1);
    env.looked_up_for(artifact_for(1, "b"), Some(StoredArtifact::Prepared(info(2))));
    assert_eq!(env.dispatched().worker, worker(4));
}

#[test]
fn a_preparation_whose_engine_lost_its_prepare_workers_during_the_look_up_moves_to_another() {
    let mut env = fleet_of_a();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.expect(Effect::LookUp { artifact: artifact_for(1, "a") });
    add_b(&mut env);
    env.goodbye(1);
    env.quiet();
    env.event(Event::LookedUp { artifact: artifact_for(1, "a"), found: Ok(None) });
    env.looked_up_for(artifact_for(1, "b"), None);
    assert_eq!(env.dispatched().worker, worker(3));
}

#[test]
fn a_preparation_whose_engine_lost_its_prepare_workers_while_it_waited_moves_to_another() {
    let mut env = fleet_of_a();
    env.submit(1, 1, Work::Precheck);
    env.looked_up_for(artifact_for(1, "a"), None);
    for _ in 0..3 {
        let prepare = env.dispatch_without_answer();
        env.delivered(&prepare, Command::Dispatch, Delivery::NotSent("store: down".into()));
    }
    add_b(&mut env);
    env.goodbye(1);
    env.quiet();
    env.pass(Duration::from_millis(100));
    env.looked_up_for(artifact_for(1, "b"), None);
    assert_eq!(env.dispatched().worker, worker(3));
}

#[test]
fn a_preparation_waits_for_its_engine_while_no_other_has_workers_of_both_kinds() {
    let mut env = fleet_of_a();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.expect(Effect::LookUp { artifact: artifact_for(1, "a") });
    env.worker_of_engine(3, WorkerKind::Prepare, "b");
    env.worker_of_engine(4, WorkerKind::Execute, "c");
    env.goodbye(1);
    env.event(Event::LookedUp { artifact: artifact_for(1, "a"), found: Ok(None) });
    env.quiet();
    env.worker_of_engine(11, WorkerKind::Prepare, "a");
    assert_eq!(env.dispatched().worker, worker(11));
}

#[test]
fn work_waits_when_no_other_engine_can_do_it() {
    let mut env = fleet_of_a();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), Some(StoredArtifact::Prepared(info(1))));
    env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 2, Work::Precheck);
    env.looked_up_for(artifact_for(2, "a"), None);
    env.dispatched();
    env.goodbye(1);
    env.goodbye(2);
    env.quiet();
    env.worker_of_engine(12, WorkerKind::Execute, "a");
    assert_eq!(env.dispatched().request, Some(request(1)));
    env.worker_of_engine(11, WorkerKind::Prepare, "a");
    assert_eq!(env.dispatched().request, Some(request(3)));
}

#[test]
fn an_engine_that_has_the_artifact_is_preferred() {
    let mut env = fleet_of_a();
    add_b(&mut env);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    for n in 2..=3 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    env.quiet();
    assert_eq!(engine_of(&run), "a");
    assert_eq!(env.gauges().execute_queue, [0, 0, 0, 2], "waiting costs less than a preparation");
}

#[test]
fn a_long_queue_is_worth_a_preparation_for_another_engine() {
    let mut env = fleet_of_a();
    add_b(&mut env);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), Some(StoredArtifact::Prepared(info(1))));
    env.dispatched();
    let mut n = 1;
    while !env.has_effects() {
        n += 1;
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    env.looked_up_for(artifact_for(1, "b"), Some(StoredArtifact::Prepared(info(2))));
    assert_eq!((env.dispatched().worker, n), (worker(4), 18), "16 for each slot");
}

#[test]
fn an_engine_that_only_the_store_knows_gets_no_work() {
    let mut env = Env::with(unstaged());
    let listed = Listed { artifact: (*artifact_for(1, "old")).clone(), bytes: 1000, idle: Duration::ZERO };
    env.event(Event::Listed(vec![listed]));
    env.worker_of_engine(1, WorkerKind::Prepare, "a");
    env.worker_of_engine(2, WorkerKind::Execute, "a");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "a"), None);
    assert_eq!(engine_of(&env.dispatched()), "a");
}

/// A prepare worker (1) of engine `v3` that compiles for `v2` and `v1` too, and execute workers (2) of `v2` and (3) of
/// `v1`.
fn fleet_of_several_baselines() -> Env {
    let mut env = Env::with(unstaged());
    let also_compiles_for = vec![engine("v2"), engine("v1")];
    env.register(1, WorkerHello { engine: engine("v3"), also_compiles_for, ..hello(1, WorkerKind::Prepare) });
    env.worker_of_engine(2, WorkerKind::Execute, "v2");
    env
}

#[test]
fn a_prepare_worker_compiles_for_the_engines_of_the_execute_workers() {
    let mut env = fleet_of_several_baselines();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "v2"), None);
    let prepare = env.dispatched();
    assert_eq!((prepare.worker, engine_of(&prepare)), (worker(1), "v2".into()));
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    assert_eq!((run.worker, engine_of(&run)), (worker(2), "v2".into()));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.status().not_compiled_for, []);
}

#[test]
fn a_precheck_is_prepared_for_an_engine_that_executes() {
    let mut env = fleet_of_several_baselines();
    env.submit(1, 1, Work::Precheck);
    env.looked_up_for(artifact_for(1, "v2"), None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
    // Without execute workers it is prepared for the engine of the prepare worker.
    env.goodbye(2);
    env.submit(2, 2, Work::Precheck);
    env.looked_up_for(artifact_for(2, "v3"), None);
    assert_eq!(engine_of(&env.dispatched()), "v3");
}

#[test]
fn an_engine_that_nobody_compiles_for_is_named_and_its_requests_end() {
    let mut env = Env::with(unstaged());
    env.worker_of_engine(1, WorkerKind::Prepare, "v2");
    env.worker_of_engine(2, WorkerKind::Execute, "v3");
    env.new_notices();
    assert_eq!(env.status().not_compiled_for, [engine("v3")]);
    for n in 1..=2 {
        env.submit(n, n as u8, execute(ExecuteKind::Backing));
        env.looked_up_for(artifact_for(n as u8, "v3"), None);
    }
    assert_eq!(env.new_notices(), [Notice::NoPrepareWorker { engine: engine("v3") }], "once for all");
    env.pass_with_heartbeats(&[1, 2], 59);
    env.quiet();
    env.pass_with_heartbeats(&[1, 2], 1);
    for n in 1..=2 {
        let outcome = env.verdict_of(n);
        let Outcome::Internal(error) = &outcome else { panic!("{outcome:?}") };
        assert!(error.to_string().contains("no prepare worker compiles for engine v3"), "{error}");
    }
    // What is in the store already is executed.
    env.submit(3, 3, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(3, "v3"), Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(3)));
}

#[test]
fn a_prepare_worker_that_comes_in_time_prepares_what_waits() {
    let mut env = Env::with(unstaged());
    env.worker_of_engine(2, WorkerKind::Execute, "v3");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "v3"), None);
    env.pass_with_heartbeats(&[2], 50);
    env.worker_of_engine(1, WorkerKind::Prepare, "v3");
    let prepare = env.dispatched();
    env.pass_with_heartbeats(&[1, 2], 20);
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn prepare_workers_that_leave_are_waited_for_and_then_missed() {
    let mut env = fleet_of_several_baselines();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "v2"), None);
    env.dispatched();
    env.goodbye(1);
    env.pass_with_heartbeats(&[2], 59);
    env.quiet();
    env.pass_with_heartbeats(&[2], 1);
    assert!(matches!(env.verdict_of(1), Outcome::Internal(_)));
}

#[test]
fn each_wait_for_a_prepare_worker_has_its_whole_time() {
    let mut env = Env::with(unstaged());
    env.worker_of_engine(2, WorkerKind::Execute, "v3");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "v3"), None);
    env.worker_of_engine(1, WorkerKind::Prepare, "v3");
    env.dispatched();
    env.pass_with_heartbeats(&[1, 2], 50);
    env.goodbye(1);
    env.pass_with_heartbeats(&[2], 59);
    env.quiet();
    env.pass_with_heartbeats(&[2], 1);
    assert!(matches!(env.verdict_of(1), Outcome::Internal(_)));
}

#[test]
fn a_preparation_that_failed_goes_to_a_worker_of_another_engine_that_compiles_for_it() {
    let mut env = Env::with(unstaged());
    env.worker_of_engine(1, WorkerKind::Prepare, "v2");
    env.register(
        3,
        WorkerHello { engine: engine("v3"), also_compiles_for: vec![engine("v2")], ..hello(3, WorkerKind::Prepare) },
    );
    env.worker_of_engine(2, WorkerKind::Execute, "v2");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up_for(artifact_for(1, "v2"), None);
    let first = env.dispatched();
    assert_eq!(first.worker, worker(1));
    env.preparation_ended(&first, PrepareOutcome::Internal(kernel_error()));
    let second = env.dispatched();
    assert_eq!(second.worker, worker(3));
    env.prepared(&second, 1);
    assert_eq!(env.dispatched().worker, worker(2));
}

#[test]
fn the_most_urgent_preparation_of_all_engines_is_next_at_a_worker_that_they_share() {
    let mut env = Env::with(unstaged());
    let also_compiles_for = vec![engine("v2")];
    env.register(1, WorkerHello { engine: engine("v3"), also_compiles_for, ..hello(1, WorkerKind::Prepare) });
    env.worker_of_engine(3, WorkerKind::Execute, "v3");
    env.submit(1, 1, HEADS_UP);
    env.looked_up_for(artifact_for(1, "v3"), None);
    let first = env.dispatched();
    env.submit(2, 2, HEADS_UP);
    env.looked_up_for(artifact_for(2, "v3"), None);
    env.goodbye(3);
    env.worker_of_engine(2, WorkerKind::Execute, "v2");
    env.submit(3, 3, execute(ExecuteKind::Dispute));
    env.looked_up_for(artifact_for(3, "v2"), None);
    env.prepared(&first, 1);
    assert_eq!(env.verdict_of(1), Outcome::HeadsUpPrepared);
    let next = env.dispatched();
    assert_eq!((next.code(), engine_of(&next)), (3, "v2".into()), "the dispute before the heads-up");
}
