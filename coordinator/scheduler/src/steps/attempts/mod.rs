//! How attempts end: reports and losses, with retries by the blame table.

mod execution;
mod preparation;
mod second_opinion;

use crate::{
    core::{AttemptLoss, Core, Out},
    effect::Answer,
    keys::{AttemptKey, EndedAttempt},
    notice::Notice,
    operations::adoption,
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    job::{ExecuteOutcome, JobOutcome, JobUsage, PrepareOutcome},
    subjects::Subject,
    verdict::InternalError,
    wire::{AttemptUsage, JobReport, RunningJob, WorkerReply},
};
use std::time::Duration;

pub(crate) use execution::retry as retry_execution;
pub(crate) use preparation::retry as retry_preparation;
pub(crate) use second_opinion::on_due as on_second_opinion_due;

/// Who reports an attempt that was given up.
struct LateReport {
    at: AttemptKey,
    worker: WorkerId,
    usage: JobUsage,
}

/// Whether a report is to be looked at. That of an attempt of an earlier coordinator which is unclaimed is kept for
/// the job that adopts it, and one of an attempt that the worker has not described yet comes again when it has: neither
/// is acknowledged.
fn is_due(core: &mut Core, worker: WorkerId, report: &JobReport, now: Timestamp) -> bool {
    let own = core.config.token;
    let at = AttemptKey { job: report.job, attempt: report.attempt };
    if report.token == own {
        return true;
    }
    if core.unclaimed.get((worker, at)).is_some_and(|unclaimed| unclaimed.token == report.token) {
        adoption::keep_report(core, (worker, at), Box::new(report.clone()), now);
        return false;
    }
    report.token < own && core.workers.get(&worker).is_some_and(|worker| worker.foreign.has(at))
}

/// A worker reports an attempt. It counts if the attempt holds a slot here, or did when it was given up.
pub(crate) fn on_report(
    core: &mut Core,
    out: &mut Out,
    (worker, report): (WorkerId, JobReport),
    reply: Option<Subject>,
    now: Timestamp,
) {
    if !is_due(core, worker, &report, now) {
        return;
    }
    let at = AttemptKey { job: report.job, attempt: report.attempt };
    match reply {
        Some(_) => out.reply(reply, Answer::Worker(WorkerReply::Ack)),
        // The report was the answer to the dispatch.
        None => out.acknowledge_later(worker, RunningJob { token: report.token, job: at.job, attempt: at.attempt }),
    }
    let site = core.workers.get(&worker).filter(|worker| worker.has_of(at, report.token)).map(|worker| worker.site());
    let vacated = site.is_some() && core.workers.vacate(&worker, at).is_some();
    let is_current = execution::is_current(core, at) || preparation::current(core, at).is_some();
    let Some(site) = site.filter(|_| vacated && is_current) else {
        let late = LateReport { at, worker, usage: report.usage };
        return match report.outcome {
            JobOutcome::Prepare(outcome) => preparation::on_late_report(core, out, late, outcome, now),
            JobOutcome::Execute(outcome) => execution::on_late_report(core, out, late, outcome, now),
        };
    };
    conclude(core, out, EndedAttempt { at, site }, report, now);
}

/// The report of an attempt that was kept until a job adopted the attempt.
pub(crate) fn on_adopted_report(core: &mut Core, out: &mut Out, worker: WorkerId, report: JobReport, now: Timestamp) {
    let at = AttemptKey { job: report.job, attempt: report.attempt };
    match core.workers.get(&worker).map(|worker| worker.site()) {
        Some(site) => conclude(core, out, EndedAttempt { at, site }, report, now),
        None => out.inconsistent(format_args!("job {} is adopted from {worker}, which is not registered", at.job)),
    }
}

/// A current attempt has ended with a report.
fn conclude(core: &mut Core, out: &mut Out, ended: EndedAttempt, report: JobReport, now: Timestamp) {
    let (at, worker) = (ended.at, ended.site.worker);
    notice_report(core, out, (worker, &report), at);
    match report.outcome {
        JobOutcome::Prepare(PrepareOutcome::Internal(error @ InternalError::InputBlob(_)))
        | JobOutcome::Execute(ExecuteOutcome::Internal(error @ InternalError::InputBlob(_))) => {
            on_lost(core, out, ended, AttemptLoss::NotFetched(error.to_string()), now);
        }
        JobOutcome::Prepare(outcome) if !execution::is_current(core, at) => {
            preparation::on_report(core, out, ended, (outcome, report.usage), now);
        }
        JobOutcome::Execute(outcome) if preparation::current(core, at).is_none() => {
            if let Some(execution) = core.executions.get_mut(at.job) {
                let end = outcome.end();
                execution.reported.note(AttemptUsage { attempt: at.attempt, worker, end, usage: report.usage });
            }
            execution::on_report(core, out, ended, outcome, now);
        }
        JobOutcome::Prepare(_) | JobOutcome::Execute(_) => {
            let loss = AttemptLoss::Failed("the worker reported a job of the other kind".into());
            on_lost(core, out, ended, loss, now);
        }
    }
}

fn notice_report(core: &Core, out: &mut Out, (worker, report): (WorkerId, &JobReport), at: AttemptKey) {
    let (about, kind, queued) = if let Some(execution) = core.executions.get(at.job) {
        (execution.subject(), Some(execution.kind), Duration::from(execution.context.timings.queued))
    } else if let Some(task) = core.preparations.get(&at.job) {
        let queued = task.dispatched().map_or(Duration::ZERO, |dispatched| dispatched.since(task.enqueued));
        (core.artifacts.subject(task.artifact), None, queued)
    } else {
        return;
    };
    let (job, attempt, end, usage) = (at.job, at.attempt, report.outcome.name(), Box::new(report.usage));
    out.notice(Notice::JobReported { job, attempt, worker, about, end, kind, queued, usage });
}

/// An attempt ended without a report.
pub(crate) fn on_lost(core: &mut Core, out: &mut Out, ended: EndedAttempt, loss: AttemptLoss, now: Timestamp) {
    if preparation::current(core, ended.at).is_some() {
        preparation::on_lost(core, out, ended, loss, now);
    } else if execution::is_current(core, ended.at) {
        execution::on_lost(core, out, ended, loss, now);
    } else {
        adoption::forget(core, (ended.site.worker, ended.at));
    }
}
