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
    job::JobOutcome,
    subjects::Subject,
    wire::{JobReport, RunningJob, WorkerReply},
};
use std::time::Duration;

pub(crate) use execution::retry as retry_execution;
pub(crate) use preparation::retry as retry_preparation;

/// A worker reports an attempt. Only the attempt that holds a slot here, by this coordinator's token, counts.
pub(crate) fn on_report(core: &mut Core, out: &mut Out, report: JobReport, reply: Option<Subject>, now: Timestamp) {
    let at = AttemptKey { job: report.job, attempt: report.attempt };
    match reply {
        Some(_) => out.reply(reply, Answer::Worker(WorkerReply::Ack)),
        // The report was the answer to the dispatch.
        None => {
            out.acknowledge_later(report.worker, RunningJob { token: report.token, job: at.job, attempt: at.attempt })
        }
    }
    if report.token != core.config.token {
        return;
    }
    let Some(site) = core.workers.get(&report.worker).map(|worker| worker.site()) else { return };
    if core.workers.vacate(&report.worker, at).is_none() {
        return;
    }
    notice_report(core, out, &report, at);
    match report.outcome {
        JobOutcome::Prepare(outcome) if !execution::is_current(core, at) => {
            preparation::on_report(core, out, EndedAttempt { at, site }, outcome, now);
        }
        JobOutcome::Execute(outcome) if preparation::current(core, at).is_none() => {
            execution::on_report(core, out, EndedAttempt { at, site }, outcome, now);
        }
        JobOutcome::Prepare(_) | JobOutcome::Execute(_) => {
            let loss = AttemptLoss::GivenBack("the worker reported a job of the other kind".into());
            on_lost(core, out, EndedAttempt { at, site }, loss, now);
        }
    }
}

fn notice_report(core: &Core, out: &mut Out, report: &JobReport, at: AttemptKey) {
    let (kind, queued) = if let Some(execution) = core.executions.get(at.job) {
        (Some(execution.kind), Duration::from(execution.context.timings.queued))
    } else if let Some(task) = core.preparations.get(&at.job) {
        (None, task.dispatched().map_or(Duration::ZERO, |dispatched| dispatched.since(task.enqueued)))
    } else {
        return;
    };
    let (worker, usage) = (report.worker, report.usage);
    out.notice(Notice::JobReported { job: at.job, attempt: at.attempt, worker, kind, queued, usage });
}

/// An attempt ended without a report; it holds no slot any more.
pub(crate) fn on_lost(core: &mut Core, out: &mut Out, ended: EndedAttempt, loss: AttemptLoss, now: Timestamp) {
    if preparation::current(core, ended.at).is_some() {
        preparation::on_lost(core, out, ended, loss, now);
    } else if execution::is_current(core, ended.at) {
        execution::on_lost(core, out, ended, loss, now);
    }
}
