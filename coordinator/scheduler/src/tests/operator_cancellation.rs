//! Requests that an operator ends: their clients are answered, and it is nothing about the candidate.

use super::fixtures::*;
use crate::{Command, Delivery, Notice};
use pvf_proto::{
    identity::{ClientId, UserName},
    priority::ExecuteKind,
    verdict::{Blame, InternalError, Outcome, WireOutcome},
    wire::{Cancellation, FromOperator, OperatorReply, SubmitReply, Work},
};

fn cancel(env: &mut super::env::Env, n: u64, of: Option<ClientId>) -> Cancellation {
    match env.operator(FromOperator::Cancel { request: request(n), client: of }) {
        OperatorReply::Cancel(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn done(of: u64, others: u32) -> Cancellation {
    Cancellation::Done { client: client(of), others }
}

fn cancelled() -> WireOutcome {
    let outcome = Outcome::Internal(InternalError::WorkerDraining("cancelled by operator ops".into()));
    assert_eq!(outcome.blame(), Blame::Ours);
    outcome
}

#[test]
fn a_request_that_runs_is_answered_and_its_job_is_stopped() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.new_notices();
    assert_eq!(cancel(&mut env, 1, None), done(1, 0));
    env.cancel_of(&run);
    let verdict = env.verdict();
    assert_eq!((verdict.request, verdict.outcome, verdict.attempts), (request(1), cancelled(), 1));
    let operator = UserName::parse("ops").unwrap();
    assert_eq!(env.new_notices(), [Notice::RequestCancelled { request: request(1), client: client(1), operator }]);
    env.delivered(&run, Command::Cancel, Delivery::Taken);
    assert_eq!(env.gauges().requests, 0);
    assert_eq!(cancel(&mut env, 1, None), Cancellation::NotOpen, "it has ended");
    assert_eq!(cancel(&mut env, 2, None), Cancellation::NotOpen, "it was never here");
    // A repetition of the submission that comes late is answered, and does not run.
    assert_eq!(env.submit_as(1, 1, execute(ExecuteKind::Backing)), SubmitReply::Accepted);
    assert_eq!(env.verdict_of(1), cancelled());
}

#[test]
fn a_queued_request_is_answered_without_a_message_to_a_worker() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(cancel(&mut env, 2, Some(client(1))), done(1, 0));
    assert_eq!(env.verdict_of(2), cancelled());
    assert_eq!(env.gauges().execute_queue, [0; 4]);
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn what_other_requests_wait_for_goes_on() {
    let mut env = warm_fleet();
    assert_eq!(env.submit_as(1, 1, candidate(ExecuteKind::Backing, 1)), SubmitReply::Accepted);
    let run = env.dispatched();
    assert_eq!(env.submit_as(2, 2, candidate(ExecuteKind::Backing, 1)), SubmitReply::Accepted);
    assert_eq!(cancel(&mut env, 1, None), done(1, 1));
    assert_eq!(env.verdict_for(1, 1), cancelled());
    env.quiet();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(2, 2)));
    assert_eq!(cancel(&mut env, 2, None), Cancellation::NotOpen);
}

#[test]
fn of_several_clients_with_one_id_the_operator_names_one() {
    let mut env = warm_fleet();
    for of in [1, 2] {
        assert_eq!(env.submit_as(of, 7, candidate(ExecuteKind::Backing, 1)), SubmitReply::Accepted);
    }
    let run = env.dispatched();
    let Cancellation::Several(mut clients) = cancel(&mut env, 7, None) else { panic!("both are open") };
    clients.sort();
    assert_eq!(clients, [client(1), client(2)]);
    assert_eq!(cancel(&mut env, 7, Some(client(3))), Cancellation::NotOpen);
    assert_eq!(cancel(&mut env, 7, Some(client(2))), done(2, 1));
    assert_eq!(env.verdict_for(2, 7), cancelled());
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_for(1, 7)));
}

#[test]
fn requests_for_preparations_are_answered_and_the_preparation_goes_on() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.expect_look_up(1);
    assert_eq!(cancel(&mut env, 1, None), done(1, 0));
    assert_eq!(env.verdict_of(1), cancelled());
    env.found(1, None);
    env.quiet();
    env.submit(2, 2, Work::Precheck);
    env.looked_up(2, None);
    let prepare = env.dispatched();
    assert_eq!(cancel(&mut env, 2, None), done(1, 0));
    assert_eq!(env.verdict_of(2), cancelled());
    env.prepared(&prepare, 1);
}
