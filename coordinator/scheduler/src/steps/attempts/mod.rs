//! How attempts end: reports and losses, with retries by the blame table.

mod execution;
mod preparation;

use crate::{
    core::{AttemptLoss, Core, Out},
    effect::Answer,
    keys::{AttemptKey, EndedAttempt},
    notice::Notice,
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

/// Who reports an attempt that was given up.
struct LateReport {
    at: AttemptKey,
    worker: WorkerId,
    usage: JobUsage,
}

/// A worker reports an attempt. It counts by this coordinator's token only, and if the attempt holds a slot here, or
/// did when it was given up.
pub(crate) fn on_report(
    core: &mut Core,
    out: &mut Out,
    (worker, report): (WorkerId, JobReport),
    reply: Option<Subject>,
    now: Timestamp,
) {
    let at = AttemptKey { job: report.job, attempt: report.attempt };
    match reply {
        Some(_) => out.reply(reply, Answer::Worker(WorkerReply::Ack)),
        // The report was the answer to the dispatch.
        None => out.acknowledge_later(worker, RunningJob { token: report.token, job: at.job, attempt: at.attempt }),
    }
    if report.token != core.config.token {
        return;
    }
    let site = core.workers.get(&worker).map(|worker| worker.site());
    let vacated = core.workers.vacate(&worker, at).is_some();
    let is_current = execution::is_current(core, at) || preparation::current(core, at).is_some();
    let Some(site) = site.filter(|_| vacated && is_current) else {
        let late = LateReport { at, worker, usage: report.usage };
        return match report.outcome {
            JobOutcome::Prepare(outcome) => preparation::on_late_report(core, out, late, outcome, now),
            JobOutcome::Execute(outcome) => execution::on_late_report(core, out, late, outcome, now),
        };
    };
    notice_report(core, out, (worker, &report), at);
    match report.outcome {
        JobOutcome::Prepare(PrepareOutcome::Internal(error @ InternalError::InputBlob(_)))
        | JobOutcome::Execute(ExecuteOutcome::Internal(error @ InternalError::InputBlob(_))) => {
            on_lost(core, out, EndedAttempt { at, site }, AttemptLoss::NotFetched(error.to_string()), now);
        }
        JobOutcome::Prepare(outcome) if !execution::is_current(core, at) => {
            preparation::on_report(core, out, EndedAttempt { at, site }, (outcome, report.usage), now);
        }
        JobOutcome::Execute(outcome) if preparation::current(core, at).is_none() => {
            if let Some(execution) = core.executions.get_mut(at.job) {
                let end = outcome.end();
                execution.reported.note(AttemptUsage { attempt: at.attempt, worker, end, usage: report.usage });
            }
            execution::on_report(core, out, EndedAttempt { at, site }, outcome, now);
        }
        JobOutcome::Prepare(_) | JobOutcome::Execute(_) => {
            let loss = AttemptLoss::Failed("the worker reported a job of the other kind".into());
            on_lost(core, out, EndedAttempt { at, site }, loss, now);
        }
    }
}

fn notice_report(core: &Core, out: &mut Out, (worker, report): (WorkerId, &JobReport), at: AttemptKey) {
    let (kind, queued) = if let Some(execution) = core.executions.get(at.job) {
        (Some(execution.kind), Duration::from(execution.context.timings.queued))
    } else if let Some(task) = core.preparations.get(&at.job) {
        (None, task.dispatched().map_or(Duration::ZERO, |dispatched| dispatched.since(task.enqueued)))
    } else {
        return;
    };
    let usage = report.usage;
    out.notice(Notice::JobReported { job: at.job, attempt: at.attempt, worker, kind, queued, usage });
}

/// An attempt ended without a report.
pub(crate) fn on_lost(core: &mut Core, out: &mut Out, ended: EndedAttempt, loss: AttemptLoss, now: Timestamp) {
    if preparation::current(core, ended.at).is_some() {
        preparation::on_lost(core, out, ended, loss, now);
    } else if execution::is_current(core, ended.at) {
        execution::on_lost(core, out, ended, loss, now);
    }
}
