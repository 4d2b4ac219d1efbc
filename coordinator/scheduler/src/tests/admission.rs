//! Which submissions are accepted: rules for their fields, and limits for what is here at once.

use super::{env::Env, fixtures::*};
use crate::{Limit, Policy, UserLimits, check};
use pvf_proto::{
    artifact::StoredArtifact,
    params::{ExecutorParam, ExecutorParams},
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Refusal, Submission, SubmitReply, Work, WorkerKind},
};
use std::time::Duration;

fn overloaded(reply: SubmitReply) -> String {
    let SubmitReply::Refused(Refusal::Overloaded { what, retry_after }) = reply else { panic!("{reply:?}") };
    assert_eq!(retry_after, Duration::from_millis(500));
    what
}

fn limits((requests, bytes): (u64, u64), per_kind: (u64, u64)) -> Policy {
    let per_user = UserLimits { requests, bytes, ..UserLimits::default() };
    Policy { per_user, per_kind: Limit { requests: per_kind.0, bytes: per_kind.1 }, ..unstaged() }
}

#[test]
fn fields_out_of_range_are_refused_by_name_and_executor_parameters_are_not() {
    let twice = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1), ExecutorParam::MaxMemoryPages(0)]);
    let contradicting = Submission { executor_params: twice, ..submission(1, 1, Work::Precheck) };
    assert_eq!(check(&contradicting), Ok(()));
    let no_time = Submission { answer_within: Duration::ZERO, ..submission(1, 1, Work::Precheck) };
    let refused = check(&no_time).unwrap_err();
    assert!(refused.to_string().contains("answer_within: 0 is outside 1..=86400000 ms"), "{refused}");
    assert_eq!(check(&submission(1, 1, execute(ExecuteKind::Backing))), Ok(()));
}

#[test]
fn requests_over_a_limit_are_refused_with_a_time_to_come_again() {
    let mut env = Env::with(limits((2, 1000), (3, 1000)));
    let accepted = |reply| assert_eq!(reply, SubmitReply::Accepted);
    accepted(env.submit_as(1, 1, execute(ExecuteKind::Backing)));
    accepted(env.submit_as(1, 2, execute(ExecuteKind::Approval)));
    let limit = overloaded(env.submit_as(1, 3, execute(ExecuteKind::Backing)));
    assert!(limit.contains("user user1 (limit 2"), "{limit}");
    accepted(env.submit_as(1, 2, execute(ExecuteKind::Approval)));
    accepted(env.submit_as(2, 4, execute(ExecuteKind::Backing)));
    accepted(env.submit_as(3, 5, execute(ExecuteKind::Backing)));
    let limit = overloaded(env.submit_as(4, 6, execute(ExecuteKind::Backing)));
    assert!(limit.contains("backing requests"), "{limit}");
    accepted(env.submit_as(4, 6, execute(ExecuteKind::Dispute)));
    env.cancel(1, 1);
    accepted(env.submit_as(1, 3, execute(ExecuteKind::Backing)));
    assert_eq!((env.gauges().requests, env.counts().overloaded), (5, 2));
}

#[test]
fn bytes_over_a_limit_are_refused() {
    let mut env = Env::with(limits((100, 1000), (100, 1500)));
    assert_eq!(env.submit_as(1, 1, with_pov(900)), SubmitReply::Accepted);
    let limit = overloaded(env.submit_as(1, 2, with_pov(101)));
    assert!(limit.contains("user user1") && limit.contains("or 1000 bytes"), "{limit}");
    assert_eq!(env.submit_as(1, 2, with_pov(100)), SubmitReply::Accepted);
    let limit = overloaded(env.submit_as(2, 3, with_pov(501)));
    assert!(limit.contains("all users") && limit.contains("or 1500 bytes"), "{limit}");
    assert_eq!((env.gauges().request_bytes, env.status().overloaded), (1000, 2));
    env.cancel(1, 1);
    assert_eq!(env.gauges().request_bytes, 100);
}

#[test]
fn an_answered_request_makes_room_and_may_be_repeated() {
    let mut env = Env::with(limits((1, 1000), (100, 1000)));
    env.worker(2, WorkerKind::Execute, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    let run = env.dispatched();
    overloaded(env.submit_as(1, 2, execute(ExecuteKind::Backing)));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.submit_as(1, 2, execute(ExecuteKind::Backing)), SubmitReply::Accepted);
    env.dispatched();
    assert_eq!(env.submit_as(1, 1, execute(ExecuteKind::Backing)), SubmitReply::Accepted, "its verdict is kept");
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.gauges().requests, 1);
}

#[test]
fn preparations_have_a_limit_of_their_own() {
    let mut env = Env::with(limits((100, 1000), (1, 1000)));
    assert_eq!(env.submit_as(1, 1, Work::Precheck), SubmitReply::Accepted);
    let limit = overloaded(env.submit_as(2, 2, HEADS_UP));
    assert!(limit.contains("preparation requests of all users"), "{limit}");
    assert_eq!(env.submit_as(2, 3, execute(ExecuteKind::Backing)), SubmitReply::Accepted);
    env.pass(TEN_MINUTES);
    assert_eq!([env.verdict_of(1), env.verdict_of(3)], [Outcome::Expired, Outcome::Expired]);
}
