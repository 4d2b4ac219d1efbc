//! Artifacts that are missing, damaged or not known: looked up, dropped, prepared again.

use super::{env::Env, fixtures::*};
use crate::{DropReason, Event, Notice};
use pvf_proto::{
    artifact::{ArtifactDigest, ArtifactInfo, StoredArtifact},
    job::{ExecuteOutcome, PrepareOutcome},
    priority::ExecuteKind,
    verdict::{AmbiguousReason, InternalError, Outcome, PrepareError},
    wire::{Submission, SubmitReply, Work, WorkerKind},
};

/// What a worker reports whose seal key is not that of the fleet.
fn does_not_open() -> ExecuteOutcome {
    ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact("digest".into()))
}

fn dropped(env: &mut Env) -> usize {
    env.new_notices().iter().filter(|notice| matches!(notice, Notice::ArtifactDropped { .. })).count()
}

#[test]
fn an_artifact_that_cannot_be_linked_is_dropped_and_prepared_again() {
    let reason = AmbiguousReason::RuntimeConstruction("link".into());
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ExecuteOutcome::Ambiguous(reason.clone()));
    env.dropped(1);
    let prepare = env.dispatched();
    assert_eq!(prepare.code(), 1);
    env.prepared(&prepare, 2);
    let second = env.dispatched();
    assert_eq!(second.execute().digest, Some(info(2).digest), "the new version");
    assert_ne!(second.worker, first.worker);
    env.executed(&second, ExecuteOutcome::Ambiguous(reason.clone()));
    assert_eq!(env.verdict_of(1), Outcome::PossiblyInvalid(reason));
}

#[test]
fn an_artifact_that_does_not_open_is_never_the_candidates_doing() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, does_not_open());
    env.dropped(1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 1);
    let second = env.dispatched();
    assert_ne!(second.worker, first.worker);
    env.executed(&second, does_not_open());
    let third = env.dispatched();
    env.executed(&third, does_not_open());
    let expected = InternalError::Store("the artifact does not open: digest".into());
    assert_eq!(env.verdict_of(1), Outcome::Internal(expected));
    assert_eq!(dropped(&mut env), 1, "the same version is prepared again once");
}

#[test]
fn a_version_that_some_worker_cannot_use_is_prepared_again_once_in_a_while() {
    for unusable in [does_not_open as fn() -> ExecuteOutcome, || {
        ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction("link".into()))
    }] {
        let mut env = warm_fleet();
        // Request `n` fails at the first worker and succeeds at another one. Returns whether the artifact was dropped.
        let fails_once = |env: &mut Env, n| {
            env.submit(n, 1, execute(ExecuteKind::Backing));
            let first = env.dispatched();
            env.executed(&first, unusable());
            assert!(!env.counts_as_held(if first.worker == worker(2) { 2 } else { 3 }, &artifact(1)));
            let dropped = dropped(env) == 1;
            if dropped {
                env.dropped(1);
                let prepare = env.dispatched();
                env.prepared(&prepare, 1);
            }
            let second = env.dispatched();
            assert_ne!(second.worker, first.worker);
            env.executed(&second, valid());
            assert!(is_valid(&env.verdict_of(n)));
            dropped
        };
        assert_eq!([fails_once(&mut env, 1), fails_once(&mut env, 2), fails_once(&mut env, 3)], [true, false, false]);
        env.pass_with_heartbeats(&[1, 2, 3], 15 * 60);
        assert!(fails_once(&mut env, 4), "the store's copy may have been damaged since");
    }
}

#[test]
fn a_missing_artifact_is_an_infrastructure_failure_and_is_prepared_again() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    let first = env.dispatched();
    env.executed(&first, ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into())));
    env.dropped(1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    let second = env.dispatched();
    env.executed(&second, valid());
    let verdict = env.verdict();
    assert!(is_valid(&verdict.outcome));
    assert!(!verdict.artifact.unwrap().cached);
}

#[test]
fn no_worker_counts_as_having_an_artifact_that_was_dropped() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (first, second) = (env.dispatched(), env.dispatched());
    env.executed(&first, valid());
    assert!(is_valid(&env.verdict_of(1)));
    assert!([2, 3].iter().all(|n| env.counts_as_held(*n, &artifact(1))));
    env.executed(&second, ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into())));
    assert!(![2, 3].iter().any(|n| env.counts_as_held(*n, &artifact(1))));
    env.dropped(1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    let third = env.dispatched();
    env.executed(&third, valid());
    assert!(is_valid(&env.verdict_of(2)));
}

#[test]
fn an_artifact_that_was_replaced_meanwhile_is_not_dropped_again() {
    let mut env = warm_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, execute(ExecuteKind::Backing));
    let (first, second) = (env.dispatched(), env.dispatched());
    let missing = || ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into()));
    env.executed(&first, missing());
    env.dropped(1);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    assert_eq!(env.dispatched().request, Some(request(1)));
    env.executed(&second, missing());
    let again = env.dispatched();
    assert_eq!((again.request, again.execute().digest), (Some(request(2)), Some(info(2).digest)));
}

#[test]
fn a_damaged_artifact_in_the_store_is_dropped_and_prepared_again() {
    let mut env = small_fleet();
    env.new_notices();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Damaged));
    let dropped = Notice::ArtifactDropped { artifact: artifact(1), why: DropReason::Damaged };
    assert_eq!(env.new_notices(), [dropped]);
    env.dropped(1);
    assert_eq!(env.dispatched().code(), 1);
}

#[test]
fn queued_executions_of_a_dropped_artifact_wait_for_the_next_one() {
    let (mut env, run) = one_busy_worker(unstaged());
    env.worker(1, WorkerKind::Prepare, 1);
    env.submit(2, 1, execute(ExecuteKind::Backing));
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.executed(&run, ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into())));
    env.dropped(1);
    assert_eq!(env.gauges().execute_queue, [0; 4]);
    let prepare = env.dispatched();
    env.prepared(&prepare, 2);
    for n in 1..=3 {
        let run = env.dispatched();
        assert_eq!(run.execute().digest, Some(info(2).digest));
        env.executed(&run, valid());
        assert!(is_valid(&env.verdict_of(n)));
    }
}

#[test]
fn a_store_that_does_not_answer_is_an_infrastructure_failure_and_nothing_is_kept() {
    let mut env = small_fleet();
    env.submit(1, 1, execute(ExecuteKind::Backing));
    env.submit(2, 1, Work::Precheck);
    env.expect_look_up(1);
    env.event(Event::LookedUp { artifact: artifact(1), found: Err("down".into()) });
    let failed = Outcome::Internal(InternalError::Store("down".into()));
    assert_eq!([env.verdict_of(2), env.verdict_of(1)], [failed.clone(), failed]);
    assert_eq!(env.gauges().artifacts, 0);
    env.submit(3, 1, execute(ExecuteKind::Backing));
    env.looked_up(1, Some(StoredArtifact::Prepared(info(1))));
    assert_eq!(env.dispatched().request, Some(request(3)));
}

#[test]
fn only_the_awaited_answer_of_the_store_counts() {
    let mut env = warm_fleet();
    env.found(1, None);
    env.found(7, None);
    env.event(Event::Dropped { artifact: artifact(1), error: None });
    env.event(Event::Dropped { artifact: artifact(7), error: None });
    env.submit(1, 1, execute(ExecuteKind::Backing));
    assert_eq!(env.dispatched().execute().digest, Some(info(1).digest));
}

#[test]
fn a_failure_because_of_limits_is_tried_again_with_other_limits() {
    let mut env = small_fleet();
    let submit = |env: &mut Env, n, code_bomb_limit| {
        let submission = Submission { code_bomb_limit, ..submission(n, 1, Work::Precheck) };
        assert_eq!(env.send(submission), SubmitReply::Accepted);
    };
    let error = PrepareError::CouldNotDecompress("too large".into());
    let failed = Outcome::PreparationFailed(error.clone());
    submit(&mut env, 1, 10);
    env.looked_up(1, None);
    let prepare = env.dispatched();
    env.preparation_ended(&prepare, PrepareOutcome::Failed(error.clone()));
    assert_eq!(env.verdict_of(1), failed);
    submit(&mut env, 2, 10);
    assert_eq!(env.verdict_of(2), failed, "with the same limits the failure is kept");
    submit(&mut env, 3, 20);
    let prepare = env.dispatched();
    assert_eq!(prepare.prepare().code_bomb_limit, 20);
    submit(&mut env, 4, 30);
    env.preparation_ended(&prepare, PrepareOutcome::Failed(error));
    assert_eq!(env.verdict_of(3), failed);
    let prepare = env.dispatched();
    assert_eq!(prepare.prepare().code_bomb_limit, 30, "the limit of the request that waits");
    env.prepared(&prepare, 1);
    assert_eq!(env.verdict_of(4), Outcome::PrecheckOk);
}

#[test]
fn impossible_sizes_are_cut() {
    let mut env = small_fleet();
    for code in 1..=3 {
        env.submit(code.into(), code, Work::Precheck);
        env.looked_up(code, None);
        let prepare = env.dispatched();
        let huge = ArtifactInfo { bytes: u64::MAX, digest: ArtifactDigest([code; 32]) };
        env.preparation_ended(&prepare, PrepareOutcome::Prepared(huge));
        assert_eq!(env.verdict_of(code.into()), Outcome::PrecheckOk);
    }
    assert_eq!(env.status().artifact_bytes, 3 << 40, "at most 1 TiB each");
}
