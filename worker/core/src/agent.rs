//! The agent: one event in, actions out.

use crate::{
    Action, AgentConfig, AttemptKey, DrainReason, Event, JobState, Request,
    job::Job,
    state::{Phase, WorkerState},
};
use pvf_proto::{ids::FencingToken, time::Timestamp, wire::CommandRefusal};

/// The core of a worker's agent. Its contract is in the [crate's documentation](crate).
#[derive(Debug)]
pub struct Agent {
    state: WorkerState,
}

/// How many jobs a worker has in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs for which something is being fetched.
    pub fetching: usize,
    /// Jobs that wait without a process.
    pub queued: usize,
    /// Jobs that are staged.
    pub staged: usize,
    /// Jobs that hold a slot.
    pub running: usize,
    /// Jobs whose process has ended and whose outcome is not known yet.
    pub finishing: usize,
    /// Jobs whose report is not acknowledged.
    pub unacknowledged: usize,
}

impl Agent {
    /// An agent that is not registered. Its first timeout is at once.
    pub fn new(config: AgentConfig, now: Timestamp) -> Self {
        Self { state: WorkerState::new(config, now) }
    }

    /// Handles one event. After [`Action::Leave`] events are ignored.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        let state = &mut self.state;
        if state.phase == Phase::Left {
            return;
        }
        match event {
            Event::Command { message, reply } => state.on_command(message, reply, now),
            Event::MalformedCommand { why, reply } => state.refuse(CommandRefusal::NotUnderstood(why), reply),
            Event::Answered { request: Request::Report(attempt), answer } => {
                state.on_report_answered(attempt, answer, now);
            }
            Event::Answered { request, answer } => state.on_beat_answered(request, answer, now),
            Event::Announced { token } => state.on_announced(token, now),
            Event::Fetched { fetch } => state.on_fetched(fetch),
            Event::FetchFailed { fetch, outcome, usage } => state.on_fetch_failed(fetch, outcome, usage, now),
            Event::Began { run } => state.on_began(run),
            Event::SlotReleased { run } => state.on_slot_released(run),
            Event::Ended { run, outcome, usage } => state.on_ended(run, outcome, usage, now),
            Event::Fit(fit) => state.on_fit(fit),
            Event::Shutdown => state.drain(DrainReason::Shutdown, now),
            Event::BusClosed => return state.leave(),
        }
        state.leave_if_done(now);
    }

    /// Does what is due at this time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let state = &mut self.state;
        if state.phase == Phase::Left {
            return;
        }
        if state.registration.next_beat <= now {
            state.on_heartbeat_due(now);
        }
        let due = |(id, job): (&_, &Job)| job.timeout().filter(|at| *at <= now).map(|at| (at, *id));
        let mut due: Vec<_> = state.jobs.iter().filter_map(due).collect();
        due.sort_unstable();
        for (_, id) in due {
            state.answer_if_due(id, now);
            state.repeat_report(id, now);
        }
        state.leave_if_done(now);
    }

    /// The next action to execute.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.state.pop()
    }

    /// When [`Agent::handle_timeout`] is to be called at the latest. None after [`Action::Leave`].
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let state = &self.state;
        let drained = match state.phase {
            Phase::Working => None,
            Phase::Draining { until } => Some(until),
            Phase::Left => return None,
        };
        let jobs = state.jobs.values().filter_map(Job::timeout);
        jobs.chain(drained).chain([state.registration.next_beat]).min()
    }

    /// Whether the worker has heard of this token, or of a higher one.
    pub fn knows(&self, token: FencingToken) -> bool {
        token <= self.state.token
    }

    /// Whether the coordinator accepted the registration and has not forgotten it, as far as the worker knows.
    pub fn is_registered(&self) -> bool {
        self.state.registration.registered
    }

    /// Whether the worker refuses new jobs because it ends.
    pub fn is_draining(&self) -> bool {
        self.state.phase != Phase::Working
    }

    /// Whether the machine can run jobs, as far as the worker knows.
    pub fn is_fit(&self) -> bool {
        self.state.fit
    }

    /// Whether this attempt may be started from what was fetched for it: it waits, or is staged and may be displaced
    /// and started again.
    pub fn needs_inputs(&self, attempt: AttemptKey) -> bool {
        self.state.find(attempt).is_some_and(|job| job.state.waits())
    }

    /// How many jobs there are in each state.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for job in self.state.jobs.values() {
            match job.state {
                JobState::Fetching { .. } => counts.fetching += 1,
                JobState::Queued { .. } => counts.queued += 1,
                JobState::Staged { .. } => counts.staged += 1,
                JobState::Running { .. } => counts.running += 1,
                JobState::Finishing { .. } => counts.finishing += 1,
                JobState::Finished(_) => counts.unacknowledged += 1,
                JobState::Gone => {}
            }
        }
        counts
    }

    #[cfg(test)]
    pub(crate) fn has_run(&self, run: crate::RunId) -> bool {
        self.state.find_run(run).is_some()
    }

    /// Panics if two parts of the state contradict each other. For tests and the simulation.
    #[doc(hidden)]
    pub fn assert_invariants(&self) {
        self.state.assert_invariants();
    }
}
