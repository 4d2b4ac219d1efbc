//! Long work is done in pieces, so that no event waits for all of it.

use super::{env::Env, fixtures::*};
use crate::{Effect, Event, Listed, PIECES, Policy, policies::DISPATCHES};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::RelayHash,
    job::{JobOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::PrepareError,
    wire::{ActiveLeavesUpdate, Submission, SubmitReply, ToWorker, Work, WorkerHello, WorkerKind},
};
use std::time::Duration;

/// Takes the effects of each go until the scheduler rests. All must be as expected, and together so many; no go has
/// more than `most`.
fn assert_pieces(env: &mut Env, mut more: bool, expected: fn(&Effect) -> bool, (total, most): (usize, usize)) {
    let mut rounds = Vec::new();
    loop {
        let effects = env.take_all();
        assert!(effects.iter().all(expected), "{effects:?}");
        rounds.push(effects.len());
        if !more {
            break;
        }
        more = env.go_on();
    }
    assert_eq!(rounds.iter().sum::<usize>(), total, "{rounds:?}");
    assert!(rounds.iter().all(|effects| *effects <= most), "{rounds:?}");
}

fn is_verdict(effect: &Effect) -> bool {
    matches!(effect, Effect::Verdict { .. })
}

fn is_look_up(effect: &Effect) -> bool {
    matches!(effect, Effect::LookUp { .. })
}

fn is_dispatch(effect: &Effect) -> bool {
    matches!(effect, Effect::ToWorker { message: ToWorker::Dispatch(_), .. })
}

#[test]
fn requests_that_wait_for_an_artifact_go_on_in_pieces() {
    let mut env = small_fleet();
    for n in 0..500 {
        env.submit(n, 1, Work::Precheck);
    }
    env.expect_look_up(1);
    let found = Ok(Some(StoredArtifact::Failed(PrepareError::Prevalidation("bad".into()))));
    let more = env.event_alone(Event::LookedUp { artifact: artifact(1), found });
    assert_pieces(&mut env, more, is_verdict, (500, PIECES));
}

#[test]
fn prechecks_of_code_that_is_prepared_already_go_on_in_pieces() {
    let mut env = small_fleet();
    for n in 0..500 {
        env.submit(n, 1, Work::Precheck);
    }
    env.expect_look_up(1);
    let found = Ok(Some(StoredArtifact::Prepared(info(1))));
    let more = env.event_alone(Event::LookedUp { artifact: artifact(1), found });
    let link = env.dispatch_without_answer();
    assert_pieces(&mut env, more, |_| false, (0, 0));
    let more = env.report_alone(&link, JobOutcome::Prepare(PrepareOutcome::Prepared(info(1))));
    assert_pieces(&mut env, more, is_verdict, (500, PIECES));
}

#[test]
fn requests_of_one_execution_are_answered_in_pieces() {
    let mut env = warm_fleet();
    for n in 1000..1500 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, 1));
    }
    let run = env.dispatched();
    let more = env.report_alone(&run, JobOutcome::Execute(valid()));
    assert_pieces(&mut env, more, is_verdict, (500, PIECES));
    assert_eq!(env.gauges().requests, 0);
}

#[test]
fn a_new_request_is_handled_while_others_are_answered_in_pieces() {
    let mut env = warm_fleet();
    for n in 1000..1500 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, 1));
    }
    let run = env.dispatched();
    assert!(env.report_alone(&run, JobOutcome::Execute(valid())));
    assert!(env.take_all().iter().all(is_verdict));
    env.cancel(1, 1000);
    env.submit(2000, 1, execute(ExecuteKind::Backing));
    let effects = env.take_all();
    assert_eq!(effects.iter().filter(|effect| is_dispatch(effect)).count(), 1);
    assert_eq!(env.gauges().requests, 1);
}

#[test]
fn requests_of_a_retired_leaf_expire_in_pieces() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let _running = [env.dispatched(), env.dispatched()];
    for n in 1000..1500 {
        env.submit(n, 1, on_leaf(ExecuteKind::Backing, 1));
    }
    let update = ActiveLeavesUpdate { activated: None, deactivated: vec![RelayHash([1; 32])] };
    let more = env.event_alone(Event::Leaves { client: client(1), update, reply: None });
    assert_pieces(&mut env, more, is_verdict, (500, PIECES));
}

#[test]
fn unassigned_requests_get_an_engine_in_pieces() {
    let mut env = Env::with(unstaged());
    for n in 0..200 {
        env.submit(n, n as u8, Work::Precheck);
    }
    let hello = Box::new(hello(1, WorkerKind::Prepare));
    let more = env.event_alone(Event::Hello { worker: worker(1), hello, reply: None });
    assert_pieces(&mut env, more, is_look_up, (200, PIECES));
}

#[test]
fn queued_executions_of_an_engine_without_workers_move_in_pieces() {
    let mut env = Env::with(unstaged());
    env.worker_of_engine(1, WorkerKind::Execute, "a");
    for n in 0..200 {
        env.submit(n, n as u8, execute(ExecuteKind::Backing));
        env.looked_up_for(artifact_for(n as u8, "a"), Some(StoredArtifact::Prepared(info(1))));
        if n == 0 {
            env.dispatched();
        }
    }
    env.worker_of_engine(2, WorkerKind::Execute, "b");
    env.quiet();
    let more = env.event_alone(Event::Goodbye { worker: worker(1), reply: None });
    assert_pieces(&mut env, more, is_look_up, (200, PIECES));
}

#[test]
fn unused_artifacts_are_pruned_in_pieces() {
    let prune_interval = Duration::from_secs(60);
    let mut env = Env::with(Policy { prune_interval, ..unstaged() });
    let idle = Duration::from_secs(100 * 24 * 3600);
    let listed = |code| Listed { artifact: (*artifact(code)).clone(), bytes: 1000, idle };
    env.event(Event::Listed((0..200).map(listed).collect()));
    let more = env.pass_until_due(prune_interval);
    assert_eq!(env.needs_saved().len(), 200);
    assert_pieces(&mut env, more, |effect| matches!(effect, Effect::Drop { .. }), (200, PIECES));
    assert_eq!(env.counts().artifacts_pruned, 200);
}

#[test]
fn a_long_queue_is_dispatched_in_pieces() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Execute, 1);
    env.submit(0, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.dispatched();
    for n in 1..=200 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    let hello = Box::new(WorkerHello { slots: 200, ..hello(2, WorkerKind::Execute) });
    let more = env.event_alone(Event::Hello { worker: worker(2), hello, reply: None });
    assert_pieces(&mut env, more, is_dispatch, (200, DISPATCHES));
}

#[test]
fn many_requests_expire_in_pieces() {
    let mut env = Env::with(unstaged());
    let answer_within = Duration::from_secs(10);
    for n in 0..500 {
        let submission = Submission { answer_within, ..submission(n, 1, Work::Precheck) };
        assert_eq!(env.send(submission), SubmitReply::Accepted);
    }
    let more = env.pass_until_due(answer_within);
    assert_pieces(&mut env, more, is_verdict, (500, crate::TIMERS));
}
