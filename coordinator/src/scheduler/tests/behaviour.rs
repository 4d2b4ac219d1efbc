//! What happens when everything works.

use super::*;

#[test]
fn prepare_then_execute_then_verdict() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    let JobSpec::Prepare(spec) = &prepare.1.spec else { panic!() };
    assert_eq!(
        (std::sync::Arc::new(spec.artifact.clone()), spec.cpu_limit, spec.precheck),
        (Env::artifact(1), Duration::from_secs(360), false)
    );
    env.quiet();
    env.pass(Duration::from_millis(30));
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    let JobSpec::Execute(spec) = &run.1.spec else { panic!() };
    assert_eq!((spec.mac, spec.cpu_limit), (Some(info(1).mac), Duration::from_secs(2)));
    env.pass(Duration::from_millis(5));
    env.executed(&run, valid());
    let verdict = env.verdict();
    assert_eq!(verdict.outcome, Outcome::Valid(BlobRef::Inline(Bytes::from_static(b"r"))));
    assert_eq!(verdict.timings.prepare, Duration::from_millis(30));
    assert_eq!(verdict.timings.execute, Duration::from_millis(5));
    assert_eq!(verdict.timings.total, Duration::from_millis(35));
    let artifact = verdict.artifact.unwrap();
    assert_eq!((artifact.bytes, artifact.cached), (1000, false));
    env.quiet();
}

#[test]
fn requests_for_one_artifact_share_its_preparation() {
    let mut env = small_fleet();
    for n in 0..5 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    env.submit(5, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.quiet();
    env.prepared(&prepare, 1);
    let mut answered = 0;
    let mut runs = Vec::new();
    while !env.effects.is_empty() {
        match env.effects[0] {
            Effect::Verdict { .. } => {
                env.verdict();
                answered += 1;
            }
            _ => runs.push(env.dispatched()),
        }
        if let Some(run) = runs.pop() {
            env.executed(&run, valid());
        }
    }
    assert_eq!(answered, 6);
}

#[test]
fn an_artifact_in_the_store_is_not_prepared_again() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Approval));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let run = env.dispatched();
    let JobSpec::Execute(spec) = &run.1.spec else { panic!("no preparation") };
    assert_eq!(spec.cpu_limit, Duration::from_secs(12), "approvals have the lenient time-out");
    env.executed(&run, valid());
    assert!(env.verdict().artifact.unwrap().cached);
}

#[test]
fn failures_are_kept() {
    let mut env = small_fleet();
    let error = PrepareError::Prevalidation("bad".into());
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.report(&prepare, JobOutcome::Prepare(PrepareOutcome::Failed(error.clone())));
    assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error.clone()));
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error.clone()));
    // A failure that is in the store counts as well.
    env.submit(3, 2, Work::Precheck);
    env.looked_up(2, Some(Found::Failed(error.clone())));
    assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error));
    env.quiet();
}

#[test]
fn a_failure_that_may_pass_is_retried_after_its_cool_down_but_not_by_a_precheck() {
    let mut env = small_fleet();
    let error = PrepareError::TimedOut { limit_ms: 1 };
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    for failure in 1..=5 {
        let prepare = env.dispatched();
        env.report(&prepare, JobOutcome::Prepare(PrepareOutcome::Failed(error.clone())));
        assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error.clone()));
        env.submit(100 + failure, 1, execute(ExecuteKind::Backing));
        assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error.clone()), "too early");
        // Workers must be heard of, or they are lost meanwhile.
        for _ in 0..=900 {
            env.pass(Duration::from_secs(1));
            for n in 1..=3 {
                let heartbeat = heartbeat(n, vec![]);
                env.event(Event::Heartbeat { heartbeat, reply: None });
            }
        }
        env.submit(200 + failure, 1, Work::Precheck);
        assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error.clone()), "never by a precheck");
        env.submit(300 + failure, 1, execute(ExecuteKind::Backing));
    }
    assert_eq!(env.verdict().outcome, Outcome::PreparationFailed(error), "five times are enough");
    env.quiet();
}

#[test]
fn critical_preparations_overtake() {
    let mut env = small_fleet();
    for (n, work) in
        [(1, Work::HeadsUp), (2, Work::HeadsUp), (3, execute(ExecuteKind::Backing)), (4, execute(ExecuteKind::Dispute))]
    {
        env.submit(n, n as u8, work);
    }
    // Look-ups and the verdicts of the heads-ups, then the queue in order of urgency.
    let effects: Vec<_> = env.effects.drain(..).collect();
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::Verdict { .. })).count(), 2);
    for n in 1..=4 {
        env.event(Event::LookedUp { artifact: Env::artifact(n), found: Ok(None) });
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        while !matches!(env.effects[0], Effect::ToWorker { .. }) {
            env.next();
        }
        let prepare = env.dispatched();
        let JobSpec::Prepare(spec) = &prepare.1.spec else { continue };
        order.push((spec.artifact.code_hash.0[0], spec.threads));
        let failed = PrepareOutcome::Failed(PrepareError::OutOfMemory);
        env.report(&prepare, JobOutcome::Prepare(failed));
    }
    // The first was dispatched before anything more urgent was looked up.
    assert_eq!(order, [(1, 1), (4, 0), (3, 0), (2, 1)]);
}

#[test]
fn a_later_request_raises_a_queued_preparation() {
    let mut env = small_fleet();
    for n in 1..=3 {
        env.submit(n, n as u8, Work::HeadsUp);
        env.event(Event::LookedUp { artifact: Env::artifact(n as u8), found: Ok(None) });
    }
    env.submit(4, 3, execute(ExecuteKind::Dispute));
    env.effects.retain(|e| matches!(e, Effect::ToWorker { .. }));
    let first = env.dispatched();
    env.prepared(&first, 1);
    let (_, second) = env.dispatched();
    let JobSpec::Prepare(spec) = second.spec else { panic!() };
    assert_eq!(spec.artifact, *Env::artifact(3));
}

#[test]
fn executions_by_urgency_then_arrival() {
    let mut env = warm_fleet();
    // Fill both slots.
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (a, _b) = (env.dispatched(), env.dispatched());
    let kinds = [
        ExecuteKind::Backing,
        ExecuteKind::Approval,
        ExecuteKind::BackingSystem,
        ExecuteKind::Dispute,
        ExecuteKind::Approval,
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        env.submit(10 + n as u64, 1, execute(kind));
    }
    env.quiet();
    let mut running = a;
    let mut order = Vec::new();
    for _ in 0..5 {
        env.executed(&running, valid());
        env.verdict();
        running = env.dispatched();
        order.push(running.1.request.unwrap());
    }
    assert_eq!(order, [13, 11, 14, 12, 10].map(request));
}

#[test]
fn the_artifact_is_looked_for_where_it_is_warm() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (_, b) = (env.dispatched(), env.dispatched());
    env.executed(&b, valid());
    env.verdict();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().0, b.0);
}

#[test]
fn parameters_without_effect_on_the_artifact_do_not_prepare_again() {
    let mut env = warm_fleet();
    let same = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(4096)]);
    env.submit_with(1, 1, same, execute(ExecuteKind::Backing));
    assert!(matches!(env.dispatched().1.spec, JobSpec::Execute(_)));
    let other = ExecutorParams(vec![ExecutorParam::StackLogicalMax(2048)]);
    env.submit_with(2, 1, other, execute(ExecuteKind::Backing));
    assert!(matches!(env.next(), Effect::LookUp { .. }));
}

#[test]
fn a_request_seen_again_is_not_done_again() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    env.executed(&run, valid());
    let first = env.verdict();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.verdict(), first, "the kept verdict is sent again");
    env.quiet();
}

#[test]
fn requests_wait_for_a_fleet() {
    let mut env = Env::new();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    env.worker(2, WorkerKind::Execute, 1);
    env.looked_up(1, None);
    env.quiet();
    env.worker(1, WorkerKind::Prepare, 1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    env.executed(&run, valid());
    env.verdict();
}

#[test]
fn orphaned_backing_work_is_dropped() {
    let mut env = Env::new();
    for (n, kind, leaf) in [
        (1, ExecuteKind::Backing, 1),
        (2, ExecuteKind::Backing, 2),
        (3, ExecuteKind::Dispute, 1),
        (4, ExecuteKind::BackingSystem, 1),
    ] {
        let Work::Execute(mut work) = execute(kind) else { unreachable!() };
        work.relay_leaf = Some([leaf; 32]);
        env.submit(n, 1, Work::Execute(work));
    }
    let activated = Some(ActiveLeaf { hash: [3; 32], ancestors: vec![[2; 32]] });
    let update = ActiveLeavesUpdate { activated, deactivated: vec![[1; 32]] };
    env.event(Event::Leaves { node: node(2), update: update.clone(), reply: None });
    env.quiet();
    env.event(Event::Leaves { node: node(1), update, reply: None });
    let mut told = [env.verdict(), env.verdict()].map(|verdict| (verdict.request, verdict.outcome));
    told.sort_by_key(|(request, _)| *request);
    assert_eq!(told, [1, 4].map(|n| (request(n), Outcome::ExecutionDeadline)));
    env.quiet();
}

#[test]
fn contradicting_parameters_and_limits_are_refused_by_name() {
    let mut env = small_fleet();
    let twice = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1), ExecutorParam::MaxMemoryPages(2)]);
    let submission = |executor_params, answer_within| Submission {
        id: request(1),
        node: node(1),
        code: CodeRef { hash: CodeHash([1; 32]), blob: BlobRef::Inline(Bytes::new()) },
        code_bomb_limit: 1,
        executor_params,
        prepare_timeout: None,
        answer_within,
        work: Work::Precheck,
    };
    let refused = check(&submission(twice.clone(), Duration::from_secs(1))).unwrap_err();
    assert!(refused.to_string().contains("MaxMemoryPages given more than once"), "{refused}");
    let refused = check(&submission(ExecutorParams::default(), Duration::ZERO)).unwrap_err();
    assert!(refused.to_string().contains("answer_within: 0 is outside 1..=86400000 ms"), "{refused}");
    env.submit_with(1, 1, twice, Work::Precheck);
    env.quiet();
    assert_eq!(env.scheduler.requests.len(), 0);
}
