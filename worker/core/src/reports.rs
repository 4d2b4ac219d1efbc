//! How jobs end: the report is the answer to the dispatch, or a message of its own, and is repeated until it is
//! acknowledged. There is one report for each attempt.

use crate::{
    Action, AttemptKey, FetchId, JobEvent, JobState, Notice, PendingReport, RunId,
    job::{Delivery, HeldAnswer, Job},
    state::WorkerState,
};
use pvf_proto::{
    ids::JobId,
    job::{JobOutcome, JobUsage},
    subjects::Subject,
    time::Timestamp,
    wire::{DispatchReply, JobReport, WorkerReply},
};

impl WorkerState {
    /// The outcome of a run is known.
    pub(crate) fn on_ended(&mut self, run: RunId, outcome: JobOutcome, usage: JobUsage, now: Timestamp) {
        let Some(id) = self.find_run(run) else { return self.unknown_run("ended", run) };
        if !matches!(self.jobs.get(&id).map(|job| &job.state), Some(JobState::Finishing { .. })) {
            self.release(run);
        }
        let Some(report) = self.report_of(id, outcome, usage) else { return };
        if !self.apply(id, JobEvent::Ended(report)) {
            return;
        }
        // The next job begins before anything is said about this one.
        self.fill_slots();
        self.report(id, now);
    }

    /// What a job needs could not be fetched.
    pub(crate) fn on_fetch_failed(&mut self, fetch: FetchId, outcome: JobOutcome, usage: JobUsage, now: Timestamp) {
        let Some(id) = self.find_fetch(fetch) else { return self.unknown_fetch("failed", fetch) };
        let Some(report) = self.report_of(id, outcome, usage) else { return };
        if self.apply(id, JobEvent::Failed(report)) {
            self.report(id, now);
        }
    }

    fn report_of(&self, id: JobId, outcome: JobOutcome, usage: JobUsage) -> Option<Box<JobReport>> {
        let AttemptKey { token, job, attempt } = AttemptKey::from(&*self.jobs.get(&id)?.dispatch);
        Some(Box::new(JobReport { token, job, attempt, outcome, usage }))
    }

    /// Sends the report of a job that has just ended.
    fn report(&mut self, id: JobId, now: Timestamp) {
        match self.jobs.get_mut(&id).and_then(|job| job.answer.take()) {
            Some(HeldAnswer { to, .. }) => self.report_as_answer(id, to, now),
            None => self.send_report(id),
        }
    }

    fn report_as_answer(&mut self, id: JobId, to: Subject, now: Timestamp) {
        let repeat_at = now.after(self.config.timing.ack);
        let Some(pending) = self.pending_report(id) else { return };
        pending.sent_as_answer(repeat_at);
        let report = Box::new(pending.report().clone());
        self.push(Action::Reply { to, reply: DispatchReply::Done(report) });
    }

    fn send_report(&mut self, id: JobId) {
        let Some(pending) = self.pending_report(id) else { return };
        let before = pending.sent_as_request();
        let report = Box::new(pending.report().clone());
        if let Delivery::Answered(_) = before {
            let (attempt, why) = (AttemptKey::from(&*report), "no acknowledgement in time".to_owned());
            self.notice(Notice::ReportUnacknowledged { attempt, why });
        }
        self.push(Action::Report(report));
    }

    fn pending_report(&mut self, id: JobId) -> Option<&mut PendingReport> {
        match &mut self.jobs.get_mut(&id)?.state {
            JobState::Finished(pending) => Some(pending),
            _ => None,
        }
    }

    /// A request with a report was answered, or not. The attempt may have been acknowledged otherwise meanwhile.
    pub(crate) fn on_report_answered(
        &mut self,
        attempt: AttemptKey,
        answer: Result<WorkerReply, String>,
        now: Timestamp,
    ) {
        match answer {
            Ok(WorkerReply::Refused(why)) => {
                self.notice(Notice::ReportRefused { attempt, why });
                self.acknowledge(attempt);
            }
            Ok(WorkerReply::Ack | WorkerReply::Drain | WorkerReply::Welcome { .. } | WorkerReply::SayHello) => {
                self.acknowledge(attempt);
            }
            Err(why) => {
                if let Some(JobState::Finished(pending)) = self.find_mut(attempt).map(|job| &mut job.state) {
                    pending.back_off(now);
                    self.notice(Notice::ReportUnacknowledged { attempt, why });
                }
            }
        }
    }

    /// The coordinator has the report of an attempt. It may say so more than once.
    pub(crate) fn acknowledge(&mut self, attempt: AttemptKey) {
        if self.find(attempt).is_some_and(|job| matches!(job.state, JobState::Finished(_))) {
            self.apply(attempt.job, JobEvent::Acknowledged);
            self.remember(attempt);
        }
    }

    /// Repeats every report that is not acknowledged: a coordinator that has just welcomed the worker knows none of
    /// them. A request with one that is under way may be on its way to a coordinator that stands still.
    pub(crate) fn repeat_reports(&mut self) {
        let is_pending = |job: &Job| matches!(job.state, JobState::Finished(_));
        let pending: Vec<_> = self.jobs.iter().filter(|(_, job)| is_pending(job)).map(|(id, _)| *id).collect();
        pending.into_iter().for_each(|id| self.send_report(id));
    }

    /// Repeats a report if its time has come.
    pub(crate) fn repeat_report(&mut self, id: JobId, now: Timestamp) {
        if self.pending_report(id).and_then(|pending| pending.repeat_at()).is_some_and(|at| at <= now) {
            self.send_report(id);
        }
    }
}
