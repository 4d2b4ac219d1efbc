//! The scheduler: a synchronous state machine without clock, I/O or tasks.
//!
//! Contract: after each [`Scheduler::handle`] or [`Scheduler::handle_timeout`], drain
//! [`Scheduler::poll_effect`] until it gives nothing, then wait until the next event or until
//! [`Scheduler::poll_timeout`]. Time is an argument. Nothing that comes off the network can make it panic.
//!
//! The life of a request: `intake` accepts it and chooses an engine; it waits for its artifact
//! (`artifacts`); an execution then waits in `execute_queue`; `dispatch` gives jobs to workers with free
//! slots (`fleet`); `results` reads reports, retries by the blame table and gives the verdict.

mod artifacts;
mod dispatch;
mod effect;
mod event;
mod execute_queue;
mod fleet;
mod intake;
mod invariants;
mod leaves;
mod prepare_queue;
mod queue;
mod results;
#[cfg(test)]
mod tests;
mod timers;
mod verdicts;
mod workers;

pub use effect::{Answer, Effect};
pub use event::{Delivery, Event};
pub use intake::check;
pub use timers::Moment;

use artifacts::{Artifact, Recipe};
use dispatch::Job;
use execute_queue::ExecuteQueue;
use fleet::{Avoid, Fleet};
use leaves::Leaves;
use prepare_queue::PrepareQueue;
use pvf_shared::{
    config::Timing,
    ids::{ArtifactId, Attempt, CodeHash, FencingToken, JobId, NodeId, PrepHash, RequestId, WorkerId},
    job::ArtifactInfo,
    subjects::Subject,
    wire::{ArtifactSummary, Timings, Work},
};
use std::collections::{BTreeSet, HashMap, VecDeque};
use timers::{Timer, Timers};
use verdicts::Verdicts;

/// What the scheduler must know from the start.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// This coordinator's token.
    pub token: FencingToken,
    /// The fleet's clockwork.
    pub timing: Timing,
    /// The coordinator's version, for people.
    pub version: String,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Preparations put into the queue.
    pub prepare_enqueued: u64,
    /// Preparations dispatched, each attempt.
    pub prepare_dispatched: u64,
    /// Preparations that ended with a report.
    pub prepare_concluded: u64,
    /// Executions put into the queue.
    pub execute_enqueued: u64,
    /// Executions dispatched, each attempt.
    pub execute_dispatched: u64,
    /// Executions that ended with a report.
    pub execute_finished: u64,
}

/// Where a request is in its life.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// No worker is there that could say which engine to use.
    WaitingForFleet { since: Moment },
    /// Its artifact is looked up or prepared.
    WaitingForArtifact { since: Moment },
    /// Its execution waits for a slot.
    Queued { since: Moment, job: JobId },
    /// It is executed.
    Executing { since: Moment, job: JobId, attempt: Attempt, worker: WorkerId },
}

/// A request without a verdict.
#[derive(Debug)]
struct Request {
    node: NodeId,
    code_hash: CodeHash,
    prep_hash: PrepHash,
    recipe: Recipe,
    work: Work,
    arrived: Moment,
    stage: Stage,
    artifact: Option<ArtifactId>,
    summary: Option<ArtifactSummary>,
    info: Option<ArtifactInfo>,
    timings: Timings,
    attempts: Attempt,
    avoid: Avoid,
    ambiguous: u32,
    our_failures: u32,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    requests: HashMap<RequestId, Request>,
    waiting_for_fleet: BTreeSet<RequestId>,
    artifacts: HashMap<ArtifactId, Artifact>,
    jobs: HashMap<JobId, Job>,
    prepare_queue: PrepareQueue,
    execute_queue: ExecuteQueue,
    fleet: Fleet,
    timers: Timers,
    verdicts: Verdicts,
    effects: VecDeque<Effect>,
    last_job: u64,
    leaves: Leaves,
    link_up_since: Option<Moment>,
    counts: Counts,
}

impl Scheduler {
    /// An empty scheduler.
    pub fn new(config: SchedulerConfig) -> Self {
        Self {
            config,
            requests: HashMap::new(),
            waiting_for_fleet: BTreeSet::new(),
            artifacts: HashMap::new(),
            jobs: HashMap::new(),
            prepare_queue: PrepareQueue::default(),
            execute_queue: ExecuteQueue::default(),
            fleet: Fleet::default(),
            timers: Timers::default(),
            verdicts: Verdicts::default(),
            effects: VecDeque::new(),
            last_job: 0,
            leaves: Leaves::default(),
            link_up_since: Some(Moment::default()),
            counts: Counts::default(),
        }
    }

    /// Something happened.
    pub fn handle(&mut self, event: Event, now: Moment) {
        match event {
            Event::Submit { submission, reply } => self.on_submit(*submission, reply, now),
            Event::Ask { request, reply } => self.on_ask(request, reply),
            Event::Cancel { request, node, reply } => self.on_cancel(request, node, reply, now),
            Event::Leaves { node, update, reply } => self.on_leaves(node, &update, reply, now),
            Event::Status { reply } => self.on_status(reply),
            Event::Hello { hello, reply } => self.on_hello(hello, reply, now),
            Event::Heartbeat { heartbeat, reply } => self.on_heartbeat(heartbeat, reply, now),
            Event::Report { report, reply } => self.on_report(*report, reply, now),
            Event::Goodbye { worker, reply } => self.on_goodbye(worker, reply, now),
            Event::Delivered { worker, job, attempt, cancel, delivery } => {
                if cancel {
                    self.on_cancel_delivered(worker, (job, attempt));
                } else {
                    self.on_dispatch_delivered(worker, (job, attempt), delivery, now);
                }
            }
            Event::LookedUp { artifact, found } => self.on_looked_up(artifact, found, now),
            Event::Dropped { artifact } => self.on_dropped(artifact, now),
            Event::Link { up } => self.link_up_since = up.then_some(self.link_up_since.unwrap_or(now)),
        }
        self.pump(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Deadline(request) => self.on_deadline(request, now),
                Timer::Silence(worker) => self.on_silence(worker, now),
            }
        }
        self.pump(now);
    }

    /// The next thing to be done outside.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Scheduler::handle_timeout`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn next_job(&mut self) -> JobId {
        self.last_job += 1;
        JobId(self.last_job)
    }

    fn reply(&mut self, to: Option<Subject>, answer: Answer) {
        if let Some(to) = to {
            self.effects.push_back(Effect::Reply { to, answer });
        }
    }
}
