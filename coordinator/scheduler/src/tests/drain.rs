//! Workers that an operator asks to drain: they get nothing new, give back what they have not begun, and are told until
//! they are gone.

use super::{env::Env, fixtures::*};
use crate::{Command, Delivery, Notice, Policy};
use pvf_proto::{
    identity::UserName,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{DrainState, Heartbeat, Work, WorkerKind, WorkerReply},
};
use std::time::Duration;

fn beat(env: &mut Env, n: u64, draining: bool) -> WorkerReply {
    let running = env.attempts_at(n);
    env.heartbeat_with(n, Heartbeat { running, draining, ..Heartbeat::default() })
}

fn is_told(notice: &Notice) -> bool {
    matches!(notice, Notice::WorkerToldToDrain { .. })
}

#[test]
fn a_worker_is_told_to_drain_until_it_has_left_and_gets_nothing_new() {
    let (mut env, run) = one_busy_worker(staged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let staged = env.dispatched();
    assert_eq!(env.drain(2), DrainState::Told { jobs: 2 });
    env.recall_of(&staged);
    env.delivered(&staged, Command::Recall, Delivery::Taken);
    let told: Vec<_> = env.new_notices().into_iter().filter(is_told).collect();
    let operator = UserName::parse("ops").unwrap();
    assert_eq!(told, [Notice::WorkerToldToDrain { worker: worker(2), host: "host2".into(), operator, jobs: 2 }]);
    assert!(env.status().workers[0].draining);
    // A worker whose machine cannot run jobs says that it drains, and goes on: it is told all the same.
    for draining in [false, false, true, true, false] {
        assert_eq!(beat(&mut env, 2, draining), WorkerReply::Drain);
        let jobs = 1;
        let state = if draining { DrainState::Draining { jobs } } else { DrainState::Told { jobs } };
        assert_eq!(env.drain(2), state);
    }
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.quiet();
    // What waits goes to the next one.
    env.worker(3, WorkerKind::Execute, 1);
    let again = env.dispatched();
    assert_eq!((again.worker, again.request), (worker(3), Some(request(2))));
    assert_eq!(beat(&mut env, 3, false), WorkerReply::Ack);
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(2)));
    env.goodbye(2);
    assert_eq!((env.drain(2), env.drain(3)), (DrainState::Left, DrainState::Told { jobs: 0 }));
    assert!(env.new_notices().iter().filter(|notice| is_told(notice)).count() == 1, "of the other one");
}

#[test]
fn what_runs_at_a_worker_that_leaves_before_its_end_is_done_elsewhere() {
    let (mut env, _) = one_busy_worker(unstaged());
    env.heartbeat(2);
    assert_eq!(env.drain(2), DrainState::Told { jobs: 1 });
    env.worker(3, WorkerKind::Execute, 1);
    // Its drain time was over.
    env.goodbye(2);
    let again = env.dispatched();
    env.executed(&again, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome) && verdict.worker == Some(worker(3)), "{verdict:?}");
}

#[test]
fn a_worker_that_is_lost_is_told_again_when_it_is_back() {
    let (mut env, _) = one_busy_worker(unstaged());
    env.heartbeat(2);
    env.drain(2);
    env.pass(Duration::from_secs(7));
    assert_eq!(env.drain(2), DrainState::Lost);
    assert_eq!(env.drain(4), DrainState::Unknown);
    env.worker(2, WorkerKind::Execute, 1);
    env.quiet();
    assert_eq!((env.drain(2), beat(&mut env, 2, false)), (DrainState::Told { jobs: 0 }, WorkerReply::Drain));
    env.worker(3, WorkerKind::Execute, 1);
    let again = env.dispatched();
    assert_eq!(again.worker, worker(3));
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_worker_that_registers_again_stays_told() {
    let mut env = warm_fleet();
    env.drain(2);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().worker, worker(3));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.quiet();
    assert_eq!(beat(&mut env, 2, false), WorkerReply::Drain);
}

#[test]
fn a_preparation_that_is_being_fetched_goes_to_another_worker() {
    let mut env = Env::with(Policy { ahead: 0, ..staged() });
    // Below critical half of the slots are used.
    env.worker(1, WorkerKind::Prepare, 4);
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let fetching = env.dispatched();
    env.submit(2, 2, Work::Precheck);
    env.looked_up(2, None);
    let running = env.dispatched();
    env.worker(3, WorkerKind::Prepare, 4);
    env.heartbeat_fetching(1, &[&fetching]);
    env.drain(1);
    env.recall_of(&fetching);
    // The answer is lost: it is asked for again.
    env.delivered(&fetching, Command::Recall, Delivery::Unknown("timeout".into()));
    env.heartbeat_fetching(1, &[&fetching]);
    env.recall_of(&fetching);
    env.delivered(&fetching, Command::Recall, Delivery::Taken);
    let again = env.dispatched();
    assert_eq!((again.worker, again.code(), again.attempt), (worker(3), 1, 2));
    env.prepared(&again, 1);
    assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
    env.heartbeat_draining(1);
    env.prepared(&running, 2);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);
    env.goodbye(1);
    assert_eq!(env.drain(1), DrainState::Left);
}

/// By a signal, without an operator.
#[test]
fn what_is_being_fetched_at_a_draining_worker_is_recalled_with_its_heartbeat() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let fetching = env.dispatched();
    let (running, now) = (env.attempts_at(1), vec![fetching.listed()]);
    env.heartbeat_with(1, Heartbeat { running, draining: true, fetching: now, ..Heartbeat::default() });
    env.recall_of(&fetching);
    env.delivered(&fetching, Command::Recall, Delivery::Taken);
    env.quiet();
    env.worker(3, WorkerKind::Prepare, 1);
    let again = env.dispatched();
    assert_eq!((again.worker, again.attempt), (worker(3), 2));
    env.prepared(&again, 1);
    assert_eq!(env.verdict_of(1), Outcome::PrecheckOk);
}
