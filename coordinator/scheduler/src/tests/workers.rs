//! Registration, heartbeats and silence of workers, and what an unanswered dispatch means.

use super::{env::Env, fixtures::*};
use crate::{Command, Delivery, Event, Scheduler, SchedulerConfig, Timestamp};
use pvf_proto::{
    config::ProtocolTimeouts,
    job::ExecuteOutcome,
    keys::KeyFingerprint,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Heartbeat, WorkerHello, WorkerKind, WorkerRefusal, WorkerReply},
};
use std::time::Duration;

fn plain_heartbeat() -> Heartbeat {
    Heartbeat::default()
}

#[test]
fn workers_whose_keys_do_not_match_are_refused_with_both() {
    let mut env = Env::new();
    let other = KeyFingerprint::Key([7; 8]);
    let refused = |worker: &[KeyFingerprint]| {
        let (worker, fleet) = (worker.to_vec(), trusted_keys());
        WorkerReply::Refused(WorkerRefusal::WrongKeys { worker, fleet })
    };
    for (signs_with, named) in [(Some(other), &[other][..]), (None, &[])] {
        let reply = env.say_hello(1, WorkerHello { signs_with, ..hello(1, WorkerKind::Prepare) });
        assert_eq!(reply, refused(named), "what it makes is refused by others, whatever it trusts");
    }
    for trusts in [vec![other], vec![]] {
        let reply = env.say_hello(2, WorkerHello { trusts: trusts.clone(), ..hello(2, WorkerKind::Execute) });
        assert_eq!(reply, refused(&trusts), "it refuses what others make");
    }
    let many = WorkerHello { trusts: vec![other; 1000], ..hello(2, WorkerKind::Execute) };
    assert_eq!(env.say_hello(2, many), refused(&[other; 8]));
    // It has another key as well: the next one, which the coordinator does not know yet.
    env.register(3, WorkerHello { trusts: [trusted_keys(), vec![other]].concat(), ..hello(3, WorkerKind::Execute) });
    env.register(4, hello(4, WorkerKind::Prepare));
    let status = env.status();
    assert_eq!((status.trusted_keys, status.workers.len()), (trusted_keys(), 2));
    let [execute, prepare] = [3, 4].map(|n| status.workers.iter().find(|w| w.id == worker(n)).unwrap());
    assert_eq!((execute.trusts.len(), prepare.signs_with), (2, Some(KeyFingerprint::Unsigned)));
}

#[test]
fn a_worker_that_is_not_registered_is_asked_to_register() {
    let mut env = Env::with(unstaged());
    assert_eq!(env.heartbeat_with(5, plain_heartbeat()), WorkerReply::SayHello);
    env.worker(5, WorkerKind::Execute, 1);
    assert_eq!(env.heartbeat_with(5, plain_heartbeat()), WorkerReply::Ack);
    env.goodbye(5);
    assert_eq!(env.heartbeat_with(5, plain_heartbeat()), WorkerReply::SayHello);
    env.goodbye(5);
    assert_eq!(env.counts().workers_left, 1);
}

#[test]
fn a_registration_without_slots_or_with_too_many_is_refused() {
    let mut env = Env::with(unstaged());
    for slots in [0, 1025] {
        let refusal = WorkerRefusal::Slots { slots, max: 1024 };
        let reply = env.say_hello(1, WorkerHello { slots, ..hello(1, WorkerKind::Execute) });
        assert_eq!(reply, WorkerReply::Refused(refusal));
    }
    env.worker(1, WorkerKind::Execute, 1024);
    assert_eq!(env.gauges().workers, [(0, 0, 0), (1, 1024, 0)]);
}

#[test]
fn a_worker_that_registers_again_keeps_its_jobs() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.worker(2, WorkerKind::Execute, 1);
    assert_eq!((env.gauges().workers[1], env.running_at(2)), ((1, 1, 1), 1));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn silence_counts_only_while_the_coordinator_is_connected() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.event(Event::Link { up: false });
    env.pass(Duration::from_secs(60));
    env.event(Event::Link { up: true });
    env.pass(Duration::from_secs(5));
    assert_eq!(env.counts().workers_lost, 0);
    env.heartbeat(2);
    env.pass(Duration::from_secs(5));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.pass(Duration::from_secs(1));
    assert_eq!(env.counts().workers_lost, 1, "a report alone does not show that the worker is there");
}

#[test]
fn that_the_coordinator_hears_nothing_counts_before_silence_does() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.stand_still(Duration::from_secs(8));
    env.event(Event::Link { up: false });
    env.event(Event::Link { up: true });
    env.heartbeat(2);
    assert_eq!(env.counts().workers_lost, 0);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

/// Request 1 is dispatched and the worker does not answer. Returns the job, and the numbers of its worker and of the
/// other one.
fn unanswered(env: &mut Env) -> (super::env::Job, u64, u64) {
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let job = env.dispatch_without_answer();
    env.delivered(&job, Command::Dispatch, Delivery::Unknown("timeout".into()));
    env.quiet();
    assert_eq!(env.counts().suspected, 1);
    let (at, other) = if job.worker == worker(2) { (2, 3) } else { (3, 2) };
    (job, at, other)
}

#[test]
fn a_worker_whose_heartbeat_does_not_list_an_unanswered_dispatch_did_not_get_it() {
    let mut env = warm_fleet();
    let (first, at, _) = unanswered(&mut env);
    env.pass(Duration::from_secs(5));
    env.heartbeat_without_jobs(at);
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    assert_eq!(env.running_at(at), 0);
    env.executed(&second, valid());
    assert_eq!(env.verdict().attempts, 1, "the first one did not begin");
}

#[test]
fn a_worker_whose_heartbeat_lists_an_unanswered_dispatch_has_it() {
    let mut env = warm_fleet();
    let (first, at, other) = unanswered(&mut env);
    env.pass_with_heartbeats(&[1, at, other], 30);
    env.quiet();
    env.executed(&first, valid());
    assert_eq!(env.verdict().attempts, 1);
}

#[test]
fn a_worker_that_is_lost_before_it_answers_a_dispatch_did_not_die_of_the_job() {
    let mut env = warm_fleet();
    let (first, _, other) = unanswered(&mut env);
    env.pass_with_heartbeats(&[1, other], 6);
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    env.executed(&second, ExecuteOutcome::Ambiguous(job_death()));
    let third = env.dispatched();
    env.executed(&third, ExecuteOutcome::Ambiguous(job_death()));
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::PossiblyInvalid(job_death()), 2));
}

#[test]
fn a_worker_that_listed_an_unanswered_dispatch_and_is_lost_may_have_died_of_the_job() {
    let mut env = warm_fleet();
    let (_, at, other) = unanswered(&mut env);
    env.heartbeat(at);
    env.pass_with_heartbeats(&[1, other], 6);
    let second = env.dispatched();
    env.executed(&second, ExecuteOutcome::Ambiguous(job_death()));
    let verdict = env.verdict();
    assert_eq!((verdict.outcome, verdict.attempts), (Outcome::PossiblyInvalid(job_death()), 2));
}

#[test]
fn a_full_fleet_refuses_workers() {
    const MAX: u32 = 100_000;
    let now = Timestamp::at(Duration::from_secs(1));
    let config = SchedulerConfig {
        token: TOKEN,
        timing: ProtocolTimeouts::default(),
        policy: unstaged(),
        version: "t".into(),
        trusted_keys: trusted_keys(),
    };
    let mut scheduler = Scheduler::new(config, now);
    let mut register = |n: u32| {
        let worker = worker(n.into());
        let hello = Box::new(WorkerHello { host: "host".into(), ..hello(0, WorkerKind::Execute) });
        let reply = Some(pvf_proto::subjects::Subject::received("_INBOX.default.1"));
        scheduler.handle(Event::Hello { worker, hello, reply }, now);
        let effects = std::iter::from_fn(|| scheduler.poll_effect());
        let replies: Vec<_> = effects.filter_map(|effect| super::env::worker_reply(&effect)).collect();
        assert_eq!(replies.len(), 1);
        replies[0].clone()
    };
    let welcome = WorkerReply::Welcome { token: TOKEN };
    for n in 1..=MAX {
        assert_eq!(register(n), welcome);
    }
    assert_eq!(register(MAX + 1), WorkerReply::Refused(WorkerRefusal::FleetFull { max: MAX }));
    assert_eq!(register(1), welcome, "a worker that is registered already is welcome again");
}
