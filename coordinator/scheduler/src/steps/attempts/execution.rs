//! How attempts of executions end.

use crate::{
    core::{ArtifactNeed, AttemptLoss, Core, FollowUp, Out},
    keys::{AttemptKey, EndedAttempt},
    notice::RetryReason,
    operations::{
        artifacts::{self, Suspicion},
        executions, health,
        workers::note_held,
    },
    policies::{MAX_AMBIGUOUS, MAX_INFRA_FAILURES, MAX_NOT_BEGUN, not_begun_delay, not_begun_error},
    steps::attempts::{LateReport, second_opinion},
    tables::{Decision, ExecutionEvent},
    time::Timestamp,
};
use pvf_proto::{
    ids::JobId,
    job::ExecuteOutcome,
    verdict::{AmbiguousReason, InternalError, Outcome},
    wire::AttemptUsage,
};

/// Whether this is the attempt of an execution that its worker has.
pub(super) fn is_current(core: &Core, at: AttemptKey) -> bool {
    core.executions.get(at.job).is_some_and(|execution| execution.is_current(at.attempt))
}

/// An execution was reported.
pub(super) fn on_report(core: &mut Core, out: &mut Out, ended: EndedAttempt, outcome: ExecuteOutcome, now: Timestamp) {
    if !is_current(core, ended.at) {
        return;
    }
    out.counts.execute_finished += 1;
    if let Some(key) = core.executions.get(ended.at.job).and_then(|execution| execution.context.artifact) {
        match &outcome {
            ExecuteOutcome::Internal(InternalError::ArtifactMissing(_)) => {
                core.workers.note_not_held(&ended.site.worker, key);
            }
            ExecuteOutcome::Ambiguous(reason) if reason.suspects_artifact() => {
                core.workers.note_not_held(&ended.site.worker, key);
            }
            // It may have failed before it had the artifact, or because the worker cannot use it.
            ExecuteOutcome::Internal(_) | ExecuteOutcome::Ambiguous(_) => {}
            ExecuteOutcome::Valid(_) | ExecuteOutcome::Invalid(_) => note_held(core, key, ended.site.worker, true),
        }
    }
    executions::attempt_over(core, out, ended.at.job, now);
    if matches!(outcome, ExecuteOutcome::Valid(_) | ExecuteOutcome::Invalid(_)) {
        note_success(core, out, &ended, now);
    }
    let decision = |EndedAttempt { at, site }, outcome| Decision { at, site, outcome };
    match outcome {
        ExecuteOutcome::Valid(result) => {
            second_opinion::on_decision(core, out, decision(ended, Outcome::Valid(result)), now);
        }
        ExecuteOutcome::Invalid(reason) => {
            second_opinion::on_decision(core, out, decision(ended, Outcome::Invalid(reason)), now);
        }
        // Nothing of the candidate was looked at: the store or the worker is at fault.
        ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(why)) => {
            let error = InternalError::Store(format!("the artifact does not open: {why}"));
            health::note_internal(core, out, &ended, &error, now);
            on_infra_failure(core, out, ended, (error, Some(Suspicion::Unusable)), now);
        }
        ExecuteOutcome::Ambiguous(reason) => on_ambiguous(core, out, ended, reason, now),
        ExecuteOutcome::Internal(error @ InternalError::ArtifactMissing(_)) => {
            on_infra_failure(core, out, ended, (error, Some(Suspicion::Missing)), now);
        }
        ExecuteOutcome::Internal(error) => {
            health::note_internal(core, out, &ended, &error, now);
            on_infra_failure(core, out, ended, (error, None), now);
        }
    }
}

/// An attempt ended with a verdict: the validation does not kill workers, and its worker can execute. If an attempt
/// elsewhere was ambiguous, that was the other worker's failure.
fn note_success(core: &mut Core, out: &mut Out, ended: &EndedAttempt, now: Timestamp) {
    core.workers.note_success(&ended.site.worker);
    let Some(execution) = core.executions.get_mut(ended.at.job) else { return };
    let ambiguous_at = execution.ambiguous_at.take();
    core.quarantine.clear(&execution.identity);
    if let Some(site) = ambiguous_at {
        let why = "a job failed here and had a verdict elsewhere".into();
        health::note_failure(core, out, &EndedAttempt { at: ended.at, site: *site }, why, now);
    }
}

/// An attempt that was given up is reported. A verdict is a verdict, whenever it comes; anything else was counted when
/// the attempt was given up.
pub(super) fn on_late_report(
    core: &mut Core,
    out: &mut Out,
    late: LateReport,
    outcome: ExecuteOutcome,
    now: Timestamp,
) {
    let LateReport { at, worker, usage } = late;
    let end = outcome.end();
    let verdict = match outcome {
        ExecuteOutcome::Valid(result) => Some(Outcome::Valid(result)),
        ExecuteOutcome::Invalid(reason) => Some(Outcome::Invalid(reason)),
        ExecuteOutcome::Ambiguous(_) | ExecuteOutcome::Internal(_) => None,
    };
    // Also if its requests were answered meanwhile: later ones are not to suffer for a worker that was not killed.
    core.quarantine.note_report(at, worker, verdict.is_some());
    let Some(execution) = core.executions.get_mut(at.job) else { return };
    let Some(site) = execution.lost_at(at.attempt, worker).cloned() else { return };
    execution.reported.note(AttemptUsage { attempt: at.attempt, worker, end, usage });
    let Some(outcome) = verdict else { return };
    out.counts.late_reports += 1;
    core.quarantine.clear(&execution.identity);
    second_opinion::on_late_decision(core, out, Decision { at, site, outcome }, now);
}

/// An attempt failed in a way that may be the candidate's or the machine's: another machine is asked once.
fn on_ambiguous(core: &mut Core, out: &mut Out, ended: EndedAttempt, reason: AmbiguousReason, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(ended.at.job) else {
        return out.inconsistent(format_args!("execution {} failed and is not known", ended.at.job));
    };
    if execution.ambiguous >= MAX_AMBIGUOUS {
        let outcome = Outcome::PossiblyInvalid(reason);
        out.follow_up(FollowUp::FinishExecution { job: ended.at.job, outcome, worker: Some(ended.site.worker) });
        return;
    }
    execution.ambiguous += 1;
    out.counts.retried += 1;
    let why = match reason {
        AmbiguousReason::WorkerDeath => RetryReason::WorkerLost,
        _ => RetryReason::Ambiguous(reason.to_string()),
    };
    out.notice_retry(&ended, execution.subject(), why);
    execution.ambiguous_at = Some(Box::new(ended.site.clone()));
    execution.excluded.push(ended.site);
    if reason.suspects_artifact() {
        prepare_again(core, out, ended.at.job, Suspicion::Unusable, now);
    } else {
        second_opinion::requeue(core, out, ended.at.job, now);
    }
}

/// An attempt failed because of infrastructure: it is tried elsewhere, a few times.
fn on_infra_failure(
    core: &mut Core,
    out: &mut Out,
    ended: EndedAttempt,
    (error, suspicion): (InternalError, Option<Suspicion>),
    now: Timestamp,
) {
    let job = ended.at.job;
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} failed and is not known"));
    };
    execution.infra_failures += 1;
    if execution.infra_failures >= MAX_INFRA_FAILURES {
        let outcome = Outcome::Internal(error);
        out.follow_up(FollowUp::FinishExecution { job, outcome, worker: Some(ended.site.worker) });
        return;
    }
    out.counts.retried += 1;
    out.notice_retry(&ended, execution.subject(), RetryReason::Internal(error.to_string()));
    if suspicion != Some(Suspicion::Missing) {
        execution.excluded.push(ended.site);
    }
    match suspicion {
        Some(suspicion) => prepare_again(core, out, job, suspicion, now),
        None => second_opinion::requeue(core, out, job, now),
    }
}

/// Suspects the artifact of an unplaced execution, which needs it again.
fn prepare_again(core: &mut Core, out: &mut Out, job: JobId, suspicion: Suspicion, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} needs its artifact again and is not known"));
    };
    let Some(key) = execution.context.artifact else {
        return out.inconsistent(format_args!("execution {job} ran without an artifact"));
    };
    execution.context.since = now;
    let used = execution.used;
    artifacts::suspect(core, out, key, (used, suspicion), now);
    if core.artifacts.get(key).is_none() {
        out.follow_up(FollowUp::PlaceExecution(job));
        return;
    }
    let Some(execution) = core.executions.get_mut(job) else { return };
    out.checked(execution.transition(ExecutionEvent::ArtifactRequested));
    out.follow_up(FollowUp::NeedArtifact(ArtifactNeed::of_execution(job, key, execution)));
}

/// Takes back the share and the attempt of a dispatch that did not begin.
fn uncount_dispatch(core: &mut Core, out: &mut Out, job: JobId) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} came back and is not known"));
    };
    execution.not_begun += 1;
    out.counts.came_back += 1;
    let kind = execution.kind;
    if let Some(artifact) = execution.context.artifact.and_then(|key| core.artifacts.get(key)) {
        core.execute_queue.came_back(artifact.engine, kind);
    }
}

/// A dispatched execution came back without having begun: it costs no attempt and no share, and goes first.
fn came_back(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    uncount_dispatch(core, out, job);
    second_opinion::requeue(core, out, job, now);
}

/// An execution did not begin, or was given back: it is tried again, with back-off and a bound.
fn on_not_begun(core: &mut Core, out: &mut Out, ended: EndedAttempt, why: String, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(ended.at.job) else {
        return out.inconsistent(format_args!("execution {} did not begin and is not known", ended.at.job));
    };
    execution.not_begun_failures += 1;
    let failures = execution.not_begun_failures;
    if failures >= MAX_NOT_BEGUN {
        let outcome = Outcome::Internal(not_begun_error(&why));
        out.follow_up(FollowUp::FinishExecution { job: ended.at.job, outcome, worker: Some(ended.site.worker) });
        return;
    }
    out.notice_retry(&ended, execution.subject(), RetryReason::NotBegun(why));
    let delay = not_begun_delay(failures);
    if delay.is_zero() {
        second_opinion::requeue(core, out, ended.at.job, now);
        return;
    }
    executions::delay(core, out, ended.at.job, now.after(delay), now);
}

/// The back-off of an execution is over: it needs its artifact again, which may have been dropped meanwhile.
pub(crate) fn retry(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    if !core.executions.contains(job) {
        return out.inconsistent(format_args!("execution {job} has a timer and is not known"));
    }
    executions::withdraw(core, out, job, now);
    second_opinion::place_again(core, out, job, now);
}

/// An attempt of an execution ended without a report.
pub(super) fn on_lost(core: &mut Core, out: &mut Out, ended: EndedAttempt, loss: AttemptLoss, now: Timestamp) {
    executions::attempt_over(core, out, ended.at.job, now);
    if let (true, Some(execution)) = (loss.may_report(), core.executions.get_mut(ended.at.job)) {
        execution.lost.push((ended.at.attempt, ended.site.clone()));
    }
    match loss {
        AttemptLoss::Returned => came_back(core, out, ended.at.job, now),
        AttemptLoss::NotBegun(why) => {
            uncount_dispatch(core, out, ended.at.job);
            on_not_begun(core, out, ended, why, now);
        }
        AttemptLoss::NotFetched(why) => {
            uncount_dispatch(core, out, ended.at.job);
            if let Some(execution) = core.executions.get_mut(ended.at.job)
                && !execution.excluded.contains(&ended.site)
            {
                execution.excluded.push(ended.site.clone());
            }
            on_not_begun(core, out, ended, why, now);
        }
        // It began, so it counts as an attempt.
        AttemptLoss::GivenBack(why) => on_not_begun(core, out, ended, why, now),
        // Not the candidate's death as far as is known, but bounded: it may be what kills workers.
        AttemptLoss::PerhapsBegun => {
            uncount_dispatch(core, out, ended.at.job);
            let why = "the worker was lost while the job waited there for its input or a slot";
            on_infra_failure(core, out, ended, (InternalError::WorkerDraining(why.into()), None), now);
        }
        AttemptLoss::Failed(why) => {
            health::note_failure(core, out, &ended, why.clone(), now);
            on_infra_failure(core, out, ended, (InternalError::WorkerDraining(why), None), now);
        }
        AttemptLoss::WorkerLost => {
            // The loss counts for later requests; this one has its second attempt in any case.
            if let Some(identity) = core.executions.get(ended.at.job).map(|execution| execution.identity) {
                core.quarantine.note_death(identity, &ended, now);
            }
            on_ambiguous(core, out, ended, AmbiguousReason::WorkerDeath, now);
        }
    }
}
