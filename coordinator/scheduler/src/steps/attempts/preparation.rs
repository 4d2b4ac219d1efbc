//! How attempts of preparations end.

use crate::{
    core::{AttemptLoss, Core, Out},
    keys::{ArtifactKey, AttemptKey, EndedAttempt},
    notice::{Notice, RetryReason},
    operations::{artifacts, health, preparations},
    policies::{MAX_AMBIGUOUS, MAX_INFRA_FAILURES, MAX_NOT_BEGUN, not_begun_delay, not_begun_error},
    steps::attempts::LateReport,
    tables::{Made, PreparationEvent, Timer},
    time::Timestamp,
};
use pvf_proto::{
    ids::JobId,
    job::{JobUsage, PrepareOutcome},
    verdict::{InternalError, PrepareError},
    wire::PreparationUsage,
};
use std::sync::Arc;

/// The artifact of a preparation, if this is the attempt that its worker has.
pub(super) fn current(core: &Core, at: AttemptKey) -> Option<ArtifactKey> {
    let task = core.preparations.get(&at.job)?;
    task.is_current(at.attempt).then_some(task.artifact)
}

/// A preparation was reported.
pub(super) fn on_report(
    core: &mut Core,
    out: &mut Out,
    ended: EndedAttempt,
    (outcome, usage): (PrepareOutcome, JobUsage),
    now: Timestamp,
) {
    let Some(key) = current(core, ended.at) else { return };
    out.counts.prepare_concluded += 1;
    let dispatched = core.preparations.get(&ended.at.job).and_then(|task| task.dispatched());
    let usage = PreparationUsage { worker: ended.site.worker, usage };
    let made = dispatched.map(|dispatched| Arc::new(Made { dispatched, ended: now, usage }));
    let succeeded = match &outcome {
        PrepareOutcome::Prepared(_) => true,
        PrepareOutcome::Failed(error) => error.is_deterministic(),
        PrepareOutcome::Internal(_) => false,
    };
    if succeeded {
        core.workers.note_success(&ended.site.worker);
    }
    match outcome {
        PrepareOutcome::Prepared(info) => {
            core.preparations.remove(&ended.at.job);
            artifacts::ready(core, out, key, info, made);
        }
        PrepareOutcome::Failed(error) if error.may_be_the_machines() && may_try_again(core, &ended) => {
            on_ambiguous(core, out, ended, &error, now);
        }
        PrepareOutcome::Failed(error) => {
            core.preparations.remove(&ended.at.job);
            if let Some(artifact) = core.artifacts.get_mut(key) {
                artifact.made = made;
            }
            artifacts::fail(core, out, key, error, now);
        }
        PrepareOutcome::Internal(error) => {
            health::note_internal(core, out, &ended, &error, now);
            on_infra_failure(core, out, ended, error, now);
        }
    }
}

/// Whether a preparation that failed ambiguously is tried once more.
fn may_try_again(core: &Core, ended: &EndedAttempt) -> bool {
    core.preparations.get(&ended.at.job).is_some_and(|task| task.ambiguous_failures < MAX_AMBIGUOUS)
}

/// A preparation failed in a way that may be the code's or the machine's: another machine is asked once.
fn on_ambiguous(core: &mut Core, out: &mut Out, ended: EndedAttempt, error: &PrepareError, now: Timestamp) {
    let Some(task) = core.preparations.get_mut(&ended.at.job) else {
        return out.inconsistent(format_args!("preparation {} failed and is not known", ended.at.job));
    };
    task.ambiguous_failures += 1;
    out.notice_retry(&ended, core.artifacts.subject(task.artifact), RetryReason::Ambiguous(error.to_string()));
    task.excluded.push(ended.site);
    preparations::requeue(core, out, ended.at.job, now);
}

/// An attempt that was given up is reported: an artifact that it made is one.
pub(super) fn on_late_report(
    core: &mut Core,
    out: &mut Out,
    late: LateReport,
    outcome: PrepareOutcome,
    now: Timestamp,
) {
    let LateReport { at, worker, usage } = late;
    let Some(task) = core.preparations.get(&at.job).filter(|t| t.lost.contains(&(at.attempt, worker))) else { return };
    let PrepareOutcome::Prepared(info) = outcome else { return };
    let (key, since) = (task.artifact, task.enqueued);
    out.counts.late_reports += 1;
    preparations::withdraw(core, out, at.job);
    let usage = PreparationUsage { worker, usage };
    artifacts::ready(core, out, key, info, Some(Arc::new(Made { dispatched: since, ended: now, usage })));
}

/// A preparation failed because of infrastructure: it is tried elsewhere, a few times.
fn on_infra_failure(core: &mut Core, out: &mut Out, ended: EndedAttempt, error: InternalError, now: Timestamp) {
    let Some(task) = core.preparations.get_mut(&ended.at.job) else {
        return out.inconsistent(format_args!("preparation {} failed and is not known", ended.at.job));
    };
    task.infra_failures += 1;
    if task.infra_failures < MAX_INFRA_FAILURES {
        out.notice_retry(&ended, core.artifacts.subject(task.artifact), RetryReason::Internal(error.to_string()));
        task.excluded.push(ended.site);
        preparations::requeue(core, out, ended.at.job, now);
        return;
    }
    give_up(core, out, ended.at.job, error);
}

/// The waiters of a preparation are told that infrastructure failed.
fn give_up(core: &mut Core, out: &mut Out, job: JobId, error: InternalError) {
    let Some(task) = core.preparations.remove(&job) else {
        return out.inconsistent(format_args!("preparation {job} is given up and not known"));
    };
    artifacts::abandon(core, out, task.artifact, error);
}

/// A worker was lost while it prepared: that may be the code's doing, so it is bounded.
fn on_worker_lost(core: &mut Core, out: &mut Out, ended: EndedAttempt, now: Timestamp) {
    let max = core.config.policy.max_deaths;
    let Some(task) = core.preparations.get_mut(&ended.at.job) else {
        return out.inconsistent(format_args!("preparation {} has lost its worker and is not known", ended.at.job));
    };
    task.deaths += 1;
    if task.deaths < max {
        out.notice_retry(&ended, core.artifacts.subject(task.artifact), RetryReason::WorkerLost);
        task.excluded.push(ended.site);
        preparations::requeue(core, out, ended.at.job, now);
        return;
    }
    let key = task.artifact;
    core.preparations.remove(&ended.at.job);
    out.counts.quarantined += 1;
    if let Some(artifact) = core.artifacts.get(key) {
        out.notice(Notice::PreparationQuarantined { artifact: artifact.id.clone() });
    }
    let error = PrepareError::JobDied(format!("{max} workers died while preparing this code"));
    artifacts::fail(core, out, key, error, now);
}

/// A preparation did not begin, or was given back: it is tried again, with back-off and a bound.
fn on_not_begun(core: &mut Core, out: &mut Out, ended: EndedAttempt, why: String, now: Timestamp) {
    let Some(task) = core.preparations.get_mut(&ended.at.job) else {
        return out.inconsistent(format_args!("preparation {} did not begin and is not known", ended.at.job));
    };
    task.not_begun_failures += 1;
    let failures = task.not_begun_failures;
    if failures >= MAX_NOT_BEGUN {
        give_up(core, out, ended.at.job, not_begun_error(&why));
        return;
    }
    out.notice_retry(&ended, core.artifacts.subject(task.artifact), RetryReason::NotBegun(why));
    let delay = not_begun_delay(failures);
    if delay.is_zero() {
        preparations::requeue(core, out, ended.at.job, now);
        return;
    }
    let until = now.after(delay);
    if out.checked(task.transition(PreparationEvent::Delayed(until))).is_some() {
        core.timers.set(Timer::RetryPreparation(ended.at.job), until);
    }
}

/// The back-off of a preparation is over.
pub(crate) fn retry(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    preparations::requeue(core, out, job, now);
}

/// An attempt of a preparation ended without a report.
pub(super) fn on_lost(core: &mut Core, out: &mut Out, ended: EndedAttempt, loss: AttemptLoss, now: Timestamp) {
    if let (true, Some(task)) = (loss.may_report(), core.preparations.get_mut(&ended.at.job)) {
        task.lost.push((ended.at.attempt, ended.site.worker));
    }
    match loss {
        AttemptLoss::Returned => preparations::requeue(core, out, ended.at.job, now),
        // Not the code's death as far as is known, but bounded: it may be what kills workers.
        AttemptLoss::PerhapsBegun => {
            let why = "the worker was lost while the job waited there for its code or a slot";
            on_not_begun(core, out, ended, why.into(), now);
        }
        AttemptLoss::NotFetched(why) => {
            if let Some(task) = core.preparations.get_mut(&ended.at.job)
                && !task.excluded.contains(&ended.site)
            {
                task.excluded.push(ended.site.clone());
            }
            on_not_begun(core, out, ended, why, now);
        }
        AttemptLoss::NotBegun(why) | AttemptLoss::GivenBack(why) => on_not_begun(core, out, ended, why, now),
        AttemptLoss::Failed(why) => {
            health::note_failure(core, out, &ended, why.clone(), now);
            on_infra_failure(core, out, ended, InternalError::WorkerDraining(why), now);
        }
        AttemptLoss::WorkerLost => on_worker_lost(core, out, ended, now),
    }
}
