//! What the simulation and the fuzzer have found, each as short as it gets.

use super::*;

/// Its artifact could not be made again while another execution was queued for it: that one lost its way.
#[test]
fn an_artifact_that_is_given_up_is_asked_for_again_by_who_is_queued() {
    let mut env = Env::with(strict());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let run = env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Dispute));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    // The only slot is kept busy, so that both stay in the queue; then the artifact turns out to be gone.
    env.event(Event::Heartbeat {
        heartbeat: Heartbeat {
            draining: true,
            ..heartbeat(2, vec![RunningJob { token: TOKEN, job: run.1.job, attempt: 1 }])
        },
        reply: None,
    });
    env.executed(&run, ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into())));
    assert_eq!(env.next(), Effect::Drop { artifact: Env::artifact(1) });
    env.event(Event::Dropped { artifact: Env::artifact(1) });
    for _ in 0..3 {
        let prepare = env.dispatched();
        let failed = PrepareOutcome::Internal(InternalError::Kernel("full".into()));
        env.report(&prepare, JobOutcome::Prepare(failed));
    }
    assert!(matches!(env.verdict().outcome, Outcome::Internal(_)), "who waited for it is told");
    env.quiet();
    env.event(Event::Heartbeat { heartbeat: heartbeat(2, vec![]), reply: None });
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    for _ in 0..2 {
        let run = env.dispatched();
        env.executed(&run, valid());
        assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
    }
}

/// Two attempts of one job were at one worker, the first still being stopped, because nobody had said whether that had
/// arrived. Now the first is the only one until its worker, or the worker's silence, has said that it is lost.
#[test]
fn an_attempt_whose_dispatch_was_not_answered_is_the_only_one() {
    let mut env = Env::with(Policy { ahead: 2, ..strict() });
    env.worker(1, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let Effect::ToWorker { worker: at, message: ToWorker::Dispatch(d) } = env.next() else { panic!() };
    let (job, attempt) = (d.job, d.attempt);
    let delivery = Delivery::Unknown("lost".into());
    env.event(Event::Delivered { worker: at, job, attempt, command: Command::Dispatch, delivery });
    let has = |env: &Env| -> Vec<_> {
        let jobs = env.scheduler.fleet.workers.get(&at).unwrap().jobs.iter();
        jobs.map(|s| RunningJob { token: TOKEN, job: s.job, attempt: s.attempt }).collect()
    };
    let both = has(&env);
    for _ in 0..10 {
        env.pass(Duration::from_secs(1));
        env.event(Event::Heartbeat { heartbeat: heartbeat(1, both.clone()), reply: None });
    }
    env.quiet();
    assert_eq!(has(&env), both);
    // It had not arrived.
    env.event(Event::Heartbeat { heartbeat: heartbeat(1, both[..1].to_vec()), reply: None });
    let (again, second) = env.dispatched();
    assert_eq!((again, second.job, second.attempt), (at, job, 2));
    assert_eq!(env.scheduler.fleet.workers.get(&at).unwrap().jobs.len(), 2);
}

/// A new coordinator knew the artifacts from the store, but no worker yet, and pruned what the requests that waited
/// for one were going to need.
#[test]
fn nothing_is_pruned_while_nobody_can_say_what_is_needed() {
    let mut env = Env::with(Policy { artifact_ttl: Duration::from_secs(24 * 3600), ..strict() });
    let idle = Duration::from_secs(100 * 24 * 3600);
    env.event(Event::Listed(vec![Listed { artifact: (*Env::artifact(1)).clone(), bytes: 1000, idle }]));
    env.submit_with(1, 1, ExecutorParams::default(), execute(ExecuteKind::Backing));
    env.scheduler.on_prune(env.now);
    env.drain();
    env.quiet();
    env.worker(1, WorkerKind::Execute, 1);
    env.looked_up(1, Some(Found::Prepared(info(1))));
    env.dispatched();
}

/// Whoever joins an execution needs its artifact as much as who asked first.
#[test]
fn joining_counts_as_need() {
    let mut env = Env::with(strict());
    env.worker(1, WorkerKind::Execute, 1);
    let Work::Execute(mut work) = execute(ExecuteKind::Backing) else { unreachable!() };
    work.fresh = false;
    let work = Work::Execute(work);
    env.submit(1, 1, work.clone());
    env.looked_up(1, Some(Found::Prepared(info(1))));
    env.dispatched();
    env.pass(Duration::from_secs(5));
    env.submit(2, 1, work);
    let needed = env.scheduler.artifacts.iter().map(|(_, a)| a.last_needed).max();
    assert_eq!(needed, Some(env.now));
}

/// Found by reading: what waits at a worker that dies was always taken for unbegun. One that kills its workers in the
/// moment in which it begins would have been tried for ever, and others blamed for it.
#[test]
fn what_waits_at_dying_workers_again_and_again_is_not_tried_for_ever() {
    let mut env =
        Env::with(Policy { client_silence: Duration::from_secs(100_000), max_deaths: 2, ..Policy::default() });
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 2, execute(ExecuteKind::Backing));
    let mut endings = Vec::new();
    for n in 1..=4 {
        env.worker(n, WorkerKind::Execute, 1);
        while let Some(effect) = env.effects.pop_front() {
            match effect {
                Effect::LookUp { artifact } => {
                    env.event(Event::LookedUp { artifact, found: Ok(Some(Found::Prepared(info(1)))) });
                }
                Effect::Verdict { verdict, .. } => endings.push(verdict.outcome.clone()),
                _ => {}
            }
        }
        // It has one job and holds the other, and dies.
        env.pass(Duration::from_secs(7));
    }
    while let Some(effect) = env.effects.pop_front() {
        if let Effect::Verdict { verdict, .. } = effect {
            endings.push(verdict.outcome.clone());
        }
    }
    assert_eq!(endings, vec![Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath); 2]);
}

/// Found by seed 35: a preparation was dispatched for a request whose deadline had just passed. It is prepared, because
/// somebody else may want it, but for nobody by name, and the request is told before that it is too late.
#[test]
fn a_preparation_is_not_dispatched_for_a_request_that_is_too_late() {
    let mut env = small_fleet();
    for code in [1, 2, 3] {
        env.submit(code.into(), code, if code == 3 { Work::Precheck } else { execute(ExecuteKind::Backing) });
        env.event(Event::LookedUp { artifact: Env::artifact(code), found: Ok(None) });
    }
    env.effects.retain(|e| matches!(e, Effect::ToWorker { .. }));
    let first = env.dispatched();
    env.keep_alive(1..=3, 600);
    assert!(env.effects.is_empty(), "no timer has gone off yet: {:?}", env.effects);
    env.prepared(&first, 1);
    let mut told = 0;
    while let Some(effect) = env.effects.pop_front() {
        match effect {
            Effect::Verdict { verdict, .. } if verdict.request != request(1) => {
                assert_eq!(verdict.outcome, Outcome::ExecutionDeadline);
                told += 1;
            }
            Effect::ToWorker { message: ToWorker::Dispatch(dispatch), .. } => {
                assert_eq!((dispatch.request, told), (None, 1), "{dispatch:?}");
                return;
            }
            _ => {}
        }
    }
    panic!("the next one is prepared");
}

/// Found by seed 338: a client that asked again for what was answered, or was turned away, counted as silent, and what
/// it waited for was dropped.
#[test]
fn whatever_a_client_submits_is_a_sign_of_life() {
    let one = Limit { requests: 2, bytes: 1000 };
    let mut env = Env::with(Policy { client_silence: Duration::from_secs(30), per_client: one, ..strict() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let run = env.dispatched();
    env.executed(&run, valid());
    env.verdict();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.submit(3, 1, execute(ExecuteKind::Backing));
    for n in [1, 4] {
        env.keep_alive(2..=2, 20);
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    assert_eq!(env.verdict().request, request(1), "kept for who did not hear it");
    env.keep_alive(2..=2, 20);
    env.executed(&run, valid());
    env.verdict();
    assert_eq!(env.dispatched().1.request, Some(request(3)));
}

/// Sizes that nothing has were added up, and that went over.
#[test]
fn sizes_of_artifacts_that_cannot_be_are_not_added_up() {
    let mut env = small_fleet();
    for code in 1..=3 {
        env.submit(code.into(), code, Work::Precheck);
        env.looked_up(code, None);
        let prepare = env.dispatched();
        let huge = ArtifactInfo { bytes: u64::MAX, mac: Mac([code; 32]) };
        env.report(&prepare, JobOutcome::Prepare(PrepareOutcome::Prepared(huge)));
        assert_eq!(env.verdict().outcome, Outcome::PrecheckOk);
    }
    env.event(Event::Status { host: None, reply: Some(subjects::from_node(&FleetName::default())) });
    assert!(matches!(env.next(), Effect::Reply { .. }));
    let listed = Listed { artifact: (*Env::artifact(9)).clone(), bytes: u64::MAX, idle: Duration::ZERO };
    env.event(Event::Listed(vec![listed]));
    env.pass(Policy::default().artifact_ttl);
}

/// A worker reported that it had prepared what it was to execute, and the other way round: the job had no slot any
/// more, and waited for a report for ever.
#[test]
fn a_report_of_the_other_kind_is_no_report() {
    let mut env = Env::with(strict());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.executed(&prepare, valid());
    let prepare = env.dispatched();
    assert_eq!(prepare.1.attempt, 2);
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    env.prepared(&run, 1);
    let run = env.dispatched();
    assert_eq!(run.1.attempt, 2);
    env.executed(&run, valid());
    assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
    env.quiet();
}

/// What a heads-up would have had prepared otherwise was kept for ever, although nobody used it.
#[test]
fn a_heads_up_leaves_nothing_behind() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::HeadsUp);
    assert_eq!(env.next(), Effect::LookUp { artifact: Env::artifact(1) });
    assert_eq!(env.verdict().outcome, Outcome::HeadsUpTaken);
    // The same artifact, within other limits.
    for (n, pages) in [(2, 1), (3, 2), (4, 3)] {
        env.submit_with(n, 1, ExecutorParams(vec![ExecutorParam::MaxMemoryPages(pages)]), Work::HeadsUp);
        assert_eq!(env.verdict().outcome, Outcome::HeadsUpTaken);
        assert_eq!(env.scheduler.programs.len(), 1);
    }
}
