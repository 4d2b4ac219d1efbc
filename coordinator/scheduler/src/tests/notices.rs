//! Notices about workers, clients, artifacts and reports: each when it should be, and once. Those about retries are in
//! `retry_notices`, those about contradictions in `inconsistency`.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, Delivery, DropReason, Event, Listed, Notice, Policy, RetryReason, UserLimits};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::CodeHash,
    job::{JobOutcome, JobUsage, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{AmbiguousReason, Outcome, PrepareError},
    wire::{CommandRefusal, Refusal, SubmitReply, Work, WorkerHello, WorkerKind},
};
use std::time::Duration;

fn joined(n: u64, hello: WorkerHello) -> Notice {
    Notice::WorkerJoined { worker: worker(n), hello: Box::new(hello) }
}

fn reported(job: &Job, kind: Option<ExecuteKind>) -> Notice {
    let (usage, queued) = (Box::default(), Duration::ZERO);
    let (worker, about, end) = (job.worker, job.subject(), if kind.is_some() { "valid" } else { "prepared" });
    Notice::JobReported { job: job.job, attempt: job.attempt, worker, about, end, kind, queued, usage }
}

fn ended_as(name: &'static str, reported: Notice) -> Notice {
    match reported {
        Notice::JobReported { job, attempt, worker, about, kind, queued, usage, .. } => {
            Notice::JobReported { job, attempt, worker, about, end: name, kind, queued, usage }
        }
        other => panic!("a report was expected, not {other:?}"),
    }
}

/// Worker 2 was lost after 6 s of silence with this first attempt of an execution, which is tried again.
fn lost_and_retried(run: &Job) -> [Notice; 2] {
    let silent = Duration::from_secs(6);
    let retried = Notice::JobRetried {
        job: run.job,
        attempt: 1,
        kind: WorkerKind::Execute,
        worker: worker(2),
        about: run.subject(),
        why: RetryReason::WorkerLost,
    };
    [Notice::WorkerLost { worker: worker(2), host: "host2".into(), jobs: 1, silent }, retried]
}

#[test]
fn a_worker_joins_once_and_its_engine_is_seen_once() {
    let mut env = Env::with(unstaged());
    let first = hello(1, WorkerKind::Execute);
    env.register(1, first.clone());
    assert_eq!(env.new_notices(), [Notice::EngineSeen { engine: engine(ENGINE) }, joined(1, first.clone())]);
    env.register(1, first.clone());
    assert_eq!(env.new_notices(), [], "the worker had missed the answer");
    env.register(2, hello(2, WorkerKind::Prepare));
    assert_eq!(env.new_notices(), [joined(2, hello(2, WorkerKind::Prepare))]);
    env.goodbye(1);
    env.new_notices();
    env.register(1, first.clone());
    assert_eq!(env.new_notices(), [joined(1, first)], "the engine is known");
}

#[test]
fn an_engine_of_the_store_is_seen_once() {
    let mut env = Env::with(unstaged());
    let listed = |code| Listed { artifact: (*artifact(code)).clone(), bytes: 1000, idle: Duration::ZERO };
    env.event(Event::Listed(vec![listed(1), listed(2)]));
    assert_eq!(env.new_notices(), [Notice::EngineSeen { engine: engine(ENGINE) }]);
    env.register(1, hello(1, WorkerKind::Execute));
    assert_eq!(env.new_notices(), [joined(1, hello(1, WorkerKind::Execute))]);
}

#[test]
fn a_refused_registration_is_not_noticed() {
    let mut env = Env::with(unstaged());
    env.say_hello(1, WorkerHello { slots: 0, ..hello(1, WorkerKind::Execute) });
    assert_eq!(env.new_notices(), []);
}

#[test]
fn a_worker_leaves_once_with_its_jobs() {
    let (mut env, run) = one_busy_worker(staged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.dispatched();
    env.new_notices();
    env.goodbye(2);
    let retried = Notice::JobRetried {
        job: run.job,
        attempt: 1,
        kind: WorkerKind::Execute,
        worker: worker(2),
        about: run.subject(),
        why: RetryReason::NotBegun("the worker deregistered".into()),
    };
    let left = Notice::WorkerLeft { worker: worker(2), host: "host2".into(), jobs: 2 };
    assert_eq!(env.new_notices(), [left, retried], "the staged job was not begun");
    env.goodbye(2);
    assert_eq!(env.new_notices(), []);
}

#[test]
fn a_worker_is_lost_once_with_its_jobs() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.new_notices();
    env.pass(Duration::from_secs(5));
    assert_eq!(env.new_notices(), []);
    env.pass(Duration::from_secs(60));
    assert_eq!(env.new_notices(), lost_and_retried(&run));
}

#[test]
fn a_worker_becomes_suspect_once_and_recovers_once() {
    let mut env = Env::with(unstaged());
    env.worker(2, WorkerKind::Execute, 2);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (first, second) = (env.dispatch_without_answer(), env.dispatch_without_answer());
    env.new_notices();
    env.delivered(&first, Command::Dispatch, Delivery::Refused(CommandRefusal::NoFreeSlot));
    let refusal = CommandRefusal::NoFreeSlot.to_string();
    let suspect = Notice::WorkerSuspect { worker: worker(2), host: "host2".into(), why: refusal.clone() };
    let not_begun = |job: &Job, why: &str| Notice::JobRetried {
        job: job.job,
        attempt: 1,
        kind: WorkerKind::Execute,
        worker: worker(2),
        about: job.subject(),
        why: RetryReason::NotBegun(why.into()),
    };
    assert_eq!(env.new_notices(), [suspect, not_begun(&first, &refusal)]);
    env.delivered(&second, Command::Dispatch, Delivery::NoSubscriber);
    assert_eq!(env.new_notices(), [not_begun(&second, "no worker listens on its subject")]);
    env.heartbeat(2);
    assert_eq!(env.new_notices(), [Notice::WorkerRecovered { worker: worker(2) }]);
    env.heartbeat(2);
    assert_eq!(env.new_notices(), []);
    env.dispatched();
    let unanswered = env.dispatch_without_answer();
    env.delivered(&unanswered, Command::Dispatch, Delivery::Unknown("no answer".into()));
    let suspect = Notice::WorkerSuspect { worker: worker(2), host: "host2".into(), why: "no answer".into() };
    assert_eq!(env.new_notices(), [suspect]);
    env.worker(2, WorkerKind::Execute, 2);
    assert_eq!(env.new_notices(), [Notice::WorkerRecovered { worker: worker(2) }]);
}

#[test]
fn a_client_is_gone_once_while_it_waits_for_something() {
    let policy = Policy { client_silence: Duration::from_secs(30), ..unstaged() };
    let mut env = Env::with(policy);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.pass(Duration::from_secs(29));
    assert_eq!(env.new_notices(), []);
    let gone = [Notice::ClientGone { client: client(1), silent: Duration::from_secs(30) }];
    env.pass(Duration::from_secs(100));
    assert_eq!(env.new_notices(), gone);
    assert_eq!(env.ask(1, &[]), []);
    env.pass(Duration::from_secs(59));
    assert_eq!(env.new_notices().len(), 1, "once more after it was there again");
    env.cancel(1, 1);
    assert_eq!(env.ask(1, &[]), []);
    env.pass(Duration::from_secs(100));
    assert_eq!(env.new_notices(), [], "a client that waits for nothing may be silent");
}

#[test]
fn a_request_over_a_limit_is_shed() {
    let per_user = UserLimits { requests: 1, ..UserLimits::default() };
    let mut env = Env::with(Policy { per_user, ..unstaged() });
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.new_notices(), []);
    let reply = env.submit_as(1, 2, execute(ExecuteKind::Backing));
    let SubmitReply::Refused(Refusal::Overloaded { what, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(env.new_notices(), [Notice::RequestShed { request: request(2), client: client(1), limit: what }]);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.new_notices(), []);
}

#[test]
fn a_report_that_counts_is_noticed_with_its_usage() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Approval));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.new_notices();
    let usage = JobUsage {
        cpu: Duration::from_millis(5),
        wall: Duration::from_millis(7),
        max_rss_kib: 1000,
        io: Duration::from_millis(1),
        ..JobUsage::default()
    };
    env.report_with_usage(&prepare, JobOutcome::Prepare(PrepareOutcome::Prepared(info(1))), usage);
    let of_prepare = Notice::JobReported {
        job: prepare.job,
        attempt: 1,
        worker: worker(1),
        about: prepare.subject(),
        end: "prepared",
        kind: None,
        queued: Duration::ZERO,
        usage: Box::new(usage),
    };
    assert_eq!(env.new_notices(), [of_prepare]);
    env.prepared(&prepare, 1);
    assert_eq!(env.new_notices(), [], "a repeated report does not count");
    let run = env.dispatched();
    env.executed(&run, valid());
    assert_eq!(env.new_notices(), [reported(&run, Some(ExecuteKind::Approval))]);
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_code_that_cannot_be_prepared_is_noticed_once() {
    let mut env = small_fleet();
    let error = PrepareError::Prevalidation("bad".into());
    let failed = |code| Notice::PreparationFailed { artifact: artifact(code), error: error.clone() };
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.new_notices();
    env.preparation_ended(&prepare, PrepareOutcome::Failed(error.clone()));
    assert_eq!(env.new_notices(), [ended_as("failed", reported(&prepare, None)), failed(1)]);
    env.submit(2, 1, Work::Precheck);
    env.submit(3, 2, Work::Precheck);
    assert_eq!(env.new_notices(), []);
    let outcome = Outcome::PreparationFailed(error.clone());
    assert_eq!([env.verdict_of(1), env.verdict_of(2)], [outcome.clone(), outcome.clone()]);
    env.looked_up(2, Some(StoredArtifact::Failed(error.clone())));
    assert_eq!(env.new_notices(), [failed(2)]);
    assert_eq!(env.verdict_of(3), outcome);
}

#[test]
fn a_dropped_artifact_is_noticed_with_the_reason() {
    let prune_interval = Duration::from_secs(100);
    let mut env = Env::with(Policy { prune_interval, ..unstaged() });
    env.worker(1, WorkerKind::Prepare, 1);
    let idle = Policy::default().artifact_ttl;
    env.event(Event::Listed(vec![Listed { artifact: (*artifact(1)).clone(), bytes: 1000, idle }]));
    env.submit(1, 2, Work::Precheck);
    env.new_notices();
    env.looked_up(2, Some(StoredArtifact::Damaged));
    let dropped = |code, why| [Notice::ArtifactDropped { artifact: artifact(code), why }];
    assert_eq!(env.new_notices(), dropped(2, DropReason::Damaged));
    env.dropped(2);
    env.dispatched();
    env.pass_with_heartbeats(&[1], 100);
    assert_eq!(env.new_notices(), dropped(1, DropReason::Unused));
    assert_eq!(env.needs_saved().len(), 2);
    env.dropped(1);
    assert_eq!(env.new_notices(), []);
}

#[test]
fn a_validation_is_quarantined_when_it_has_lost_as_many_workers_as_it_may() {
    let mut env = Env::with(Policy { max_deaths: 1, ..unstaged() });
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Backing, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    env.new_notices();
    env.pass(Duration::from_secs(6));
    assert_eq!(env.new_notices(), lost_and_retried(&run));
    // Another request for the same candidate would join it.
    env.cancel(1, 1);
    env.quiet();
    env.submit(2, 1, candidate(ExecuteKind::Backing, 1));
    assert_eq!(env.verdict_of(2), Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath));
    let quarantined = Notice::ExecutionQuarantined {
        hosts: vec!["host2".into()],
        request: request(2),
        client: client(1),
        code: CodeHash([1; 32]),
    };
    assert_eq!(env.new_notices(), [quarantined]);
}

#[test]
fn a_code_is_quarantined_when_preparing_it_has_lost_as_many_workers_as_it_may() {
    let mut env = Env::with(Policy { max_deaths: 1, ..unstaged() });
    env.worker(1, WorkerKind::Prepare, 1);
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    env.dispatched();
    env.new_notices();
    env.pass(Duration::from_secs(6));
    let error = PrepareError::JobDied("1 workers died while preparing this code".into());
    assert_eq!(env.verdict_of(1), Outcome::PreparationFailed(error.clone()));
    let lost = Notice::WorkerLost { worker: worker(1), host: "host1".into(), jobs: 1, silent: Duration::from_secs(6) };
    let quarantined = Notice::PreparationQuarantined { artifact: artifact(1) };
    let failed = Notice::PreparationFailed { artifact: artifact(1), error };
    assert_eq!(env.new_notices(), [lost, quarantined, failed]);
    env.worker(5, WorkerKind::Prepare, 1);
    env.new_notices();
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.new_notices(), [], "the kept failure answers");
    assert!(matches!(env.verdict_of(2), Outcome::PreparationFailed(_)));
}
