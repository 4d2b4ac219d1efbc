//! Which worker gets an execution.

use super::{env::Env, fixtures::*};
use crate::{Event, Listed};
use pvf_proto::{
    artifact::StoredArtifact,
    identity::WorkerId,
    priority::ExecuteKind,
    wire::{Heartbeat, Holding, WorkerHello, WorkerKind, WorkerReply},
};
use std::time::Duration;

/// Executes request `n`. Returns the worker.
fn run(env: &mut Env, n: u64) -> WorkerId {
    env.submit(n, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(n)));
    run.worker
}

#[test]
fn a_worker_that_has_the_artifact_warm_is_preferred_among_free_ones() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (first, second) = (env.dispatched(), env.dispatched());
    env.executed(&second, valid());
    assert!(is_valid(&env.verdict_of(2)));
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let warm = run(&mut env, 3);
    assert_eq!(run(&mut env, 4), warm);
}

#[test]
fn a_free_slot_comes_before_a_busy_worker_that_has_the_artifact() {
    let mut env = warm_fleet();
    let warm = run(&mut env, 1);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().worker, warm);
    env.submit(3, 1, execute(ExecuteKind::Backing));
    assert_ne!(env.dispatched().worker, warm);
}

#[test]
fn a_worker_states_what_it_has_when_it_registers_and_in_heartbeats() {
    let mut env = Env::with(unstaged());
    let id = || (*artifact(1)).clone();
    env.event(Event::Listed(vec![Listed { artifact: id(), bytes: 1000, idle: Duration::ZERO }]));
    (1..=6).for_each(|n| env.worker(n, WorkerKind::Execute, 1));
    env.register(7, WorkerHello { holds: vec![Holding::OnDisk(id())], ..hello(7, WorkerKind::Execute) });
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(first.worker, worker(7));
    let state = |env: &mut Env, n, holding| {
        let heartbeat = Heartbeat { holdings: vec![holding], ..Heartbeat::default() };
        assert_eq!(env.heartbeat_with(n, heartbeat), WorkerReply::Ack);
    };
    state(&mut env, 7, Holding::Gone(id()));
    state(&mut env, 4, Holding::OnDisk(id()));
    assert_eq!(run(&mut env, 2), worker(4));
    state(&mut env, 4, Holding::Gone(id()));
    state(&mut env, 5, Holding::OnDisk(id()));
    state(&mut env, 6, Holding::Warm(id()));
    assert_eq!(run(&mut env, 3), worker(6), "warm before on disk");
}

#[test]
fn an_artifact_that_no_worker_has_goes_to_an_owner_that_seldom_changes() {
    let owners = |workers: &[u64]| {
        let mut env = Env::with(unstaged());
        for n in workers {
            env.worker(*n, WorkerKind::Execute, 1);
        }
        let mut owners = Vec::new();
        for code in 1..=60 {
            env.submit(u64::from(code), code, execute(ExecuteKind::Backing));
            env.looked_up(code, Some(StoredArtifact::Prepared(info(1))));
            let run = env.dispatched();
            env.executed(&run, valid());
            assert!(is_valid(&env.verdict_of(code.into())));
            owners.push(run.worker);
        }
        owners
    };
    let (before, after) = (owners(&[1, 2, 3, 4, 5, 6]), owners(&[1, 2, 3, 4, 5]));
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after && **before != worker(6)).count();
    assert_eq!(moved, 0, "only the artifacts of the worker that left move");
    for n in 1..=6 {
        let share = before.iter().filter(|id| **id == worker(n)).count();
        assert!((2..=25).contains(&share), "worker {n} owns {share} of 60 artifacts");
    }
}

#[test]
fn a_draining_worker_gets_no_job_and_keeps_those_that_it_has() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.heartbeat_draining(2);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.quiet();
    assert!(env.status().workers[0].draining);
    env.heartbeat(2);
    assert_eq!(env.dispatched().request, Some(request(2)));
    assert!(!env.status().workers[0].draining);
}
