//! Requests that their client does not want any more.

use super::fixtures::*;
use crate::{Command, Delivery};
use pvf_proto::{artifact::StoredArtifact, priority::ExecuteKind, verdict::Outcome, wire::Work};

#[test]
fn a_cancelled_request_frees_its_slot_once_the_worker_has_stopped() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.cancel(1, 1);
    env.cancel_of(&run);
    env.quiet();
    env.delivered(&run, Command::Cancel, Delivery::Taken);
    assert_eq!(env.dispatched().request, Some(request(2)));
    env.executed(&run, valid());
}

#[test]
fn a_cancelled_attempt_that_is_reported_meanwhile_frees_its_slot_as_well() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.cancel(1, 1);
    env.cancel_of(&run);
    env.executed(&run, valid());
    assert_eq!(env.dispatched().request, Some(request(2)));
    env.delivered(&run, Command::Cancel, Delivery::Taken);
}

#[test]
fn only_the_client_that_submitted_a_request_may_cancel_it() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.cancel(9, 1);
    env.quiet();
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_cancellation_that_overtakes_its_submission_counts() {
    let mut env = warm_fleet();
    env.cancel(1, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    assert_eq!(env.gauges().requests, 0);
}

#[test]
fn a_repeated_submission_that_arrives_after_the_cancellation_does_not_run() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let run = env.dispatched();
    env.cancel(1, 1);
    env.cancel_of(&run);
    env.delivered(&run, Command::Cancel, Delivery::Taken);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.quiet();
    assert_eq!(env.gauges().requests, 0);
}

#[test]
fn a_cancellation_of_another_client_that_overtakes_the_submission_does_not_count() {
    let mut env = warm_fleet();
    env.cancel(9, 1);
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().request, Some(request(1)));
}

#[test]
fn a_queued_request_is_cancelled_without_a_message_to_a_worker() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.cancel(1, 2);
    env.quiet();
    assert_eq!((env.gauges().execute_queue, env.gauges().requests), ([0; 4], 1));
    env.executed(&run, valid());
    assert!(is_valid(&env.verdict_of(1)));
}

#[test]
fn a_preparation_goes_on_when_its_request_is_cancelled() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.cancel(1, 1);
    env.quiet();
    env.prepared(&prepare, 1);
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict_of(2), Outcome::PrecheckOk);
}

#[test]
fn a_request_that_waits_for_a_look_up_is_cancelled() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.expect_look_up(1);
    env.cancel(1, 1);
    env.found(1, Some(StoredArtifact::Prepared(info(1))));
    env.quiet();
    assert_eq!(env.gauges().requests, 0);
}
