//! What the coordinator commands: dispatches and their admission, recalls, cancellations, acknowledgements.

use crate::{AttemptKey, JobState, Notice, job::HeldAnswer, state::WorkerState};
use pvf_proto::{
    ids::{FencingToken, JobId},
    job::JobSpec,
    subjects::Subject,
    time::Timestamp,
    wire::{CommandRefusal, Dispatch, DispatchReply, ToWorker, WorkerKind},
};

/// What a dispatch is, if it is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// A job for this worker.
    New,
    /// A repetition of one that the worker has, or has had.
    Repeated,
}

impl WorkerState {
    pub(crate) fn on_command(&mut self, message: ToWorker, reply: Option<Subject>, now: Timestamp) {
        let result = match message {
            ToWorker::Dispatch(dispatch) => return self.on_dispatch(*dispatch, reply, now),
            ToWorker::Acknowledge { reports } => {
                return reports.into_iter().for_each(|report| self.acknowledge(report.into()));
            }
            ToWorker::Recall { token, job, attempt } => self.on_recall(AttemptKey { token, job, attempt }),
            ToWorker::Cancel { token, job, attempt } => self.on_cancel(AttemptKey { token, job, attempt }),
        };
        match result {
            Ok(()) => self.reply(reply, DispatchReply::Taken),
            Err(why) => self.refuse(why, reply),
        }
    }

    pub(crate) fn refuse(&mut self, why: CommandRefusal, reply: Option<Subject>) {
        self.notice(Notice::CommandRefused { why: why.clone() });
        self.reply(reply, DispatchReply::Refused(why));
    }

    /// Commands of a coordinator that was replaced are refused.
    fn check_token(&mut self, got: FencingToken) -> Result<(), CommandRefusal> {
        if got < self.token {
            return Err(CommandRefusal::StaleToken { got, highest: self.token });
        }
        self.token = got;
        Ok(())
    }

    fn on_dispatch(&mut self, dispatch: Dispatch, reply: Option<Subject>, now: Timestamp) {
        if dispatch.token >= self.token {
            dispatch.acknowledged.iter().for_each(|report| self.acknowledge((*report).into()));
        }
        match self.admit(&dispatch) {
            Ok(Admission::New) => self.take(dispatch, reply, now),
            Ok(Admission::Repeated) => self.reply(reply, DispatchReply::Taken),
            Err(why) => self.refuse(why, reply),
        }
    }

    fn admit(&mut self, dispatch: &Dispatch) -> Result<Admission, CommandRefusal> {
        self.check_token(dispatch.token)?;
        let key = AttemptKey::from(dispatch);
        if self.find(key).is_some() || self.is_remembered(key) {
            return Ok(Admission::Repeated);
        }
        if !self.takes_jobs() {
            return Err(CommandRefusal::Draining);
        }
        let (kind, artifact) = match &dispatch.spec {
            JobSpec::Prepare(spec) => (WorkerKind::Prepare, &spec.artifact),
            JobSpec::Execute(spec) => (WorkerKind::Execute, &spec.artifact),
        };
        let own = &self.config.registration;
        if kind != self.config.kind {
            return Err(CommandRefusal::WrongKind(self.config.kind));
        }
        if artifact.engine != own.engine && !own.also_compiles_for.contains(&artifact.engine) {
            return Err(CommandRefusal::WrongEngine(own.engine.clone()));
        }
        Ok(Admission::New)
    }

    /// Takes a new job, unless too many wait already. Its answer is held back: a job that ends soon is answered by its
    /// report.
    fn take(&mut self, dispatch: Dispatch, reply: Option<Subject>, now: Timestamp) {
        let attempt = AttemptKey::from(&dispatch);
        // An earlier attempt of the same job is superseded: the coordinator does not want it any more.
        if self.jobs.contains_key(&attempt.job) {
            self.withdraw(attempt.job);
            self.fill_slots();
        }
        let is_here = |state: &JobState| state.waits() || matches!(state, JobState::Running { .. });
        if self.jobs.values().filter(|job| is_here(&job.state)).count() >= self.max_jobs() {
            return self.refuse(CommandRefusal::NoFreeSlot, reply);
        }
        let until = now.after(self.config.timing.hold_back());
        self.notice(Notice::JobTaken { attempt });
        self.add(dispatch, reply.map(|to| HeldAnswer { to, until }));
    }

    /// The attempt that a command is about, which says the token of the coordinator that commands: that of the
    /// dispatch, or a higher one, if a later coordinator has adopted the attempt or ends it. Job ids never repeat
    /// between coordinators, so that job and attempt are enough.
    fn meant(&self, by: AttemptKey) -> AttemptKey {
        let here = self.jobs.get(&by.job).map(|job| AttemptKey::from(&*job.dispatch));
        here.filter(|here| here.attempt == by.attempt && here.token <= by.token).unwrap_or(by)
    }

    /// A job that has not begun is given back.
    fn on_recall(&mut self, by: AttemptKey) -> Result<(), CommandRefusal> {
        let key = self.meant(by);
        self.answer_taken(key);
        self.check_token(by.token)?;
        if !self.find(key).is_some_and(|job| job.state.waits()) {
            return Err(CommandRefusal::NotStaged);
        }
        self.withdraw(key.job);
        self.remember(key);
        self.fill_slots();
        Ok(())
    }

    /// A job is stopped. An attempt that is not here may still be on its way: it is remembered, and not begun.
    fn on_cancel(&mut self, by: AttemptKey) -> Result<(), CommandRefusal> {
        let key = self.meant(by);
        self.answer_taken(key);
        self.check_token(by.token)?;
        if self.find(key).is_some() {
            self.withdraw(key.job);
        }
        self.remember(key);
        self.fill_slots();
        Ok(())
    }

    /// Answers a dispatch although its job has not ended, if the answer is still held back.
    pub(crate) fn answer_taken(&mut self, key: AttemptKey) {
        if let Some(answer) = self.find_mut(key).and_then(|job| job.answer.take()) {
            self.reply(Some(answer.to), DispatchReply::Taken);
        }
    }

    /// Answers a dispatch whose answer was held back for as long as it may.
    pub(crate) fn answer_if_due(&mut self, id: JobId, now: Timestamp) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.answer.as_ref().is_some_and(|answer| answer.until <= now) {
            self.answer_taken(AttemptKey::from(&*job.dispatch));
        }
    }
}
