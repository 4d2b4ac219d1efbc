//! What people see of the scheduler.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{
    ArtifactCondition, ArtifactFilter, ArtifactOrder, Command, Delivery, RequestFilter, Stage, WorkKind,
    WorkerCondition, WorkerFilter,
};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::{CodeHash, FencingToken},
    priority::ExecuteKind,
    verdict::PrepareError,
    wire::{
        CommandRefusal, CompileProgress, Compiling, CompilingRequest, Heartbeat, RunningJob, SecurityStatus, Work,
        WorkerHello, WorkerKind,
    },
};
use std::time::Duration;

fn assert_says(env: &Env, n: u64, stage: Stage, words: &[&str]) {
    let (view, why) = env.explained(n);
    assert_eq!(view.stage, stage, "{why}");
    for words in words {
        assert!(why.contains(words), "{words:?} is not in:\n{why}");
    }
}

#[test]
fn an_execution_is_explained_at_every_stage() {
    let mut env = Env::with(unstaged());
    env.submit(1, 1, execute(ExecuteKind::Approval));
    assert_says(&env, 1, Stage::AwaitingEngine, &["No execute worker is registered", "expires in 10 min"]);
    env.worker(2, WorkerKind::Execute, 1);
    assert_says(&env, 1, Stage::AwaitingArtifact, &["The store is asked"]);
    env.looked_up(1, None);
    let words = ["is to be prepared", "critical priority", "No prepare worker that compiles for its engine"];
    assert_says(&env, 1, Stage::AwaitingArtifact, &words);
    env.worker(1, WorkerKind::Prepare, 1);
    let prepare = env.dispatched();
    env.pass(Duration::from_secs(2));
    assert_says(&env, 1, Stage::Preparing, &["attempt 1 has been at", "on host1 for 2.0 s"]);
    assert_eq!(env.explained(1).0.worker, Some((worker(1), "host1".into())));
    assert_eq!((env.explained(1).0.compiling, env.compiling(1, &[1])), (None, vec![]));
    let progress = CompileProgress { compiled: 812, functions: 3456 };
    env.heartbeat_with(1, compiling(&prepare, progress));
    assert_says(&env, 1, Stage::Preparing, &["on host1 for 2.0 s, 812 of 3456 functions compiled."]);
    assert_eq!(env.explained(1).0.compiling, Some(progress));
    assert_eq!(env.compiling(1, &[1]), [CompilingRequest { request: request(1), job: prepare.job, progress }]);
    env.prepared(&prepare, 1);
    assert_eq!((env.explained(1).0.compiling, env.compiling(1, &[1])), (None, vec![]));
    let run = env.dispatched();
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 1, execute(ExecuteKind::Dispute));
    assert_says(&env, 1, Stage::Running, &["Attempt 1 has been at", "on host2", "may take 12.0 s of CPU time"]);
    let words = ["has been queued as backing", "1 dispute, 1 backing", "1 of 1 slots of 1 execute workers are taken"];
    assert_says(&env, 2, Stage::Queued, &words);
    assert_eq!(env.explained(3).0.work, WorkKind::Execute(ExecuteKind::Dispute));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let dispute = env.dispatched();
    env.executed(&dispute, job_outcome());
    // Another machine is to be asked, and there is none: the same one gets it.
    let again = env.dispatched();
    assert_says(&env, 3, Stage::Running, &["Attempt 2 has been at", "Attempt 1 at", "ended as ambiguous"]);
    env.executed(&again, valid());
    assert!(is_valid(&env.verdict_of(3)));
    let last = env.dispatched();
    env.executed(&last, valid());
    assert!(is_valid(&env.verdict_of(2)));
    assert_eq!(env.requests(&RequestFilter { limit: 9, ..RequestFilter::default() }).entries, []);
}

fn compiling(job: &Job, progress: CompileProgress) -> Heartbeat {
    let compiling = vec![Compiling { attempt: job.listed(), progress }];
    Heartbeat { running: vec![job.listed()], compiling, ..Heartbeat::default() }
}

#[test]
fn progress_is_that_of_the_attempt_under_way() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Approval));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    // More than there are, and of attempts that it has not.
    let all = CompileProgress { compiled: u32::MAX, functions: 7 };
    let mut heartbeat = compiling(&prepare, all);
    let next = RunningJob { attempt: prepare.attempt + 1, ..prepare.listed() };
    heartbeat.compiling.insert(0, Compiling { attempt: next, progress: CompileProgress::default() });
    env.heartbeat_with(1, heartbeat.clone());
    assert_eq!(env.explained(1).0.compiling, None, "no more are looked at than the worker has jobs");
    heartbeat.compiling.reverse();
    env.heartbeat_with(1, heartbeat);
    assert_eq!(env.explained(1).0.compiling, Some(CompileProgress { compiled: 7, functions: 7 }));
    // Not of an attempt with the token of another coordinator.
    let other = RunningJob { token: FencingToken(prepare.token.0 + 1), ..prepare.listed() };
    let foreign = vec![Compiling { attempt: other, progress: CompileProgress { compiled: 1, functions: 9 } }];
    env.heartbeat_with(1, Heartbeat { running: vec![prepare.listed()], compiling: foreign, ..Heartbeat::default() });
    assert_eq!(env.explained(1).0.compiling, Some(CompileProgress { compiled: 7, functions: 7 }));
    // Another client does not learn it.
    assert_eq!(env.compiling(2, &[1]), []);
    env.cancel(1, 1);
}

fn job_outcome() -> pvf_proto::job::ExecuteOutcome {
    pvf_proto::job::ExecuteOutcome::Ambiguous(job_death())
}

#[test]
fn a_queue_whose_workers_are_all_suspect_is_explained() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    for _ in 0..2 {
        let run = env.dispatch_without_answer();
        env.delivered(&run, Command::Dispatch, Delivery::Refused(CommandRefusal::NoFreeSlot));
    }
    assert_says(&env, 1, Stage::Queued, &["2 of these workers are suspect", "2 dispatches came back"]);
    let suspects = WorkerFilter { condition: Some(WorkerCondition::Suspect), limit: 9, ..WorkerFilter::default() };
    assert_eq!(env.workers(&suspects).matching, 2);
    assert_eq!(env.gauges().workers_by_condition, [[1, 0, 0, 0], [0, 2, 0, 0]]);
    env.cancel(1, 1);
}

#[test]
fn requests_are_listed_newest_first_and_by_what_is_asked_for() {
    let mut env = Env::with(unstaged());
    for n in 1..=4 {
        env.pass(Duration::from_millis(10));
        let kind = if n % 2 == 0 { ExecuteKind::Dispute } else { ExecuteKind::Backing };
        env.submit_as(n, n, candidate(kind, n as u8));
    }
    env.submit(5, 2, Work::Precheck);
    let ids = |filter: RequestFilter| {
        let page = env.requests(&RequestFilter { limit: 3, ..filter });
        assert!(page.complete);
        (page.entries.into_iter().map(|view| view.request).collect::<Vec<_>>(), page.matching)
    };
    let all = RequestFilter::default;
    let of = |ids: &[u64]| ids.iter().map(|n| request(*n)).collect::<Vec<_>>();
    assert_eq!(ids(all()), (of(&[4, 5, 3]), 5));
    assert_eq!(ids(RequestFilter { kind: Some(ExecuteKind::Dispute), ..all() }), (of(&[4, 2]), 2));
    assert_eq!(ids(RequestFilter { code: Some(CodeHash([2; 32])), ..all() }), (of(&[5]), 1));
    assert_eq!(ids(RequestFilter { user: Some(client(3).user), ..all() }), (of(&[3]), 1));
}

#[test]
fn the_age_of_a_queue_is_that_of_its_oldest_job() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, candidate(ExecuteKind::Approval, 2));
    env.pass(Duration::from_secs(3));
    env.submit(3, 1, candidate(ExecuteKind::Approval, 3));
    env.pass(Duration::from_secs(1));
    let approvals = |env: &Env| (env.gauges().execute_queue[1], env.gauges().execute_oldest[1]);
    assert_eq!(approvals(&env), (2, Duration::from_secs(4)));
    assert_eq!(env.gauges().execute_oldest[0], Duration::ZERO);
    env.cancel(1, 2);
    assert_eq!(approvals(&env), (1, Duration::from_secs(1)));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(approvals(&env), (0, Duration::ZERO));
    assert_eq!(env.gauges().attempts, 1);
    let last = env.dispatched();
    env.executed(&last, valid());
    assert!(is_valid(&env.verdict_of(3)));
    env.worker(1, WorkerKind::Prepare, 1);
    env.submit(4, 4, Work::Precheck);
    env.looked_up(4, None);
    env.dispatched();
    env.submit(5, 5, Work::Precheck);
    env.looked_up(5, None);
    env.pass(Duration::from_secs(2));
    assert_eq!(env.gauges().prepare_oldest, [Duration::ZERO, Duration::from_secs(2), Duration::ZERO]);
}

#[test]
fn artifacts_are_listed_with_their_condition() {
    let mut env = small_fleet();
    for code in 1..=3 {
        env.pass(Duration::from_secs(1));
        env.submit(code.into(), code, Work::Precheck);
    }
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.looked_up(2, Some(StoredArtifact::Failed(PrepareError::OutOfMemory)));
    env.take_all();
    let list = |filter: ArtifactFilter| {
        let page = env.artifacts(&ArtifactFilter { limit: 9, ..filter });
        page.entries.into_iter().map(|view| (view.id.code_hash.0[0], view.condition, view.error)).collect::<Vec<_>>()
    };
    let by_code = |mut listed: Vec<(u8, ArtifactCondition, Option<String>)>| {
        listed.sort_by_key(|(code, ..)| *code);
        listed
    };
    let all = ArtifactFilter::default;
    let failed = PrepareError::OutOfMemory.to_string();
    let listed = by_code(list(all()));
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!(listed[0].0, 1);
    assert_eq!(listed[1], (2, ArtifactCondition::Failed, Some(failed)));
    assert_eq!(listed[2], (3, ArtifactCondition::LookingUp, None));
    assert_eq!(list(ArtifactFilter { code: Some(CodeHash([2; 32])), ..all() }).len(), 1);
    assert_eq!(list(ArtifactFilter { order: ArtifactOrder::Bytes, ..all() })[0].0, 1);
    assert_eq!(list(ArtifactFilter { engine: Some(engine("other")), ..all() }), []);
}

#[test]
fn workers_are_listed_with_what_they_do() {
    let (mut env, run) = one_busy_worker(staged());
    env.submit(2, 1, candidate(ExecuteKind::Backing, 2));
    env.dispatched();
    let insecure = SecurityStatus { secure: false, missing: vec!["landlock".into()] };
    env.register(5, WorkerHello { security: insecure, ..hello(5, WorkerKind::Execute) });
    env.take_all();
    env.pass(Duration::from_secs(1));
    let page = env.workers(&WorkerFilter { host: Some("host2".into()), limit: 1, ..WorkerFilter::default() });
    let [busy] = page.entries.try_into().unwrap();
    assert_eq!((busy.status.id, busy.status.running, busy.staged), (worker(2), 1, 1));
    assert_eq!((busy.condition, busy.silent), (WorkerCondition::Available, Duration::from_secs(1)));
    assert_eq!((env.gauges().insecure_workers, env.gauges().staged), (2, [0, 1]));
    assert_eq!(env.workers(&WorkerFilter { kind: Some(WorkerKind::Prepare), ..WorkerFilter::default() }).matching, 0);
    env.drain(2);
    env.take_all();
    let draining = WorkerFilter { condition: Some(WorkerCondition::Draining), limit: 9, ..WorkerFilter::default() };
    assert_eq!(env.workers(&draining).entries[0].status.id, worker(2));
    drop(run);
}
