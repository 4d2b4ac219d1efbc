//! Code that cannot be prepared: which failures are kept, and for how long.

use super::{env::Env, fixtures::*};
use pvf_proto::{
    artifact::StoredArtifact,
    job::{ExecuteOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{AmbiguousReason, Outcome, PrepareError},
    wire::Work,
};
use std::time::Duration;

/// A preparation for an execution, or a heads-up, exceeded the default limit.
fn timed_out() -> PrepareError {
    PrepareError::TimedOut { limit_ms: 360_000 }
}

/// The preparation that is dispatched next fails, and request `n` is told.
fn fail(env: &mut Env, n: u64, error: &PrepareError) {
    let prepare = env.dispatched();
    env.preparation_ended(&prepare, PrepareOutcome::Failed(error.clone()));
    assert_eq!(env.verdict_of(n), Outcome::PreparationFailed(error.clone()));
}

#[test]
fn a_deterministic_failure_is_kept() {
    let mut env = small_fleet();
    let error = PrepareError::Prevalidation("bad".into());
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    fail(&mut env, 1, &error);
    env.submit(2, 1, Work::Precheck);
    assert_eq!(env.verdict_of(2), Outcome::PreparationFailed(error.clone()));
    env.pass_with_heartbeats(&[1, 2, 3], 1000);
    env.submit(3, 1, execute(ExecuteKind::Dispute));
    assert_eq!(env.verdict_of(3), Outcome::PreparationFailed(error), "after the cool-down as well");
}

#[test]
fn a_failure_in_the_store_counts_as_well() {
    let mut env = small_fleet();
    let error = PrepareError::Prevalidation("bad".into());
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, Some(StoredArtifact::Failed(error.clone())));
    assert_eq!(env.verdict_of(1), Outcome::PreparationFailed(error.clone()));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.verdict_of(2), Outcome::PreparationFailed(error));
}

#[test]
fn a_failure_that_may_pass_is_retried_after_its_cool_down_but_not_for_a_precheck() {
    let mut env = small_fleet();
    let failed = Outcome::PreparationFailed(timed_out());
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    fail(&mut env, 1, &timed_out());
    env.pass_with_heartbeats(&[1, 2, 3], 899);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.verdict_of(2), failed, "too early");
    env.pass_with_heartbeats(&[1, 2, 3], 1);
    env.submit(3, 1, Work::Precheck);
    assert_eq!(env.verdict_of(3), failed, "not for a precheck");
    env.submit(4, 1, execute(ExecuteKind::Backing));
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    assert_eq!(env.dispatched().request, Some(request(4)));
}

#[test]
fn a_failure_that_may_pass_is_retried_four_times() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    fail(&mut env, 1, &timed_out());
    for n in 2..=5 {
        env.pass_with_heartbeats(&[1, 2, 3], 900);
        if n == 5 {
            assert_eq!(env.needs_saved().len(), 1, "after an hour");
        }
        env.submit(n, 1, execute(ExecuteKind::Backing));
        fail(&mut env, n, &timed_out());
    }
    env.pass_with_heartbeats(&[1, 2, 3], 900);
    env.submit(6, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.verdict_of(6), Outcome::PreparationFailed(timed_out()));
}

#[test]
fn a_time_out_does_not_hold_for_a_request_with_a_longer_limit() {
    let mut env = small_fleet();
    env.submit(1, 1, Work::Precheck);
    env.looked_up(1, None);
    let short = PrepareError::TimedOut { limit_ms: 60_000 };
    let precheck = env.dispatched();
    // An execution joins the precheck that is under way, and another one comes later.
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.preparation_ended(&precheck, PrepareOutcome::Failed(short.clone()));
    assert_eq!(env.verdict_of(1), Outcome::PreparationFailed(short));
    let longer = env.dispatched();
    assert_eq!(longer.prepare().cpu_limit, Duration::from_secs(360));
    env.preparation_ended(&longer, PrepareOutcome::Failed(timed_out()));
    assert_eq!(env.verdict_of(2), Outcome::PreparationFailed(timed_out()));
    for (n, work) in [(3, execute(ExecuteKind::Dispute)), (4, Work::Precheck)] {
        env.submit(n, 1, work);
        assert_eq!(env.verdict_of(n), Outcome::PreparationFailed(timed_out()), "its limit is not longer");
    }
}

#[test]
fn a_precheck_that_cannot_link_is_no_answer_to_an_execution() {
    let construction = PrepareError::RuntimeConstruction("no such import".into());
    // Asked for after the precheck, and while it is prepared.
    for joins in [false, true] {
        let mut env = small_fleet();
        env.submit(1, 1, Work::Precheck);
        env.looked_up(1, None);
        let prepare = env.dispatched();
        assert!(prepare.prepare().precheck);
        if joins {
            env.submit(2, 1, execute(ExecuteKind::Backing));
        }
        env.preparation_ended(&prepare, PrepareOutcome::Failed(construction.clone()));
        assert_eq!(env.verdict_of(1), Outcome::PreparationFailed(construction.clone()));
        env.submit(3, 1, Work::Precheck);
        if !joins {
            assert_eq!(env.verdict_of(3), Outcome::PreparationFailed(construction.clone()), "it is kept for prechecks");
            env.submit(2, 1, execute(ExecuteKind::Backing));
        }
        let prepare = env.dispatched();
        assert!(!prepare.prepare().precheck);
        env.prepared(&prepare, 1);
        if joins {
            let kept = Outcome::PreparationFailed(construction.clone());
            assert_eq!(env.verdict_of(3), kept, "what the precheck found holds after the execution as well");
        }
        let run = env.dispatched();
        let outcome = AmbiguousReason::RuntimeConstruction("no such import".into());
        env.executed(&run, ExecuteOutcome::Ambiguous(outcome));
        env.take_all();
    }
}

#[test]
fn a_worker_that_says_of_each_preparation_that_it_cannot_link_is_asked_once_for_each_request() {
    let construction = PrepareError::RuntimeConstruction("forged".into());
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, None);
    fail(&mut env, 1, &construction);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.verdict_of(2), Outcome::PreparationFailed(construction));
}
