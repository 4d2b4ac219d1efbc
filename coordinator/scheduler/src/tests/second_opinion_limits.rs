//! Second opinions: how long they are waited for, which executions are chosen, and what other rules make of them.

use super::{
    adoption::{earlier, register},
    env::{Env, Job},
    fixtures::*,
    second_opinions::{checking, disputes, fleet, invalid, rate, result_of, why_missing},
};
use crate::{Command, CrossCheck, Delivery, Notice, Policy, Rate};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::FencingToken,
    priority::ExecuteKind,
    verdict::{AmbiguousReason, Outcome},
    wire::{HeldStage, OpinionResult, Submission, SubmitReply, WorkerKind},
};
use std::time::Duration;

/// The candidates, of 200, whose invalid verdicts have a second opinion with this coordinator.
fn chosen(token: u64, part: f64) -> Vec<u64> {
    let cross_check = CrossCheck { invalid: rate(part), ..CrossCheck::default() };
    let mut env =
        Env::of_token(FencingToken(token), Policy { dispatch_delay: Duration::ZERO, ..checking(cross_check) });
    [2, 3].into_iter().for_each(|n| env.worker(n, WorkerKind::Execute, 1));
    env.submit(1000, 1, candidate(ExecuteKind::Backing, 255));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let warm = env.dispatched();
    env.executed(&warm, valid());
    assert!(is_valid(&env.verdict_of(1000)));
    let mut chosen = Vec::new();
    for n in 0..200 {
        env.submit(n, 1, candidate(ExecuteKind::Backing, n as u8));
        let first = env.dispatched();
        env.executed(&first, invalid("trap"));
        if let crate::Effect::ToWorker { .. } = env.peek() {
            chosen.push(n);
            let second = env.dispatched();
            env.executed(&second, invalid("trap"));
        }
        assert!(matches!(env.verdict_of(n), Outcome::Invalid(_)));
    }
    assert_eq!(env.counts().cross_checks, chosen.len() as u64);
    chosen
}

#[test]
fn a_part_of_what_is_invalid_is_asked_twice_and_every_coordinator_chooses_the_same() {
    let quarter = chosen(7, 0.25);
    assert!((30..70).contains(&quarter.len()), "{} of 200", quarter.len());
    assert_eq!(chosen(8, 0.25), quarter);
    let half = chosen(7, 0.5);
    assert!(quarter.iter().all(|n| half.contains(n)), "a higher rate leaves out what a lower one takes");
    assert_eq!((chosen(7, 0.0).len(), chosen(7, 1.0).len()), (0, 200));
}

#[test]
fn rates_are_parts_of_all() {
    for (text, expected) in [("0", Ok(0.0)), ("1", Ok(1.0)), ("0.1", Ok(0.1)), ("-0.1", Err("outside 0..=1"))] {
        match (text.parse::<Rate>(), expected) {
            (Ok(parsed), Ok(part)) => assert_eq!(parsed, rate(part)),
            (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// The store hangs for the other machine, which says so with every heartbeat.
#[test]
fn attempts_that_only_fetch_are_not_waited_for_without_end() {
    let policy = Policy { attempt_allowance: Duration::from_secs(20), ..disputes() };
    let (mut env, first) = fleet(policy, &[2, 3], ExecuteKind::Dispute);
    env.executed(&first, valid());
    let second = env.dispatched();
    // Four times the CPU limit of 12 s and the allowance: its lease is over.
    assert_eq!(fetch_until_something_happens(&mut env, &second), 1 + 48 + 20);
    env.cancel_of(&second);
    // What is only fetched takes no slot, so it is tried again at once.
    let again = env.dispatched();
    assert_eq!(again.worker, second.worker);
    env.delivered(&second, Command::Cancel, Delivery::Taken);
    // Ten seconds in which an attempt may begin, and as long as a lease in which it may end.
    assert_eq!(fetch_until_something_happens(&mut env, &again), 10 + 48 + 20 - 69);
    env.cancel_of(&again);
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome) && why_missing(&verdict).contains("not ended in time"), "{verdict:?}");
    env.delivered(&again, Command::Cancel, Delivery::Taken);
}

/// After how many seconds the scheduler asks for something, while this job is being fetched.
fn fetch_until_something_happens(env: &mut Env, job: &Job) -> u64 {
    let at = if job.worker == worker(2) { 2 } else { 3 };
    (1..200)
        .find(|_| {
            env.ask(1, &[1]);
            env.pass(Duration::from_secs(1));
            env.heartbeat_fetching(at, &[job]);
            env.heartbeat(5 - at);
            env.has_effects()
        })
        .expect("the second opinion is waited for without end")
}

#[test]
fn a_request_that_expires_meanwhile_gets_the_first_opinion() {
    let mut env = Env::with(disputes());
    env.worker(2, WorkerKind::Execute, 1);
    let answer_within = Duration::from_secs(5);
    let submission = Submission { answer_within, ..submission(1, 1, execute(ExecuteKind::Dispute)) };
    assert_eq!(env.send(submission), SubmitReply::Accepted);
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, valid());
    env.new_notices();
    env.pass_with_heartbeats(&[2], 5);
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome) && why_missing(&verdict).contains("expired"), "{verdict:?}");
    assert_eq!((verdict.worker, env.counts().opinions_missing), (Some(first.worker), 1));
    assert!(env.new_notices().iter().any(|notice| matches!(notice, Notice::NoSecondOpinion { .. })));
    env.pass_with_heartbeats(&[2], 10);
    env.quiet();
}

/// A coordinator does not know what an earlier one was told: an attempt that it adopts gives the first opinion.
#[test]
fn an_adopted_attempt_at_a_dispute_has_a_second_opinion() {
    let [job, _] = earlier([1, 2].map(|n| candidate(ExecuteKind::Dispute, n)));
    let mut env = Env::with(disputes());
    register(&mut env, 2, &job, HeldStage::Running);
    env.worker(3, WorkerKind::Execute, 1);
    env.submit(1, 1, candidate(ExecuteKind::Dispute, 1));
    env.executed(&job, valid());
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let second = env.dispatched();
    assert_eq!((second.job, second.attempt, second.worker), (job.job, 2, worker(3)));
    env.executed(&second, invalid("trap"));
    let verdict = env.verdict();
    assert_eq!(*result_of(&verdict), OpinionResult::Disagreed);
    let attempts: Vec<_> =
        verdict.second_opinion.iter().flat_map(|record| &record.opinions).map(|of| of.attempt).collect();
    assert_eq!(attempts, [1, 2]);
}

/// The first opinion is the answer, whatever the candidate does to other machines; a later request is told.
#[test]
fn machines_that_are_lost_in_the_second_attempt_count_for_the_quarantine() {
    let mut env = Env::with(Policy { max_deaths: 1, ..disputes() });
    [2, 3].into_iter().for_each(|n| env.worker(n, WorkerKind::Execute, 1));
    env.submit(1, 1, candidate(ExecuteKind::Dispute, 1));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let first = env.dispatched();
    env.executed(&first, valid());
    let second = env.dispatched();
    let left = if second.worker == worker(2) { 3 } else { 2 };
    env.pass_with_heartbeats(&[left], 10);
    assert!(is_valid(&env.verdict_of(1)));
    env.submit(2, 1, candidate(ExecuteKind::Dispute, 1));
    assert_eq!(env.verdict_of(2), Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath));
}
