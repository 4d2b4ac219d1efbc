//! Which execution is next: kinds, shares, deadlines, fairness between clients.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use pvf_proto::{
    ids::RequestId,
    priority::ExecuteKind,
    wire::{Submission, SubmitReply, WorkerKind},
};
use std::{collections::BTreeMap, time::Duration};

/// A warm fleet whose two slots are taken by requests 91 and 92; the job of request 91.
fn busy_fleet() -> (Env, Job) {
    let mut env = warm_fleet();
    env.submit(91, 1, execute(ExecuteKind::Backing));
    env.submit(92, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    assert_eq!(env.dispatched().request, Some(request(92)));
    (env, first)
}

/// Executes the queue at the worker that runs `job`. Returns the requests in the order of their dispatch.
fn run_queue(env: &mut Env, mut job: Job) -> Vec<RequestId> {
    let mut order = Vec::new();
    loop {
        env.executed(&job, valid());
        assert_eq!(Some(env.verdict().request), job.request);
        if !env.has_effects() {
            return order;
        }
        job = env.dispatched();
        order.extend(job.request);
    }
}

#[test]
fn more_urgent_kinds_go_first_then_earlier_requests() {
    let (mut env, running) = busy_fleet();
    use ExecuteKind::{Approval, Backing, BackingSystem, Dispute};
    for (n, kind) in [(10, Backing), (11, Approval), (12, BackingSystem), (13, Dispute), (14, Approval)] {
        env.submit(n, 1, execute(kind));
    }
    env.quiet();
    assert_eq!(run_queue(&mut env, running), [13, 11, 14, 12, 10].map(request));
}

#[test]
fn shares_hold_between_all_kinds() {
    let (mut env, running) = busy_fleet();
    let kinds: BTreeMap<_, _> = (0..160_u64).map(|n| (request(1000 + n), ExecuteKind::ALL[n as usize % 4])).collect();
    for (n, kind) in (0..160_u64).map(|n| (n, ExecuteKind::ALL[n as usize % 4])) {
        env.submit(1000 + n, 1, execute(kind));
    }
    let order = run_queue(&mut env, running);
    assert_eq!(order.len(), 160);
    let disputes = |window: &[RequestId]| window.iter().filter(|id| kinds[id] == ExecuteKind::Dispute).count();
    for window in order[12..40].windows(12) {
        assert!((8..=9).contains(&disputes(window)), "{} disputes in a window", disputes(window));
    }
    let of_kind = |kind| order.iter().take(40).filter(|id| kinds[id] == kind).count();
    for kind in [ExecuteKind::Approval, ExecuteKind::BackingSystem] {
        assert!(of_kind(kind) > 0, "{kind} has no share");
    }
}

#[test]
fn within_a_kind_the_earliest_deadline_goes_first_then_the_earliest_request() {
    let (mut env, running) = busy_fleet();
    for (n, seconds) in [(1, 90), (2, 30), (3, 60), (4, 30)] {
        let answer_within = Duration::from_secs(seconds);
        let submission = Submission { answer_within, ..submission(n, 1, execute(ExecuteKind::Approval)) };
        assert_eq!(env.send(submission), SubmitReply::Accepted);
    }
    assert_eq!(run_queue(&mut env, running), [2, 4, 3, 1].map(request));
}

#[test]
fn a_client_with_many_requests_does_not_starve_another() {
    let (mut env, running) = busy_fleet();
    let send = |env: &mut Env, client, n, seconds| {
        let submission = submission(n, 1, execute(ExecuteKind::Approval));
        let within = Duration::from_secs(seconds);
        let reply = env.send_as(client, Submission { answer_within: within, ..submission });
        assert_eq!(reply, SubmitReply::Accepted);
    };
    (100..150).for_each(|n| send(&mut env, 1, n, 60));
    (200..205).for_each(|n| send(&mut env, 2, n, 90));
    let order = run_queue(&mut env, running);
    assert_eq!(order.len(), 55);
    let last = order.iter().position(|id| *id == request(204)).unwrap();
    assert!(last <= 11, "the five requests of the second client are done after {last} others");
}

#[test]
fn a_queue_is_dispatched_as_far_as_there_is_room() {
    let (mut env, first) = one_busy_worker(unstaged());
    for n in 2..=4 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    env.worker(3, WorkerKind::Execute, 2);
    let (second, third) = (env.dispatched(), env.dispatched());
    assert_eq!([second.worker, third.worker], [worker(3); 2]);
    env.quiet();
    assert_eq!((env.running_at(2), env.running_at(3)), (1, 2));
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().worker, worker(2));
}
