//! The rules of the queues: priorities, shares, fairness, joining, limits, jobs held ahead.

use super::*;
use std::collections::BTreeMap;

/// An execution of candidate `n`, which others may join.
fn candidate(kind: ExecuteKind, n: u8) -> Work {
    let Work::Execute(mut work) = execute(kind) else { unreachable!() };
    work.fresh = false;
    work.block_data = BlobRef::Inline(Bytes::copy_from_slice(&[n]));
    Work::Execute(work)
}

impl Env {
    fn submit_as(&mut self, client: u64, n: u64, work: Work, within: Duration) -> SubmitReply {
        let submission = Submission {
            id: request(n),
            node: node(client),
            code: CodeRef { hash: CodeHash([1; 32]), blob: BlobRef::Stored { hash: BlobHash([1; 32]), len: 5 } },
            code_bomb_limit: 1000,
            executor_params: ExecutorParams::default(),
            prepare_timeout: None,
            answer_within: within,
            work,
        };
        let reply = Some(subjects::node(&FleetName::default(), &node(77)));
        let identity = submission.validation_key();
        self.event(Event::Submit { submission: Box::new(submission), identity, reply });
        let at = self.effects.iter().position(|e| matches!(e, Effect::Reply { .. })).expect("an answer");
        match self.effects.remove(at) {
            Some(Effect::Reply { answer: Answer::Accepted(id), .. }) if id == request(n) => SubmitReply::Accepted,
            Some(Effect::Reply { answer: Answer::Submit(answer), .. }) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Runs whatever is dispatched until nothing is; gives the order in which requests were dispatched.
    fn run_all(&mut self) -> Vec<RequestId> {
        let mut order = Vec::new();
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::ToWorker { worker, message: ToWorker::Dispatch(d) } => {
                    order.extend(d.request);
                    let (job, attempt) = (d.job, d.attempt);
                    let delivery = Delivery::Taken;
                    self.event(Event::Delivered { worker, job, attempt, command: Command::Dispatch, delivery });
                    match d.spec {
                        JobSpec::Prepare(_) => self.prepared(&(worker, *d), 1),
                        JobSpec::Execute(_) => self.executed(&(worker, *d), valid()),
                    }
                }
                Effect::LookUp { artifact } => self.event(Event::LookedUp { artifact, found: Ok(None) }),
                Effect::ToWorker { worker, message: ToWorker::Recall { job, attempt, .. } } => {
                    let delivery = Delivery::Taken;
                    self.event(Event::Delivered { worker, job, attempt, command: Command::Recall, delivery });
                }
                _ => {}
            }
        }
        order
    }
}

const AMPLE: Duration = Duration::from_secs(600);

#[test]
fn identical_validations_run_once_and_answer_all() {
    let mut env = warm_fleet();
    env.submit_as(1, 1, candidate(ExecuteKind::Backing, 1), AMPLE);
    let run = env.dispatched();
    env.submit_as(2, 2, candidate(ExecuteKind::Backing, 1), AMPLE);
    env.submit_as(2, 3, candidate(ExecuteKind::BackingSystem, 1), AMPLE);
    env.quiet();
    // Another time-out class, another candidate, or asked for afresh: not the same.
    env.submit_as(2, 4, candidate(ExecuteKind::Approval, 1), AMPLE);
    let other = env.dispatched();
    assert_eq!(other.1.request, Some(request(4)));
    env.executed(&run, valid());
    let answered: Vec<_> = (0..3).map(|_| env.verdict()).collect();
    assert_eq!(answered.iter().map(|v| v.request).collect::<Vec<_>>(), [1, 2, 3].map(request));
    assert!(answered.iter().all(|v| v.outcome == answered[0].outcome && v.attempts == 1));
    assert_eq!(env.scheduler.counts().coalesced, 2);
    env.executed(&other, valid());
    env.verdict();
    env.submit_as(2, 5, execute(ExecuteKind::Backing), AMPLE);
    env.submit_as(2, 6, execute(ExecuteKind::Backing), AMPLE);
    assert_eq!(env.run_all(), [5, 6].map(request), "asked for afresh: each for itself");
}

#[test]
fn whoever_joins_makes_an_execution_more_urgent_and_leaves_without_harm() {
    let mut env = warm_fleet();
    env.submit(91, 1, execute(ExecuteKind::Backing));
    env.submit(92, 1, execute(ExecuteKind::Backing));
    let (a, b) = (env.dispatched(), env.dispatched());
    env.submit_as(1, 1, candidate(ExecuteKind::Approval, 1), AMPLE);
    env.submit_as(1, 2, candidate(ExecuteKind::Approval, 2), AMPLE);
    env.submit_as(2, 3, candidate(ExecuteKind::Dispute, 2), AMPLE);
    // The first who asked goes; the other still waits for it.
    env.event(Event::Cancel { request: request(2), node: node(1), reply: None });
    env.quiet();
    env.executed(&a, valid());
    env.verdict();
    assert_eq!(env.dispatched().1.request, Some(request(3)));
    env.executed(&b, valid());
    env.verdict();
    assert_eq!(env.dispatched().1.request, Some(request(1)));
}

#[test]
fn shares_hold_between_all_kinds() {
    let mut env = warm_fleet();
    let kinds: BTreeMap<_, _> = (0..160_u64).map(|n| (request(1000 + n), ExecuteKind::ALL[n as usize % 4])).collect();
    // Both slots are taken while they come.
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (a, b) = (env.dispatched(), env.dispatched());
    for (n, kind) in (0..160_u64).map(|n| (n, ExecuteKind::ALL[n as usize % 4])) {
        env.submit_as(1, 1000 + n, execute(kind), AMPLE);
    }
    env.executed(&a, valid());
    env.executed(&b, valid());
    let order = env.run_all();
    let disputes = |some: &[RequestId]| some.iter().filter(|id| kinds[id] == ExecuteKind::Dispute).count();
    for window in order[12..40].windows(12) {
        assert!((8..=9).contains(&disputes(window)), "{} disputes in a window", disputes(window));
    }
    assert_eq!(order.len(), 160, "and everybody gets a turn");
}

#[test]
fn within_a_kind_the_earliest_deadline_then_arrival() {
    let mut env = warm_fleet();
    env.submit(91, 1, execute(ExecuteKind::Backing));
    env.submit(92, 1, execute(ExecuteKind::Backing));
    let (a, _) = (env.dispatched(), env.dispatched());
    for (n, seconds) in [(1, 90), (2, 30), (3, 60), (4, 30)] {
        env.submit_as(1, n, execute(ExecuteKind::Approval), Duration::from_secs(seconds));
    }
    env.executed(&a, valid());
    assert_eq!(env.run_all(), [2, 4, 3, 1].map(request));
}

#[test]
fn a_noisy_client_does_not_starve_another() {
    let mut env = warm_fleet();
    env.submit(91, 1, execute(ExecuteKind::Backing));
    env.submit(92, 1, execute(ExecuteKind::Backing));
    let (a, _) = (env.dispatched(), env.dispatched());
    for n in 100..150 {
        env.submit_as(1, n, execute(ExecuteKind::Approval), Duration::from_secs(60));
    }
    for n in 200..205 {
        env.submit_as(2, n, execute(ExecuteKind::Approval), Duration::from_secs(90));
    }
    env.executed(&a, valid());
    let order = env.run_all();
    let last = order.iter().position(|id| *id == request(204)).unwrap();
    assert!(last <= 11, "the quiet client's five are done after {last} others");
}

#[test]
fn over_a_limit_the_client_is_told_to_come_again() {
    let limit = |requests, bytes| Limit { requests, bytes };
    let mut env = Env::with(Policy { per_client: limit(2, 1000), per_kind: limit(3, 1000), ..strict() });
    let accepted = |answer| assert_eq!(answer, SubmitReply::Accepted);
    let overloaded = |answer| {
        let SubmitReply::Refused(Refusal::Overloaded { what, retry_after }) = answer else { panic!("{answer:?}") };
        assert_eq!(retry_after, Duration::from_millis(500));
        what
    };
    accepted(env.submit_as(1, 1, execute(ExecuteKind::Backing), AMPLE));
    accepted(env.submit_as(1, 2, execute(ExecuteKind::Approval), AMPLE));
    assert!(overloaded(env.submit_as(1, 3, execute(ExecuteKind::Backing), AMPLE)).contains("this client (limit 2"));
    // The same request again is not another one.
    accepted(env.submit_as(1, 2, execute(ExecuteKind::Approval), AMPLE));
    accepted(env.submit_as(2, 4, execute(ExecuteKind::Backing), AMPLE));
    accepted(env.submit_as(3, 5, execute(ExecuteKind::Backing), AMPLE));
    assert!(overloaded(env.submit_as(4, 6, execute(ExecuteKind::Backing), AMPLE)).contains("backing requests"));
    accepted(env.submit_as(4, 6, execute(ExecuteKind::Dispute), AMPLE));
    // What is answered makes room.
    env.event(Event::Cancel { request: request(1), node: node(1), reply: None });
    accepted(env.submit_as(1, 3, execute(ExecuteKind::Backing), AMPLE));
    // And by bytes.
    let mut env = Env::with(Policy { per_client: limit(100, 1000), per_kind: limit(100, 1500), ..strict() });
    let heavy = |len| {
        let Work::Execute(mut work) = execute(ExecuteKind::Backing) else { unreachable!() };
        work.block_data = BlobRef::Inline(Bytes::from(vec![0; len]));
        Work::Execute(work)
    };
    accepted(env.submit_as(1, 1, heavy(900), AMPLE));
    assert!(overloaded(env.submit_as(1, 2, heavy(101), AMPLE)).contains("or 1000 bytes"));
    accepted(env.submit_as(1, 2, heavy(100), AMPLE));
    assert!(overloaded(env.submit_as(2, 3, heavy(501), AMPLE)).contains("or 1500 bytes"));
    assert_eq!((env.scheduler.held_bytes(), env.scheduler.counts().overloaded), (1000, 2));
}

#[test]
fn one_job_waits_ahead_and_a_more_urgent_one_overtakes_it() {
    let mut env = Env::with(Policy { client_silence: AMPLE, ..Policy::default() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let running = env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let ahead = env.dispatched();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.quiet();
    env.submit(4, 1, execute(ExecuteKind::Dispute));
    let effect = env.next();
    let Effect::ToWorker { worker, message: ToWorker::Recall { job, attempt, .. } } = effect else {
        panic!("{effect:?}")
    };
    assert_eq!((worker, job), (ahead.0, ahead.1.job));
    env.quiet();
    env.event(Event::Delivered { worker, job, attempt, command: Command::Recall, delivery: Delivery::Taken });
    assert_eq!(env.dispatched().1.request, Some(request(4)));
    env.quiet();
    env.executed(&running, valid());
    env.verdict();
    let next = env.dispatched();
    assert_eq!(next.1.request, Some(request(2)), "what came back has its turn before what never left");
    assert_eq!(next.1.attempt, 2);
    let verdict = |env: &mut Env, run| {
        env.executed(run, valid());
        env.verdict()
    };
    // It was begun once.
    let again = {
        let dispute =
            env.scheduler.fleet.workers.get(&worker).unwrap().jobs.iter().find(|s| s.ahead.is_none()).copied().unwrap();
        let mut d = next.1.clone();
        (d.job, d.attempt) = (dispute.job, dispute.attempt);
        (worker, d)
    };
    assert_eq!(verdict(&mut env, &again).request, request(4));
    env.dispatched();
    assert_eq!(verdict(&mut env, &next).attempts, 1);
}

#[test]
fn a_job_that_waits_ahead_goes_to_a_worker_that_has_nothing_to_do() {
    let mut env = Env::with(Policy { client_silence: AMPLE, ..Policy::default() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (_, ahead) = env.dispatched();
    env.worker(3, WorkerKind::Execute, 1);
    let effect = env.next();
    let Effect::ToWorker { worker, message: ToWorker::Recall { job, attempt, .. } } = effect else {
        panic!("{effect:?}")
    };
    assert_eq!(job, ahead.job);
    // It has begun meanwhile: nothing happens.
    let refused = Delivery::Refused("it has begun".into());
    env.event(Event::Delivered { worker, job, attempt, command: Command::Recall, delivery: refused });
    env.quiet();
}

#[test]
fn a_free_slot_is_never_passed_over_for_a_warm_worker() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, valid());
    env.verdict();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().0, first.0, "warm");
    env.submit(3, 1, execute(ExecuteKind::Backing));
    assert_ne!(env.dispatched().0, first.0, "cold, but free");
}

#[test]
fn a_cold_artifact_has_a_home_that_a_change_of_the_fleet_seldom_moves() {
    let homes = |workers: &[u64]| {
        let mut env = Env::with(strict());
        for n in workers {
            env.worker(*n, WorkerKind::Execute, 1);
        }
        let mut homes = Vec::new();
        for code in 1..=60 {
            env.submit(u64::from(code), code, execute(ExecuteKind::Backing));
            env.looked_up(code, Some(Found::Prepared(info(1))));
            let run = env.dispatched();
            env.executed(&run, valid());
            env.verdict();
            homes.push(run.0);
        }
        homes
    };
    let (before, after) = (homes(&[1, 2, 3, 4, 5, 6]), homes(&[1, 2, 3, 4, 5]));
    let moved = before.iter().zip(&after).filter(|(b, a)| b != a && **b != worker(6)).count();
    assert_eq!(moved, 0, "only what was at the one that went");
    for n in 1..=6 {
        let share = before.iter().filter(|id| **id == worker(n)).count();
        assert!((2..=25).contains(&share), "worker {n} is home to {share} of 60");
    }
}
