//! Acknowledgements of reports: with the next dispatch to the worker, with a message of their own, or as the answer.

use super::fixtures::*;
use pvf_proto::{
    ids::FencingToken,
    job::{ExecuteOutcome, JobOutcome},
    priority::ExecuteKind,
};

#[test]
fn a_report_that_answers_its_dispatch_is_acknowledged_with_the_next_dispatch_to_that_worker() {
    let mut env = warm_fleet();
    for n in 1..=3 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    let (first, second) = (env.dispatched(), env.dispatched());
    env.report_as_answer(&first, JobOutcome::Execute(valid()));
    assert!(is_valid(&env.verdict_of(1)));
    let third = env.dispatched();
    assert_eq!((third.worker, &third.acknowledged[..]), (first.worker, &[first.listed()][..]));
    env.report_as_answer(&second, JobOutcome::Execute(valid()));
    assert!(is_valid(&env.verdict_of(2)));
    env.acknowledgement_of(&second);
}

#[test]
fn a_dispatch_to_another_worker_does_not_carry_the_acknowledgement() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.report_as_answer(&first, JobOutcome::Execute(ExecuteOutcome::Ambiguous(job_death())));
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    assert_eq!(second.acknowledged, []);
    env.acknowledgement_of(&first);
}

/// A job in a busy fleet costs three messages besides the submission: the dispatch, the report that answers it, and the
/// verdict.
#[test]
fn a_job_of_a_busy_worker_costs_one_message_to_it() {
    let (mut env, mut job) = one_busy_worker(unstaged());
    for n in 2..=20 {
        env.submit(n, 1, execute(ExecuteKind::Backing));
    }
    for n in 1..=19 {
        env.report_as_answer(&job, JobOutcome::Execute(valid()));
        assert!(is_valid(&env.verdict_of(n)));
        let next = env.dispatch_without_answer();
        assert_eq!(next.acknowledged, [job.listed()]);
        env.quiet();
        job = next;
    }
    env.report_as_answer(&job, JobOutcome::Execute(valid()));
    assert!(is_valid(&env.verdict_of(20)));
    env.acknowledgement_of(&job);
}

#[test]
fn a_report_that_is_a_request_of_its_own_is_answered() {
    let (mut env, first) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert_eq!(env.dispatched().acknowledged, []);
}

#[test]
fn reports_that_do_not_count_are_acknowledged_so_that_the_worker_stops_repeating_them() {
    let (mut env, run) = one_busy_worker(unstaged());
    let mut earlier = run.clone();
    earlier.dispatch.token = FencingToken(TOKEN.0 - 1);
    // Its worker has not said yet that it has it, and a later registration will.
    env.report_unanswered(&earlier, JobOutcome::Execute(valid()));
    env.quiet();
    env.report_as_answer(&run, JobOutcome::Execute(valid()));
    assert!(is_valid(&env.verdict_of(1)));
    env.acknowledgement_of(&run);
    env.report_as_answer(&run, JobOutcome::Execute(valid()));
    env.acknowledgement_of(&run);
}
