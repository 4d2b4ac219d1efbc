//! A request from its submission to its verdict, when nothing fails.

use super::{env::Env, fixtures::*};
use crate::{Command, Delivery, Policy};
use pvf_proto::{
    artifact::StoredArtifact,
    params::{ExecutorParam, ExecutorParams},
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

#[test]
fn a_verdict_states_the_time_of_each_stage() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let prepare = env.dispatched();
    let job = prepare.prepare();
    assert_eq!((&job.artifact, job.cpu_limit, job.precheck), (&*artifact(1), Duration::from_secs(360), false));
    env.pass(Duration::from_millis(30));
    env.prepared(&prepare, 1);
    let run = env.dispatched();
    let job = run.execute();
    assert_eq!(
        (&job.artifact, job.digest, job.cpu_limit),
        (&*artifact(1), Some(info(1).digest), Duration::from_secs(2))
    );
    env.pass(Duration::from_millis(5));
    env.executed(&run, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert_eq!((verdict.worker, verdict.attempts), (Some(run.worker), 1));
    assert_eq!(verdict.timings.queued, Duration::ZERO);
    assert_eq!(verdict.timings.prepare, Duration::from_millis(30));
    assert_eq!(verdict.timings.execute, Duration::from_millis(5));
    assert_eq!(verdict.timings.total, Duration::from_millis(35));
    let summary = verdict.artifact.unwrap();
    assert_eq!((summary.id, summary.bytes, summary.cached), ((*artifact(1)).clone(), 1000, false));
}

#[test]
fn time_in_both_queues_counts_as_queued() {
    let mut env = Env::with(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    let first = env.dispatched();
    env.submit(2, 2, execute(ExecuteKind::Backing));
    env.looked_up(2, None);
    env.pass(Duration::from_secs(1));
    env.prepared(&first, 1);
    let (second, run) = (env.dispatched(), env.dispatched());
    env.pass(Duration::from_secs(1));
    env.prepared(&second, 2);
    env.pass(Duration::from_secs(2));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    let run = env.dispatched();
    env.executed(&run, valid());
    let timings = env.verdict().timings;
    assert_eq!(timings.queued, Duration::from_secs(1 + 2), "one second for a prepare slot, two for an execute slot");
    assert_eq!((timings.prepare, timings.execute), (Duration::from_secs(1), Duration::ZERO));
}

#[test]
fn requests_for_one_artifact_share_its_preparation() {
    let mut env = small_fleet();
    for n in 0..5 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
        if n == 0 {
            env.expect_look_up(1);
        }
    }
    env.found(1, None);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    let mut running = vec![env.dispatched(), env.dispatched()];
    for n in 0..5 {
        env.executed(&running.remove(0), valid());
        assert!(is_valid(&env.verdict_of(n)));
        if n < 3 {
            running.push(env.dispatched());
        }
    }
}

#[test]
fn an_artifact_in_the_store_is_not_prepared_again() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Approval));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    assert_eq!(run.execute().cpu_limit, Duration::from_secs(12), "approvals have the lenient time-out");
    env.executed(&run, valid());
    let verdict = env.verdict();
    assert!(verdict.artifact.unwrap().cached);
    assert_eq!(verdict.timings.prepare, Duration::ZERO);
}

#[test]
fn parameters_without_effect_on_the_artifact_do_not_prepare_again() {
    let mut env = warm_fleet();
    let same = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(4096)]);
    let with = |n, executor_params| Submission { executor_params, ..submission(n, 1, execute(ExecuteKind::Backing)) };
    assert_eq!(env.send(with(1, same)), SubmitReply::Accepted);
    assert_eq!(env.dispatched().execute().artifact, *artifact(1));
    let other = ExecutorParams(vec![ExecutorParam::StackLogicalMax(2048)]);
    let mut other_artifact = (*artifact(1)).clone();
    other_artifact.prep_hash = other.prep_hash();
    assert_eq!(env.send(with(2, other)), SubmitReply::Accepted);
    env.looked_up_for(other_artifact.into(), Some(StoredArtifact::Prepared(info(2))));
    assert_eq!(env.dispatched().execute().digest, Some(info(2).digest));
}

#[test]
fn a_repeated_submission_is_acknowledged_and_not_executed_again() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    env.executed(&run, valid());
    let first = env.verdict();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.verdict(), first, "the kept verdict is sent again");
}

#[test]
fn requests_wait_until_workers_register() {
    let mut env = Env::new();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, Work::Precheck);
    env.quiet();
    env.worker(2, WorkerKind::Execute, 1);
    env.looked_up(1, None);
    env.quiet();
    env.worker(1, WorkerKind::Prepare, 1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    let (link, run) = (env.dispatched(), env.dispatched());
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    env.prepared(&link, 1);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk, "the first preparation was not for it");
}

#[test]
fn a_heads_up_is_answered_before_its_code_is_prepared() {
    let mut env = small_fleet();
    env.submit(1, 1, HEADS_UP);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    let job = prepare.prepare();
    assert_eq!((prepare.request, job.precheck, job.threads), (Some(request(1)), false, 1));
    env.heartbeat(1);
    assert_eq!(env.verdict_of(1), Outcome::HeadsUpTaken);
    env.prepared(&prepare, 1);
    env.submit(2, 1, HEADS_UP);
    assert_eq!(env.verdict_of(2), Outcome::HeadsUpPrepared);
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.dispatched();
}

#[test]
fn an_expired_request_is_answered_and_its_job_is_cancelled() {
    let (mut env, run) = one_busy_worker(Policy { attempt_allowance: Duration::from_secs(3600), ..unstaged() });
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let in_time = Duration::from_secs(3600);
    let submission = Submission { answer_within: in_time, ..submission(3, 1, execute(ExecuteKind::Backing)) };
    assert_eq!(env.send(submission), SubmitReply::Accepted);
    env.pass_with_heartbeats(&[2], 599);
    env.quiet();
    env.pass_with_heartbeats(&[2], 1);
    env.cancel_of(&run);
    let verdict = env.verdict();
    assert_eq!((verdict.request, verdict.outcome), (request(1), Outcome::Expired));
    assert_eq!((verdict.attempts, verdict.timings.execute, verdict.timings.queued), (1, TEN_MINUTES, Duration::ZERO));
    let verdict = env.verdict();
    assert_eq!((verdict.request, verdict.outcome), (request(2), Outcome::Expired));
    assert_eq!((verdict.attempts, verdict.timings.execute, verdict.timings.queued), (0, Duration::ZERO, TEN_MINUTES));
    env.quiet();
    assert_eq!((env.gauges().requests, env.running_at(2)), (1, 1), "the slot is taken until the worker has answered");
    env.delivered(&run, Command::Cancel, Delivery::Taken);
    assert_eq!(env.dispatched().request, Some(request(3)));
}

#[test]
fn a_request_that_waits_for_a_worker_expires() {
    let mut env = Env::with(unstaged());
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 2, Work::Precheck);
    env.pass(TEN_MINUTES);
    assert_eq!([env.verdict_of(1), env.verdict_of(2)], [Outcome::Expired, Outcome::Expired]);
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    assert_eq!(env.gauges().requests, 0);
}

#[test]
fn a_verdict_is_kept_until_its_client_has_it() {
    let mut env = warm_fleet();
    for n in 1..=2 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
        let run = env.dispatched();
        env.executed(&run, valid());
        assert!(is_valid(&env.verdict_of(n)));
    }
    assert_eq!(env.ask(1, &[1, 2]), []);
    assert!(is_valid(&env.verdict_of(1)) && is_valid(&env.verdict_of(2)), "both again");
    // Another client has nothing to say about it.
    env.heard(2, &[1, 2]);
    env.heard(1, &[1]);
    // A repetition of the submission that was on its way meanwhile.
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    assert_eq!(env.ask(1, &[1, 2]), [request(1)]);
    assert!(is_valid(&env.verdict_of(2)));
    // Its client has asked for it: it is executed again.
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.dispatched();
}

#[test]
fn a_verdict_is_kept_as_long_as_its_client_may_wait_for_it() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.executed(&run, valid());
    env.verdict_of(1);
    let answer_within = submission(1, 1, execute(ExecuteKind::Backing)).answer_within;
    env.pass(answer_within);
    assert_eq!(env.ask(1, &[1]), []);
    env.verdict_of(1);
    // It goes when the next one comes. The workers were silent meanwhile.
    env.pass(Duration::from_secs(600));
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.executed(&run, valid());
    env.verdict_of(2);
    assert_eq!(env.ask(1, &[1, 2]), [request(1)]);
    env.verdict_of(2);
}
