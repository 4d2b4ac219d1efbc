//! Registration, heartbeats and deregistration.

use crate::{
    Action, AttemptKey, DrainReason, JobState, Notice, Request,
    job::Job,
    state::{Phase, WorkerState},
};
use pvf_proto::{
    ids::FencingToken,
    job::JobSpec,
    time::Timestamp,
    units::{MAX_WAIT, WALL_CLOCK_FACTOR},
    wire::{Heartbeat, HeldAttempt, HeldStage, MAX_HELD, WorkerHello, WorkerReply},
};
use std::{cmp::Reverse, time::Duration};

/// How long a worker that ends waits for the acknowledgement of its last report.
const LAST_REPORT: Duration = Duration::from_secs(15);

/// The wall-clock limit of a job.
fn wall_clock_limit(job: &Job) -> Duration {
    let cpu_limit = match &job.dispatch.spec {
        JobSpec::Prepare(spec) => spec.cpu_limit,
        JobSpec::Execute(spec) => spec.cpu_limit,
    };
    cpu_limit.saturating_mul(WALL_CLOCK_FACTOR).min(MAX_WAIT)
}

impl WorkerState {
    /// The heartbeat is due.
    pub(crate) fn on_heartbeat_due(&mut self, now: Timestamp) {
        self.registration.next_beat = now.after(self.config.timing.heartbeat);
        self.beat();
    }

    /// Sends a registration until it is accepted, heartbeats from then on; one request at a time.
    fn beat(&mut self) {
        if self.registration.in_flight.is_some() {
            return;
        }
        let running = self.attempts().map(Into::into).collect();
        let own = &self.config.registration;
        if self.registration.registered {
            let draining = !self.takes_jobs();
            let is_being_fetched = |job: &&Job| matches!(job.state, JobState::Fetching { .. });
            let fetching =
                self.jobs.values().filter(is_being_fetched).map(|job| AttemptKey::from(&*job.dispatch).into());
            let fetching = fetching.collect();
            let heartbeat = Heartbeat { running, draining, fetching, ..Heartbeat::default() };
            self.registration.in_flight = Some(Request::Heartbeat);
            self.push(Action::Heartbeat(Box::new(heartbeat)));
        } else {
            let hello = WorkerHello { running, held: self.held(), ..own.clone() };
            self.registration.in_flight = Some(Request::Register);
            self.push(Action::Register(Box::new(hello)));
        }
    }

    /// What the worker's attempts are, for a coordinator that has not dispatched them.
    fn held(&self) -> Vec<HeldAttempt> {
        let stage = |job: &Job| match job.state {
            JobState::Fetching { .. } => Some(HeldStage::Fetching),
            JobState::Queued { .. } | JobState::Staged { .. } => Some(HeldStage::Staged),
            JobState::Running { .. } | JobState::Finishing { .. } => Some(HeldStage::Running),
            JobState::Finished(_) => Some(HeldStage::Ended),
            JobState::Gone => None,
        };
        let held = |job: &Job| {
            let (attempt, urgency) = (AttemptKey::from(&*job.dispatch).into(), job.dispatch.urgency);
            Some(HeldAttempt { attempt, urgency, stage: stage(job)?, work: (&*job.dispatch).into() })
        };
        let mut all: Vec<_> = self.jobs.values().filter_map(held).collect();
        all.sort_by_key(|held| Reverse(held.stage));
        all.truncate(MAX_HELD);
        all
    }

    /// Another coordinator is active: the worker registers with it at once. It may have done so already.
    pub(crate) fn on_announced(&mut self, token: FencingToken, now: Timestamp) {
        if token <= self.token {
            return;
        }
        self.token = token;
        self.registration.registered = false;
        self.notice(Notice::CoordinatorReplaced { token });
        self.on_heartbeat_due(now);
    }

    /// A registration or heartbeat was answered, or not.
    pub(crate) fn on_beat_answered(&mut self, request: Request, answer: Result<WorkerReply, String>, now: Timestamp) {
        if self.registration.in_flight.take() != Some(request) {
            self.inconsistent(format!("an answer to {request:?}, which is not under way"));
        }
        match answer {
            Ok(WorkerReply::Welcome { token }) => {
                self.token = self.token.max(token);
                self.registration.registered = true;
                self.notice(Notice::Registered { token });
                self.repeat_reports();
            }
            Ok(WorkerReply::Ack) => {}
            Ok(WorkerReply::Drain) => self.drain(DrainReason::Asked, now),
            Ok(WorkerReply::SayHello) => {
                self.registration.registered = false;
                self.notice(Notice::RegistrationLost);
                self.beat();
            }
            Ok(WorkerReply::Refused(why)) => self.notice(Notice::RegistrationRefused { why }),
            Err(why) => self.notice(Notice::CoordinatorSilent { why }),
        }
    }

    /// The machine can run jobs again, or not any more: the coordinator learns it by a heartbeat.
    pub(crate) fn on_fit(&mut self, fit: bool) {
        if self.fit != fit {
            self.fit = fit;
            self.beat();
        }
    }

    /// No more jobs; those that the worker has may end until their limits have passed, or the drain time is over.
    pub(crate) fn drain(&mut self, why: DrainReason, now: Timestamp) {
        if self.phase != Phase::Working {
            return;
        }
        let longest = self.jobs.values().map(wall_clock_limit).max().unwrap_or_default();
        self.phase = Phase::Draining { until: now.after(self.config.drain.min(longest + LAST_REPORT)) };
        self.notice(Notice::Draining { jobs: self.jobs.len(), why });
        self.beat();
    }

    /// Leaves if the worker drains and has no job any more, or its drain time is over.
    pub(crate) fn leave_if_done(&mut self, now: Timestamp) {
        if let Phase::Draining { until } = self.phase
            && (self.jobs.is_empty() || until <= now)
        {
            self.leave();
        }
    }

    /// Ends every job and deregisters.
    pub(crate) fn leave(&mut self) {
        let jobs: Vec<_> = self.jobs.keys().copied().collect();
        for job in jobs {
            self.withdraw(job);
        }
        self.phase = Phase::Left;
        self.push(Action::Leave);
    }
}
