//! The rules of preparing: capacity, aging, engines, pruning, quarantine; and clients that go.

use super::*;

fn prepared_code(at: &(WorkerId, Dispatch)) -> u8 {
    let JobSpec::Prepare(spec) = &at.1.spec else { panic!("{:?}", at.1.spec) };
    spec.artifact.code_hash.0[0]
}

impl Env {
    fn missing(&mut self, code: u8) {
        self.event(Event::LookedUp { artifact: Self::artifact(code), found: Ok(None) });
    }

    pub(super) fn keep_alive(&mut self, workers: std::ops::RangeInclusive<u64>, seconds: u64) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            for n in workers.clone() {
                let jobs = self.scheduler.fleet.workers.get(&worker(n)).map(|w| w.jobs.clone()).unwrap_or_default();
                let running =
                    jobs.iter().map(|s| RunningJob { token: TOKEN, job: s.job, attempt: s.attempt }).collect();
                self.event(Event::Heartbeat { heartbeat: heartbeat(n, running), reply: None });
            }
        }
    }
}

#[test]
fn work_below_critical_uses_only_the_soft_share_of_the_slots() {
    let mut env = Env::with(Policy { prepare_soft_percent: 50, ..strict() });
    env.worker(1, WorkerKind::Prepare, 2);
    env.worker(2, WorkerKind::Prepare, 2);
    env.worker(3, WorkerKind::Execute, 1);
    for code in 1..=4 {
        env.submit(code.into(), code, execute(ExecuteKind::Backing));
        env.missing(code);
    }
    env.effects.retain(|e| matches!(e, Effect::ToWorker { .. }));
    let first = env.dispatched();
    env.dispatched();
    env.quiet();
    // Critical work may use all of them, and one that is raised is critical.
    env.submit(5, 5, execute(ExecuteKind::Dispute));
    env.missing(5);
    env.effects.retain(|e| matches!(e, Effect::ToWorker { .. }));
    assert_eq!(prepared_code(&env.dispatched()), 5);
    env.submit(6, 4, execute(ExecuteKind::Approval));
    assert_eq!(prepared_code(&env.dispatched()), 4);
    env.prepared(&first, 1);
    env.effects.clear();
    env.quiet();
}

#[test]
fn a_heads_up_that_waits_long_enough_is_not_starved() {
    for (aging, expected) in [(Duration::from_secs(60), 1), (Duration::ZERO, 2)] {
        let mut env = Env::with(Policy { prepare_aging: aging, ..strict() });
        env.worker(1, WorkerKind::Prepare, 1);
        env.worker(2, WorkerKind::Execute, 1);
        for (code, work) in [(9, Work::HeadsUp), (1, Work::HeadsUp)] {
            env.submit(code.into(), code, work);
            env.missing(code);
        }
        env.effects.retain(|e| matches!(e, Effect::ToWorker { .. }));
        let first = env.dispatched();
        env.keep_alive(1..=2, 61);
        env.submit(2, 2, execute(ExecuteKind::Backing));
        env.missing(2);
        env.effects.clear();
        env.prepared(&first, 1);
        assert_eq!(prepared_code(&env.dispatched()), expected);
    }
}

#[test]
fn what_a_running_preparation_is_raised_to_counts_when_it_has_to_be_repeated() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::HeadsUp);
    env.missing(1);
    env.effects.retain(|e| matches!(e, Effect::ToWorker { .. }));
    let first = env.dispatched();
    let JobSpec::Prepare(spec) = &first.1.spec else { panic!() };
    assert_eq!(spec.threads, 1);
    env.submit(2, 1, execute(ExecuteKind::Dispute));
    env.quiet();
    env.report(&first, JobOutcome::Prepare(PrepareOutcome::Internal(InternalError::Kernel("x".into()))));
    let again = env.dispatched();
    let JobSpec::Prepare(spec) = &again.1.spec else { panic!() };
    assert_eq!(spec.threads, 0, "all cores: it is critical now");
}

#[test]
fn each_engine_gets_its_own_preparation() {
    let mut env = Env::with(strict());
    let arrive = |env: &mut Env, n, kind, name: &str| {
        env.event(Event::Hello { hello: hello(n, kind, name), reply: None });
    };
    arrive(&mut env, 1, WorkerKind::Prepare, "a");
    arrive(&mut env, 2, WorkerKind::Execute, "a");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let Effect::LookUp { artifact } = env.next() else { panic!() };
    env.event(Event::LookedUp { artifact, found: Ok(None) });
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    // The fleet is replaced by one with another engine, and nothing fails.
    env.event(Event::Goodbye { worker: worker(1), reply: None });
    arrive(&mut env, 3, WorkerKind::Prepare, "b");
    arrive(&mut env, 4, WorkerKind::Execute, "b");
    env.event(Event::Goodbye { worker: worker(2), reply: None });
    assert_eq!(run.0, worker(2));
    let Effect::LookUp { artifact } = env.next() else { panic!("{:?}", env.effects) };
    assert_eq!(artifact.engine, engine("b"));
    env.event(Event::LookedUp { artifact, found: Ok(None) });
    let prepare = env.dispatched();
    assert_eq!(prepare.0, worker(3));
    env.prepared(&prepare, 2);
    let run = env.dispatched();
    assert_eq!(run.0, worker(4));
    env.executed(&run, valid());
    assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
}

#[test]
fn artifacts_are_pruned_by_size_and_age_but_never_one_that_is_needed() {
    let policy = Policy {
        prune_interval: Duration::from_secs(100),
        prune_above: 2500,
        prune_min_age: Duration::from_secs(1000),
        artifact_ttl: Duration::from_secs(10_000),
        ..strict()
    };
    let mut env = Env::with(policy);
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    let listed =
        |code, idle| Listed { artifact: (*Env::artifact(code)).clone(), bytes: 1000, idle: Duration::from_secs(idle) };
    // Four of 1000 bytes; the oldest is needed by a job.
    env.event(Event::Listed(vec![listed(1, 5000), listed(2, 4000), listed(3, 500), listed(4, 100)]));
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let run = env.dispatched();
    env.keep_alive(1..=2, 101);
    assert_eq!(env.next(), Effect::Drop { artifact: Env::artifact(2) });
    env.event(Event::Dropped { artifact: Env::artifact(2) });
    env.quiet();
    // Too large still, but the rest was needed lately or is needed now.
    env.keep_alive(1..=2, 100);
    env.quiet();
    env.executed(&run, valid());
    env.verdict();
    env.keep_alive(1..=2, 800);
    let Effect::Drop { artifact } = env.next() else { panic!() };
    assert_eq!(artifact, Env::artifact(3), "old enough by now");
    env.event(Event::Dropped { artifact });
    env.quiet();
    assert_eq!(env.scheduler.counts().artifacts_pruned, 2);
}

#[test]
fn a_validation_that_killed_its_workers_is_not_tried_on_more() {
    let mut env = Env::with(Policy { max_deaths: 2, ..strict() });
    for n in 1..=4 {
        env.worker(n, WorkerKind::Execute, 1);
    }
    let submit = |env: &mut Env, n| env.submit(n, 1, execute(ExecuteKind::Backing));
    submit(&mut env, 1);
    env.looked_up(1, Some(Found::Prepared(info(1))));
    for _ in 0..2 {
        let (dead, _) = env.dispatched();
        for _ in 0..7 {
            env.pass(Duration::from_secs(1));
            for n in 1..=4 {
                if worker(n) != dead && env.scheduler.fleet.workers.contains_key(&worker(n)) {
                    env.event(Event::Heartbeat { heartbeat: heartbeat(n, vec![]), reply: None });
                }
            }
        }
    }
    let verdict = env.verdict();
    assert_eq!(verdict.outcome, Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath));
    submit(&mut env, 2);
    assert_eq!(env.verdict().outcome, Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath));
    env.quiet();
}

#[test]
fn what_a_client_asked_for_that_has_gone_is_not_begun() {
    let mut env = Env::with(Policy { client_silence: Duration::from_secs(30), ..strict() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let run = env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.keep_alive(2..=2, 31);
    env.executed(&run, valid());
    env.verdict();
    env.quiet();
    assert_eq!(env.scheduler.requests.len(), 0);
    // It was only away: it learns that it has to ask again.
    let ask = Event::Ask { node: node(1), requests: vec![request(1), request(2)], reply: None };
    env.event(ask);
    assert_eq!(env.verdict().request, request(1), "the verdict that it did not hear");
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().1.request, Some(request(2)));
}

#[test]
fn a_cancellation_that_overtakes_its_submission_counts() {
    let mut env = warm_fleet();
    env.event(Event::Cancel { request: request(1), node: node(1), reply: None });
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    assert_eq!(env.scheduler.requests.len(), 0);
}

#[test]
fn work_of_a_leaf_that_is_known_to_be_gone_is_answered_at_once() {
    let mut env = warm_fleet();
    let leaf = |n: u8| {
        let Work::Execute(mut work) = execute(ExecuteKind::Backing) else { unreachable!() };
        work.relay_leaf = Some([n; 32]);
        Work::Execute(work)
    };
    let update = ActiveLeavesUpdate { activated: None, deactivated: vec![[1; 32]] };
    env.event(Event::Leaves { node: node(1), update, reply: None });
    env.submit(1, 1, leaf(1));
    assert_eq!(env.verdict().outcome, Outcome::ExecutionDeadline);
    env.quiet();
    // One that nobody spoke of is done.
    env.submit(2, 1, leaf(2));
    assert!(matches!(env.next(), Effect::ToWorker { .. }));
}

#[test]
fn long_work_is_done_in_pieces() {
    let mut env = Env::with(strict());
    for n in 0..500 {
        env.submit(n, 1, Work::Precheck);
    }
    env.scheduler.handle(Event::Hello { hello: hello(1, WorkerKind::Prepare, "e"), reply: None }, env.now);
    assert!(env.scheduler.homeless.len() > 400, "one event does only a piece");
    env.drain();
    assert_eq!(env.scheduler.homeless.len(), 0);
    env.looked_up(1, Some(Found::Prepared(info(1))));
    assert_eq!(env.effects.iter().filter(|e| matches!(e, Effect::Verdict { .. })).count(), 500);
}
