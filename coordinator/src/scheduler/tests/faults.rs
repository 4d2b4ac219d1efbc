//! What happens when something does not work: retries and blame by the table.

use super::*;

fn ambiguous() -> ExecuteOutcome {
    ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into()))
}

#[test]
fn an_ambiguous_failure_is_asked_once_more_elsewhere() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ambiguous());
    let second = env.dispatched();
    assert_ne!(first.0, second.0);
    assert_eq!(second.1.attempt, 2);
    env.executed(&second, ambiguous());
    let verdict = env.verdict();
    assert!(matches!(verdict.outcome, Outcome::PossiblyInvalid(AmbiguousReason::JobDeath(_))));
    assert_eq!(verdict.attempts, 2);
    env.quiet();
}

#[test]
fn it_waits_for_the_other_worker_rather_than_asking_the_same_one() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (first, other) = (env.dispatched(), env.dispatched());
    env.executed(&first, ambiguous());
    env.quiet();
    // What is behind it in the queue is not held up.
    env.submit(3, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().0, first.0);
    env.executed(&other, valid());
    env.verdict();
    let second = env.dispatched();
    assert_eq!((second.0, second.1.request), (other.0, Some(request(1))));
}

#[test]
fn alone_it_asks_the_same_worker() {
    let mut env = Env::with(strict());
    env.worker(1, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, ambiguous());
    assert_eq!(env.dispatched().0, first.0);
}

#[test]
fn another_host_is_preferred_to_another_worker() {
    let mut env = Env::with(strict());
    env.worker_on(1, WorkerKind::Execute, 1, "a");
    env.worker_on(2, WorkerKind::Execute, 1, "a");
    env.worker_on(3, WorkerKind::Execute, 1, "b");
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, ambiguous());
    let second = env.dispatched();
    assert_eq!(first.0 == worker(3), second.0 != worker(3), "{:?} then {:?}", first.0, second.0);
}

#[test]
fn a_suspected_artifact_is_dropped_and_prepared_again() {
    for reason in
        [AmbiguousReason::CorruptedArtifact("mac".into()), AmbiguousReason::RuntimeConstruction("link".into())]
    {
        let mut env = warm_fleet();
        env.submit(1, 1, execute(ExecuteKind::Backing));
        let first = env.dispatched();
        env.executed(&first, ExecuteOutcome::Ambiguous(reason.clone()));
        assert_eq!(env.next(), Effect::Drop { artifact: Env::artifact(1) });
        env.quiet();
        env.event(Event::Dropped { artifact: Env::artifact(1) });
        let prepare = env.dispatched();
        assert!(matches!(prepare.1.spec, JobSpec::Prepare(_)));
        env.prepared(&prepare, 2);
        let second = env.dispatched();
        let JobSpec::Execute(spec) = &second.1.spec else { panic!() };
        assert_eq!(spec.mac, Some(info(2).mac), "the fresh one");
        env.executed(&second, ExecuteOutcome::Ambiguous(reason.clone()));
        assert_eq!(env.verdict().outcome, Outcome::PossiblyInvalid(reason));
        env.quiet();
    }
}

#[test]
fn a_missing_artifact_is_ours_and_is_prepared_again() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    let missing = InternalError::ArtifactMissing("gone".into());
    env.executed(&first, ExecuteOutcome::Internal(missing));
    assert_eq!(env.next(), Effect::Drop { artifact: Env::artifact(1) });
    env.event(Event::Dropped { artifact: Env::artifact(1) });
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    let second = env.dispatched();
    env.executed(&second, valid());
    let verdict = env.verdict();
    assert!(matches!(verdict.outcome, Outcome::Valid(_)));
    assert!(!verdict.artifact.unwrap().cached);
}

#[test]
fn our_own_failures_are_retried_then_said() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let error = InternalError::Kernel("emfile".into());
    for _ in 0..3 {
        let run = env.dispatched();
        env.executed(&run, ExecuteOutcome::Internal(error.clone()));
    }
    assert_eq!(env.verdict().outcome, Outcome::Internal(error));
    env.quiet();
}

#[test]
fn a_lost_worker_is_an_ambiguous_death() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    let other = if first.0 == worker(2) { 3 } else { 2 };
    // Only the other one keeps talking.
    for _ in 0..7 {
        env.pass(Duration::from_secs(1));
        let heartbeat = heartbeat(other, vec![]);
        env.event(Event::Heartbeat { heartbeat, reply: None });
    }
    let second = env.dispatched();
    assert_eq!(second.0, worker(other));
    env.executed(&first, valid());
    env.quiet();
    env.executed(&second, valid());
    assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
}

#[test]
fn silence_counts_only_while_our_own_link_is_up() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.event(Event::Link { up: false });
    env.pass(Duration::from_secs(60));
    env.quiet();
    env.event(Event::Link { up: true });
    env.pass(Duration::from_secs(3));
    env.quiet();
    env.executed(&run, valid());
    assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
}

#[test]
fn a_dispatch_that_nobody_took_costs_no_attempt_at_blame() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    for _ in 0..2 {
        let Effect::ToWorker { worker, message: ToWorker::Dispatch(d) } = env.next() else { panic!() };
        let (job, attempt) = (d.job, d.attempt);
        env.event(Event::Delivered { worker, job, attempt, command: Command::Dispatch, delivery: Delivery::Nobody });
    }
    // Both are suspect now, until one is heard of.
    env.quiet();
    env.event(Event::Heartbeat { heartbeat: heartbeat(3, vec![]), reply: None });
    let run = env.dispatched();
    env.executed(&run, ambiguous());
    env.event(Event::Heartbeat { heartbeat: heartbeat(2, vec![]), reply: None });
    let run = env.dispatched();
    env.executed(&run, valid());
    assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
}

/// A dispatch whose fate is not known: the number of its worker, which gets nothing more until it is heard of.
fn unanswered(env: &mut Env) -> u64 {
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let Effect::ToWorker { worker: first, message: ToWorker::Dispatch(d) } = env.next() else { panic!() };
    let (job, attempt) = (d.job, d.attempt);
    let delivery = Delivery::Unknown("timeout".into());
    env.event(Event::Delivered { worker: first, job, attempt, command: Command::Dispatch, delivery });
    env.quiet();
    assert!(env.scheduler.fleet.workers.get(&first).unwrap().suspect);
    if first == worker(2) { 2 } else { 3 }
}

#[test]
fn whether_an_unanswered_dispatch_arrived_its_worker_says() {
    let mut env = warm_fleet();
    let first = unanswered(&mut env);
    env.pass(Duration::from_secs(5));
    env.event(Event::Heartbeat { heartbeat: heartbeat(first, vec![]), reply: None });
    let second = env.dispatched();
    assert_ne!(second.0, worker(first));
    assert_eq!(env.scheduler.fleet.workers.get(&worker(first)).unwrap().jobs.len(), 0);
    env.executed(&second, valid());
    assert_eq!(env.verdict().attempts, 2);
}

#[test]
fn a_worker_that_vanished_before_it_answered_may_have_died_of_the_job() {
    let mut env = warm_fleet();
    let first = unanswered(&mut env);
    env.pass(Duration::from_secs(5));
    env.event(Event::Heartbeat { heartbeat: heartbeat(5 - first, vec![]), reply: None });
    env.pass(Duration::from_secs(2));
    let second = env.dispatched();
    env.executed(&second, ambiguous());
    assert!(matches!(env.verdict().outcome, Outcome::PossiblyInvalid(_)), "two attempts were asked");
}

#[test]
fn a_report_that_answers_its_dispatch_is_acknowledged_with_the_next_one() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    let runs = [env.dispatched(), env.dispatched()];
    let done = |run: &(WorkerId, Dispatch)| RunningJob { token: TOKEN, job: run.1.job, attempt: 1 };
    env.reported(&runs[0], JobOutcome::Execute(valid()), None);
    env.verdict();
    let third = env.dispatched();
    assert_eq!((third.0, &third.1.acknowledged[..]), (runs[0].0, &[done(&runs[0])][..]));
    // Nothing goes to that worker: the acknowledgement goes alone.
    env.reported(&runs[1], JobOutcome::Execute(valid()), None);
    env.verdict();
    let message = ToWorker::Acknowledge { reports: vec![done(&runs[1])] };
    assert_eq!(env.next(), Effect::ToWorker { worker: runs[1].0, message });
    env.quiet();
}

#[test]
fn a_cancelled_request_frees_its_slot() {
    let mut env = Env::with(strict());
    env.worker(1, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(Found::Prepared(info(1))));
    let run = env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.event(Event::Cancel { request: request(1), node: node(9), reply: None });
    env.quiet();
    env.event(Event::Cancel { request: request(1), node: node(1), reply: None });
    assert!(matches!(env.next(), Effect::ToWorker { message: ToWorker::Cancel { .. }, .. }));
    env.quiet();
    let (job, attempt) = (run.1.job, run.1.attempt);
    env.event(Event::Delivered { worker: run.0, job, attempt, command: Command::Cancel, delivery: Delivery::Taken });
    assert_eq!(env.dispatched().1.request, Some(request(2)));
}

#[test]
fn past_its_deadline_a_request_is_answered_and_stopped() {
    let mut env = Env::with(strict());
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.pass(Duration::from_secs(601));
    assert_eq!(env.verdict().outcome, Outcome::ExecutionDeadline);
    env.quiet();
    assert_eq!(env.scheduler.requests.len(), 0);
}

#[test]
fn a_code_that_kills_prepare_workers_is_not_tried_for_ever() {
    let mut env = Env::with(strict());
    for n in 1..=4 {
        env.worker(n, WorkerKind::Prepare, 1);
    }
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    for _ in 0..3 {
        let (worker, _) = env.dispatched();
        // It falls silent; the others do not.
        for _ in 0..7 {
            env.pass(Duration::from_secs(1));
            for n in 1..=4 {
                let heartbeat = heartbeat(n, vec![]);
                if heartbeat.worker != worker && env.scheduler.fleet.workers.contains_key(&heartbeat.worker) {
                    env.event(Event::Heartbeat { heartbeat, reply: None });
                }
            }
        }
    }
    let verdict = env.verdict();
    assert!(matches!(verdict.outcome, Outcome::PreparationFailed(PrepareError::JobDied(_))), "{verdict:?}");
}

#[test]
fn the_queue_goes_on_after_every_worker_died() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.dispatched();
    env.submit(2, 2, execute(ExecuteKind::Backing));
    env.looked_up(2, None);
    env.dispatched();
    env.pass(Duration::from_secs(30));
    env.quiet();
    env.worker(11, WorkerKind::Prepare, 1);
    env.worker(12, WorkerKind::Execute, 1);
    let mut verdicts = 0;
    while !env.effects.is_empty() {
        match env.effects[0].clone() {
            Effect::Verdict { .. } => {
                assert!(matches!(env.verdict().outcome, Outcome::Valid(_)));
                verdicts += 1;
            }
            Effect::LookUp { artifact } => {
                env.next();
                env.event(Event::LookedUp { artifact, found: Ok(None) });
            }
            Effect::ToWorker { .. } => {
                let at = env.dispatched();
                match at.1.spec {
                    JobSpec::Prepare(_) => env.prepared(&at, 3),
                    JobSpec::Execute(_) => env.executed(&at, valid()),
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(verdicts, 2);
}

#[test]
fn a_job_that_a_worker_forgot_is_given_to_another() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    for _ in 0..5 {
        env.pass(Duration::from_secs(1));
        for n in 1..=3 {
            env.event(Event::Heartbeat { heartbeat: heartbeat(n, vec![]), reply: None });
        }
    }
    let again = env.dispatched();
    assert_ne!(again.0, run.0);
    env.executed(&again, valid());
    env.verdict();
}

#[test]
fn unknown_workers_are_asked_to_say_hello() {
    let mut env = Env::with(strict());
    let heartbeat = heartbeat(5, vec![]);
    let reply = Some(subjects::from_worker(&FleetName::default()));
    env.event(Event::Heartbeat { heartbeat, reply });
    assert!(matches!(env.next(), Effect::Reply { answer: Answer::Worker(WorkerReply::SayHello), .. }));
}

#[test]
fn a_store_that_cannot_be_asked_is_ours() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let Effect::LookUp { artifact } = env.next() else { panic!() };
    env.event(Event::LookedUp { artifact, found: Err("down".into()) });
    assert_eq!(env.verdict().outcome, Outcome::Internal(InternalError::Store("down".into())));
    // Nothing is kept of that: the next one asks again.
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
}
