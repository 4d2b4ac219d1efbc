//! What the worker knows: its jobs, its registration, and the actions that are not executed yet.

use crate::{
    Action, AttemptKey, FetchId, JobEvent, JobState, Notice, Request, RunId,
    job::{HeldAnswer, Job},
};
use lru::LruCache;
use pvf_proto::{
    config::{MAX_STAGED, ProtocolTimeouts},
    ids::{FencingToken, JobId},
    subjects::Subject,
    time::Timestamp,
    wire::{Dispatch, DispatchReply, WorkerHello, WorkerKind},
};
use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

/// Attempts that are remembered after their end, so that a repeated or late dispatch does not run again.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How a worker's agent is set up.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The kind of job that the worker runs.
    pub kind: WorkerKind,
    /// The registration; `holds`, `running` and `held` are filled in whenever it is sent.
    pub registration: WorkerHello,
    /// Intervals and time-outs of the fleet.
    pub timing: ProtocolTimeouts,
    /// How long jobs may go on after [`Event::Shutdown`](crate::Event::Shutdown): no longer than this, and than the
    /// wall-clock limit of each.
    pub drain: Duration,
}

/// What the worker does with new jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes them.
    Working,
    /// It refuses them, and leaves at this time, or when it has no job any more.
    Draining { until: Timestamp },
    /// It has left.
    Left,
}

/// The worker's relation to the coordinator.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) registered: bool,
    /// The registration or heartbeat that is under way.
    pub(crate) in_flight: Option<Request>,
    pub(crate) next_beat: Timestamp,
}

/// State of a worker's agent. The steps (`commands`, `slots`, `reports`, `registration`) are methods of it, each in its
/// own file.
#[derive(Debug)]
pub(crate) struct WorkerState {
    pub(crate) config: AgentConfig,
    /// The highest token seen: commands with a lower one are refused.
    pub(crate) token: FencingToken,
    pub(crate) phase: Phase,
    /// The machine can run jobs.
    pub(crate) fit: bool,
    pub(crate) registration: Registration,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    remembered: LruCache<AttemptKey, ()>,
    last_fetch: u64,
    last_run: u64,
    /// Grows with each job that gets a slot.
    last_order: u64,
    /// Places of displaced jobs fall, those of new jobs rise.
    first_place: i64,
    last_place: i64,
    actions: VecDeque<Action>,
}

impl WorkerState {
    pub(crate) fn new(config: AgentConfig, now: Timestamp) -> Self {
        Self {
            config,
            token: FencingToken(0),
            phase: Phase::Working,
            fit: true,
            registration: Registration { registered: false, in_flight: None, next_beat: now },
            jobs: BTreeMap::new(),
            remembered: LruCache::new(REMEMBERED),
            last_fetch: 0,
            last_run: 0,
            last_order: 0,
            first_place: 0,
            last_place: 0,
            actions: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.push(Action::Notice(notice));
    }

    pub(crate) fn inconsistent(&mut self, what: impl Into<String>) {
        self.notice(Notice::Inconsistent { what: what.into() });
    }

    pub(crate) fn next_run(&mut self) -> RunId {
        self.last_run += 1;
        RunId(self.last_run)
    }

    pub(crate) fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// Adds a new job. When it is fetched it is queued behind those of its urgency that were taken before.
    pub(crate) fn add(&mut self, dispatch: Dispatch, answer: Option<HeldAnswer>) {
        self.last_place += 1;
        self.last_fetch += 1;
        let (dispatch, fetch) = (Arc::new(dispatch), FetchId(self.last_fetch));
        let state = JobState::Fetching { fetch, place: self.last_place };
        self.jobs.insert(dispatch.job, Job { dispatch: dispatch.clone(), answer, state });
        self.push(Action::Fetch { fetch, dispatch });
    }

    /// A place in the queue before all others of the same urgency.
    pub(crate) fn place_in_front(&mut self) -> i64 {
        self.first_place -= 1;
        self.first_place
    }

    /// Moves a job on; whether that was legal. A job that is gone is removed.
    pub(crate) fn apply(&mut self, id: JobId, event: JobEvent) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else {
            self.inconsistent(format!("event {event:?} for job {id}, which is not here"));
            return false;
        };
        match job.state.transition(event) {
            Ok(JobState::Gone) => drop(self.jobs.remove(&id)),
            Ok(state) => job.state = state,
            Err(illegal) => {
                self.inconsistent(format!("job {id}: {illegal}"));
                return false;
            }
        }
        true
    }

    /// The job of an attempt, if it is the current one.
    pub(crate) fn find(&self, key: AttemptKey) -> Option<&Job> {
        self.jobs.get(&key.job).filter(|job| AttemptKey::from(&*job.dispatch) == key)
    }

    pub(crate) fn find_mut(&mut self, key: AttemptKey) -> Option<&mut Job> {
        self.jobs.get_mut(&key.job).filter(|job| AttemptKey::from(&*job.dispatch) == key)
    }

    /// The job that has this run.
    pub(crate) fn find_run(&self, run: RunId) -> Option<JobId> {
        self.jobs.iter().find(|(_, job)| job.state.run() == Some(run)).map(|(id, _)| *id)
    }

    /// The job of this fetch.
    pub(crate) fn find_fetch(&self, fetch: FetchId) -> Option<JobId> {
        self.jobs.iter().find(|(_, job)| job.state.fetch() == Some(fetch)).map(|(id, _)| *id)
    }

    /// The attempts that the worker has.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptKey> {
        self.jobs.values().map(|job| AttemptKey::from(&*job.dispatch))
    }

    /// An attempt is over here: a dispatch of it is a repetition.
    pub(crate) fn remember(&mut self, key: AttemptKey) {
        self.remembered.put(key, ());
    }

    pub(crate) fn is_remembered(&self, key: AttemptKey) -> bool {
        self.remembered.contains(&key)
    }

    pub(crate) fn takes_jobs(&self) -> bool {
        self.fit && self.phase == Phase::Working
    }

    pub(crate) fn slots(&self) -> usize {
        self.config.registration.slots as usize
    }

    /// Most jobs that it may have before their end: for each slot and each staging place one that has it or waits for
    /// it, and one more that is being fetched, which takes neither.
    pub(crate) fn max_jobs(&self) -> usize {
        2 * (self.slots() + MAX_STAGED as usize)
    }

    /// An answer to a command that may not want one.
    pub(crate) fn reply(&mut self, to: Option<Subject>, reply: DispatchReply) {
        if let Some(to) = to {
            self.push(Action::Reply { to, reply });
        }
    }
}
