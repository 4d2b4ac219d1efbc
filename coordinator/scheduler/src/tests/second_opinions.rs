//! Second opinions: what is decided once more on another machine, and what becomes of it.

use super::{
    env::{Env, Job},
    fixtures::*,
};
use crate::{Command, CrossCheck, Delivery, Notice, Policy, Rate};
use pvf_proto::{
    Bytes,
    artifact::StoredArtifact,
    blob::BlobRef,
    host::HostIdentity,
    ids::CodeHash,
    job::{AttemptEnd, ExecuteOutcome},
    priority::ExecuteKind,
    verdict::{InternalError, InvalidReason, Outcome, WireOutcome},
    wire::{OpinionResult, Verdict, WorkerHello, WorkerKind},
};

pub(super) fn rate(part: f64) -> Rate {
    part.try_into().unwrap()
}

pub(super) fn checking(cross_check: CrossCheck) -> Policy {
    Policy { cross_check, ..unstaged() }
}

pub(super) fn disputes() -> Policy {
    checking(CrossCheck { dispute: true, ..CrossCheck::default() })
}

/// Execute workers of one slot on machines of their own, and the first job, of request 1, which is at one of them.
pub(super) fn fleet(policy: Policy, workers: &[u64], kind: ExecuteKind) -> (Env, Job) {
    let mut env = Env::with(policy);
    workers.iter().for_each(|n| env.worker(*n, WorkerKind::Execute, 1));
    env.submit(1, 1, execute(kind));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let job = env.dispatched();
    (env, job)
}

pub(super) fn invalid(why: &str) -> ExecuteOutcome {
    ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why.into()))
}

pub(super) fn result_of(verdict: &Verdict) -> &OpinionResult {
    &verdict.second_opinion.as_ref().expect("a record").result
}

pub(super) fn why_missing(verdict: &Verdict) -> &str {
    let OpinionResult::Missing(why) = result_of(verdict) else { panic!("{verdict:?}") };
    why
}

#[test]
fn a_dispute_is_decided_by_two_machines() {
    let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
    let input = env.gauges().request_bytes;
    env.executed(&first, valid());
    let second = env.dispatched();
    env.quiet();
    assert_eq!(env.gauges().request_bytes, input + 1, "the first result counts while it is kept");
    assert_ne!(second.worker, first.worker);
    assert_eq!((second.job, second.attempt), (first.job, 2));
    env.executed(&second, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert_eq!((verdict.worker, verdict.attempts), (Some(second.worker), 2));
    assert_eq!(*result_of(&verdict), OpinionResult::Agreed);
    let record = verdict.second_opinion.unwrap();
    let [of_first, of_second] = &record.opinions[..] else { panic!("{record:?}") };
    assert_eq!((of_first.worker, of_second.worker), (first.worker, second.worker));
    assert_eq!((of_first.attempt, of_second.attempt, of_first.end), (1, 2, AttemptEnd::Valid));
    assert_ne!(of_first.host, of_second.host);
    assert_eq!((of_first.engine.as_str(), &*of_first.version, &*of_first.host_functions), (ENGINE, "t", "f"));
    assert_eq!((env.counts().cross_checks, env.counts().opinions_agreed), (1, 1));
    assert_eq!(env.gauges().request_bytes, 0);
}

#[test]
fn machines_that_disagree_are_not_believed() {
    let other = ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"another result")));
    for (one, two) in [(valid(), invalid("trap")), (invalid("trap"), valid()), (valid(), other)] {
        let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
        env.executed(&first, one.clone());
        let second = env.dispatched();
        env.new_notices();
        env.executed(&second, two.clone());
        let verdict = env.verdict();
        let Outcome::Internal(InternalError::Disagreement(why)) = &verdict.outcome else { panic!("{verdict:?}") };
        assert!(why.contains("host2") && why.contains("host3"), "{why}");
        assert_eq!((verdict.worker, result_of(&verdict)), (None, &OpinionResult::Disagreed));
        let ends: Vec<_> = verdict.second_opinion.as_ref().unwrap().opinions.iter().map(|of| of.end).collect();
        assert_eq!(ends, [one.end(), two.end()]);
        let alarms: Vec<_> =
            env.new_notices().into_iter().filter(|n| matches!(n, Notice::OpinionsDiffer { .. })).collect();
        let opinions = verdict.second_opinion.as_ref().unwrap().opinions.clone();
        let alarm = Notice::OpinionsDiffer {
            job: first.job,
            request: Some(request(1)),
            client: Some(client(1)),
            code: CodeHash([1; 32]),
            opinions,
        };
        assert_eq!((alarms, env.counts().opinions_disagreed), (vec![alarm], 1));
        // What is kept for the client is the same.
        env.ask(1, &[1]);
        assert_eq!(env.verdict(), verdict);
    }
}

#[test]
fn two_machines_may_word_their_reasons_differently() {
    let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
    env.executed(&first, invalid("trap"));
    let second = env.dispatched();
    env.executed(&second, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: 2000 }));
    let verdict = env.verdict();
    assert_eq!(verdict.outcome, Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 2000 }));
    assert_eq!(*result_of(&verdict), OpinionResult::Agreed);
    let reasons: Vec<_> =
        verdict.second_opinion.iter().flat_map(|record| &record.opinions).map(|of| &of.reason).collect();
    assert!(reasons[0] != reasons[1] && reasons.iter().all(|reason| reason.is_some()), "{reasons:?}");
}

#[test]
fn only_what_the_settings_name_is_asked_twice() {
    let all_invalid = checking(CrossCheck { invalid: rate(1.0), ..CrossCheck::default() });
    for (policy, kind, outcome) in [
        (disputes(), ExecuteKind::Approval, valid()),
        (disputes(), ExecuteKind::Backing, invalid("trap")),
        (all_invalid.clone(), ExecuteKind::Dispute, valid()),
        (unstaged(), ExecuteKind::Dispute, invalid("trap")),
    ] {
        let (mut env, run) = fleet(policy, &[2, 3], kind);
        env.executed(&run, outcome);
        assert_eq!((env.verdict().second_opinion, env.counts().cross_checks), (None, 0));
    }
    let (mut env, first) = fleet(all_invalid, &[2, 3], ExecuteKind::Backing);
    env.executed(&first, invalid("trap"));
    let second = env.dispatched();
    env.executed(&second, invalid("trap"));
    assert_eq!(*result_of(&env.verdict()), OpinionResult::Agreed);
}

#[test]
fn without_another_machine_the_first_opinion_stands() {
    let (mut env, first) = fleet(disputes(), &[2], ExecuteKind::Dispute);
    // Another worker, and another container, of the same machine.
    env.register(3, WorkerHello { host: "host2".into(), ..hello(3, WorkerKind::Execute) });
    env.executed(&first, invalid("trap"));
    env.pass_with_heartbeats(&[2, 3], 9);
    env.quiet();
    env.new_notices();
    env.pass_with_heartbeats(&[2, 3], 1);
    let verdict = env.verdict();
    assert!(matches!(verdict.outcome, Outcome::Invalid(_)));
    assert_eq!((verdict.worker, verdict.attempts), (Some(first.worker), 1));
    assert!(why_missing(&verdict).contains("within 10 s"), "{verdict:?}");
    let opinions = &verdict.second_opinion.as_ref().unwrap().opinions;
    assert_eq!((opinions.len(), opinions[0].reason.as_deref()), (1, Some("worker reported invalid: trap")));
    assert!(matches!(env.new_notices()[..], [Notice::NoSecondOpinion { .. }]));
    assert_eq!((env.counts().opinions_missing, env.gauges().requests), (1, 0));
}

#[test]
fn containers_of_one_machine_are_one_machine() {
    let mut env = Env::with(disputes());
    let container = |n, machine: &str, boot: &str| {
        let identity = HostIdentity::new(Some(machine), Some(boot));
        WorkerHello { host: format!("container{n}"), identity, ..hello(n, WorkerKind::Execute) }
    };
    env.register(2, container(2, "image", "boot1"));
    env.register(3, container(3, "other image", "boot1"));
    env.submit(1, 1, execute(ExecuteKind::Dispute));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, valid());
    env.pass_with_heartbeats(&[2, 3], 2);
    env.quiet();
    env.register(4, container(4, "machine2", "boot2"));
    env.pass_with_heartbeats(&[2, 3, 4], 1);
    let second = env.dispatched();
    assert_eq!(second.worker, worker(4));
    env.executed(&second, valid());
    assert_eq!(*result_of(&env.verdict()), OpinionResult::Agreed);
}

#[test]
fn another_machine_that_is_busy_is_waited_for() {
    for free_in_time in [true, false] {
        let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
        env.submit(2, 1, execute(ExecuteKind::Backing));
        let busy = env.dispatched();
        env.executed(&first, valid());
        env.pass_with_heartbeats(&[2, 3], 9);
        env.quiet();
        if free_in_time {
            env.executed(&busy, valid());
            assert!(is_valid(&env.verdict_of(2)));
            let second = env.dispatched();
            assert_eq!(second.worker, busy.worker);
            env.pass_with_heartbeats(&[2, 3], 5);
            env.quiet();
            env.executed(&second, valid());
            assert_eq!(*result_of(&env.verdict()), OpinionResult::Agreed);
        } else {
            env.pass_with_heartbeats(&[2, 3], 1);
            assert!(why_missing(&env.verdict()).contains("within 10 s"));
            env.executed(&busy, valid());
            assert!(is_valid(&env.verdict_of(2)));
        }
    }
}

#[test]
fn a_failure_on_the_other_machine_is_no_opinion() {
    for failure in [ExecuteOutcome::Internal(kernel_error()), ExecuteOutcome::Ambiguous(job_death())] {
        // With a third machine that one is asked.
        let (mut env, first) = fleet(disputes(), &[2, 3, 4], ExecuteKind::Dispute);
        env.executed(&first, valid());
        let failed = env.dispatched();
        env.executed(&failed, failure.clone());
        let second = env.dispatched();
        assert!(![first.worker, failed.worker].contains(&second.worker));
        env.executed(&second, valid());
        assert_eq!(*result_of(&env.verdict()), OpinionResult::Agreed);
        // Without one it is tried there again.
        let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
        env.executed(&first, valid());
        let failed = env.dispatched();
        env.executed(&failed, failure);
        let second = env.dispatched();
        assert_eq!(second.worker, failed.worker);
        env.executed(&second, invalid("trap"));
        assert_eq!(*result_of(&env.verdict()), OpinionResult::Disagreed);
    }
}

/// `invalid` stands; `valid` of one machine does not against attempts that die elsewhere.
#[test]
fn what_dies_again_and_again_elsewhere_is_not_found_valid() {
    for (opinion, is_expected) in [
        (invalid("trap"), (|outcome| matches!(outcome, Outcome::Invalid(_))) as fn(&WireOutcome) -> bool),
        (valid(), |outcome| matches!(outcome, Outcome::Internal(InternalError::Disagreement(_)))),
    ] {
        let (mut env, first) = fleet(disputes(), &[2, 3, 4], ExecuteKind::Dispute);
        env.executed(&first, opinion);
        for _ in 0..2 {
            let failed = env.dispatched();
            env.executed(&failed, ExecuteOutcome::Ambiguous(job_death()));
        }
        let verdict = env.verdict();
        assert!(is_expected(&verdict.outcome), "{verdict:?}");
        assert!(why_missing(&verdict).contains("possibly_invalid"), "{verdict:?}");
    }
}

#[test]
fn a_machine_that_is_lost_in_the_second_attempt_leaves_the_first_opinion() {
    let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
    env.executed(&first, valid());
    let second = env.dispatched();
    let other = if second.worker == worker(2) { 3 } else { 2 };
    env.pass_with_heartbeats(&[other], 9);
    env.quiet();
    assert_eq!(env.gauges().execute_queue, [0; 4], "it stays in no other execution's way");
    env.pass_with_heartbeats(&[other], 1);
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome) && why_missing(&verdict).contains("within 10 s"), "{verdict:?}");
}

#[test]
fn a_cancellation_ends_the_second_attempt() {
    let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
    env.executed(&first, valid());
    let second = env.dispatched();
    env.cancel(1, 1);
    env.cancel_of(&second);
    env.delivered(&second, Command::Cancel, Delivery::Taken);
    env.pass_with_heartbeats(&[2, 3], 20);
    assert_eq!(env.gauges().requests, 0);
}

#[test]
fn requests_that_join_meanwhile_get_the_same_verdict() {
    let mut env = Env::with(disputes());
    [2, 3].into_iter().for_each(|n| env.worker(n, WorkerKind::Execute, 1));
    // The dispute joins while the first attempt runs.
    env.submit(1, 1, candidate(ExecuteKind::Approval, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.submit(2, 1, candidate(ExecuteKind::Dispute, 1));
    env.quiet();
    env.executed(&first, valid());
    let second = env.dispatched();
    env.submit(3, 1, candidate(ExecuteKind::Approval, 1));
    env.quiet();
    env.executed(&second, invalid("trap"));
    let verdicts = [env.verdict(), env.verdict(), env.verdict()];
    assert_eq!(verdicts.each_ref().map(|verdict| verdict.request), [1, 2, 3].map(request));
    let disagree = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Internal(InternalError::Disagreement(_)));
    assert!(verdicts.iter().all(disagree));
}

/// The worker of the first attempt was lost, and reports while the next attempt runs elsewhere.
#[test]
fn a_late_report_and_the_attempt_that_runs_are_two_opinions() {
    let (mut env, first) = fleet(disputes(), &[2, 3], ExecuteKind::Dispute);
    let other = if first.worker == worker(2) { 3 } else { 2 };
    env.pass_with_heartbeats(&[other], 6);
    let second = env.dispatched();
    assert_eq!(second.worker, worker(other));
    env.executed(&first, valid());
    env.quiet();
    env.executed(&second, valid());
    let verdict = env.verdict();
    assert_eq!((verdict.worker, result_of(&verdict)), (Some(second.worker), &OpinionResult::Agreed));
}

#[test]
fn a_late_report_of_the_same_machine_is_no_second_opinion() {
    let (mut env, first) = fleet(disputes(), &[2], ExecuteKind::Dispute);
    env.register(3, WorkerHello { host: "host2".into(), ..hello(3, WorkerKind::Execute) });
    let other = 3;
    env.pass_with_heartbeats(&[other], 6);
    let again = env.dispatched();
    assert_eq!(again.worker, worker(other));
    env.executed(&again, valid());
    env.executed(&first, invalid("trap"));
    env.quiet();
    env.pass_with_heartbeats(&[other], 10);
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome) && why_missing(&verdict).contains("within 10 s"), "{verdict:?}");
}
