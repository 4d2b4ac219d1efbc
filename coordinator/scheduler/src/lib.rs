//! The scheduler of a PVF validation fleet: a synchronous state machine without clock, I/O or tasks.
//!
//! Contract: after each [`Scheduler::handle`] or [`Scheduler::handle_timeout`], drain [`Scheduler::poll_effect`] until
//! it returns `None`, then wait for the next event or for [`Scheduler::poll_timeout`]. Time is an argument. No message
//! from the network can make the scheduler panic.
//!
//! The life of a request: `steps` accept it (`submit`), choose an engine (`placing`) and get its artifact
//! (`artifacts`); the execution waits in a queue (`policies`) until a worker has room (`dispatch`); reports and losses
//! end attempts, with retries by the blame table (`attempts`); the verdict is sent (`finish`). What may take long is
//! done piece by piece (`background`).
//!
//! Layers, each using only those below it: this file; `views` (what people see of the state); `steps` (what an event does); `operations` (changes of several
//! tables); `core` (the state, and what a step leaves behind); `policies` (decisions and queues); `tables` (data with
//! its indexes, and the four lifecycles); `collections`; `keys`, `time`, and the public types (`event`, `effect`,
//! `notice`, `settings`, `counts`).

mod collections;
mod core;
mod counts;
mod effect;
mod event;
mod invariants;
mod keys;
mod notice;
mod operations;
mod policies;
mod settings;
mod steps;
mod tables;
#[cfg(test)]
mod tests;
mod time;
mod views;

pub use counts::{Counts, Gauges};
pub use effect::{Answer, Answered, Effect, WorkKind};
pub use event::{Command, Delivery, Event, Listed};
pub use notice::{DropReason, JobSubject, Notice, RetryReason};
pub use policies::check;
pub use settings::{Beyond, CrossCheck, Limit, Policy, Rate, SchedulerConfig, Shares, UserLimits};
pub use tables::WorkerCondition;
pub use time::Timestamp;
pub use views::{
    ArtifactCondition, ArtifactFilter, ArtifactOrder, ArtifactView, Page, RequestFilter, RequestView, Stage,
    WorkerFilter, WorkerView,
};

use crate::core::{Core, FollowUp, Out};
use keys::AttemptKey;
use policies::DISPATCHES;
use pvf_proto::{identity::ClientId, ids::RequestId, verdict::Outcome, wire::FleetStatus};
use tables::Timer;

/// Timers, and deadlines, that are handled with one event; more follow with the next.
const TIMERS: usize = 64;
/// Pieces of background tasks that are done with one event.
const PIECES: usize = 48;

/// The scheduler. See the crate's documentation for its contract.
#[derive(Debug)]
pub struct Scheduler {
    core: Core,
    out: Out,
    more_to_dispatch: bool,
}

impl Scheduler {
    /// A scheduler that knows nothing yet. Its first effects ask what the store has, and which codes are pinned.
    pub fn new(config: SchedulerConfig, now: Timestamp) -> Self {
        let mut out = Out::default();
        out.effect(Effect::ListArtifacts);
        out.effect(Effect::ReadPins);
        Self { core: Core::new(config, now), out, more_to_dispatch: false }
    }

    /// Something happened.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        // Before the timers: whether the silence of others counts depends on it.
        if let Event::Link { up } = event {
            self.core.link_up_since = up.then_some(self.core.link_up_since.unwrap_or(now));
        }
        self.fire_timers(now);
        self.on_event(event, now);
        self.run_follow_ups(now);
        self.run_background(now);
        self.pump(now);
        self.out.flush_acknowledgement();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.fire_timers(now);
        self.run_background(now);
        self.pump(now);
    }

    /// The next thing that the shell has to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.pop_effect()
    }

    /// When [`Scheduler::handle_timeout`] is to be called at the latest; in the past if there is more to do at once.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.more_to_dispatch || !self.out.background.is_empty() {
            return Some(Timestamp::default());
        }
        [self.core.timers.next(), self.core.requests.next_deadline()].into_iter().flatten().min()
    }

    fn on_event(&mut self, event: Event, now: Timestamp) {
        use steps::{artifacts, attempts, clients, delivery, operators, status, submit, workers};
        use {
            clients::{ClientMessage, Question},
            delivery::CommandResult,
            operators::Asked,
            submit::Submitted,
        };
        let (core, out) = (&mut self.core, &mut self.out);
        match event {
            Event::Submit { client, submission, identity, reply } => {
                submit::on_submit(core, out, Submitted { client, submission: *submission, identity, reply }, now);
            }
            Event::Ask { client, requests, heard, reply } => {
                let body = Question { requests, heard };
                clients::on_ask(core, out, ClientMessage { client, body, reply }, now);
            }
            Event::Cancel { client, request: body, reply } => {
                clients::on_cancel(core, out, ClientMessage { client, body, reply });
            }
            Event::Leaves { client, update: body, reply } => {
                clients::on_leaves(core, out, ClientMessage { client, body, reply }, now);
            }
            Event::Status { host, reply } => status::on_status(core, out, host.as_deref(), reply, now),
            Event::Operator { operator, message, reply } => {
                operators::on_message(core, out, Asked { operator, message, reply }, now);
            }
            Event::Hello { worker, hello, reply } => workers::on_hello(core, out, (worker, hello), reply, now),
            Event::Heartbeat { worker, heartbeat, reply } => {
                workers::on_heartbeat(core, out, (worker, heartbeat), reply, now);
            }
            Event::Report { worker, report, reply } => attempts::on_report(core, out, (worker, *report), reply, now),
            Event::Goodbye { worker, reply } => workers::on_goodbye(core, out, worker, reply),
            Event::Delivered { worker, job, attempt, command, delivery } => {
                let at = AttemptKey { job, attempt };
                delivery::on_delivered(core, out, CommandResult { worker, at, command, delivery }, now);
            }
            Event::LookedUp { artifact, found } => artifacts::on_looked_up(core, out, &artifact, found, now),
            Event::Dropped { artifact, error } => artifacts::on_dropped(core, out, &artifact, error, now),
            Event::PinsRead { codes } => core.pins.read(codes),
            Event::PinsSaved { error } => operators::on_pins_saved(core, out, error.as_deref()),
            Event::Listed(listed) => artifacts::on_listed(core, out, listed, now),
            // Handled before the timers.
            Event::Link { .. } => {}
        }
    }

    fn run_follow_ups(&mut self, now: Timestamp) {
        while let Some(follow_up) = self.out.next_follow_up() {
            steps::run(&mut self.core, &mut self.out, follow_up, now);
        }
    }

    fn fire_timers(&mut self, now: Timestamp) {
        use operations::{adoption, preparations};
        use steps::{attempts, background, clients, workers};
        for _ in 0..TIMERS {
            let (core, out) = (&mut self.core, &mut self.out);
            match core.timers.pop_due(now) {
                Some(Timer::WorkerSilence(worker)) => workers::on_silence(core, out, worker, now),
                Some(Timer::WorkerPause(worker)) => workers::on_pause_over(core, out, worker),
                Some(Timer::ClientSilence(client)) => clients::on_silence(core, out, client, now),
                Some(Timer::RetryExecution(job)) => attempts::retry_execution(core, out, job, now),
                Some(Timer::SecondOpinion(job)) => attempts::on_second_opinion_due(core, out, job, now),
                Some(Timer::RetryPreparation(job)) => attempts::retry_preparation(core, out, job, now),
                Some(Timer::NoPrepareWorker(engine)) => preparations::give_up_unprepared(core, out, engine, now),
                Some(Timer::Unclaimed(worker, at)) => adoption::on_grace_over(core, out, (worker, at), now),
                // Jobs are dispatched after the timers.
                Some(Timer::DispatchBegins) => {}
                Some(Timer::Prune) => background::on_prune(core, out, now),
                None => break,
            }
            self.run_follow_ups(now);
        }
        for _ in 0..TIMERS {
            let Some(request) = self.core.requests.pop_due(now) else { break };
            self.out.follow_up(FollowUp::EndRequest { request, outcome: Some(Outcome::Expired) });
            self.run_follow_ups(now);
        }
    }

    /// Does some pieces of background tasks; none waits for the whole of another.
    fn run_background(&mut self, now: Timestamp) {
        let mut pieces = PIECES;
        while pieces > 0
            && let Some(task) = self.out.background.pop_front()
        {
            let share = pieces.min(PIECES / 2);
            pieces -= share;
            let mut task = Some(task);
            for _ in 0..share {
                let Some(rest) = task else { break };
                task = steps::background::do_piece(&mut self.core, &mut self.out, rest, now);
                self.run_follow_ups(now);
            }
            self.out.background.extend(task);
        }
    }

    /// Dispatches what can be; a long backlog in several goes.
    fn pump(&mut self, now: Timestamp) {
        use steps::{dispatch, recall};
        if now < self.core.dispatch_begins {
            return;
        }
        let mut left = DISPATCHES;
        while left > 0
            && let Some(next) = (self.core.workers.engines())
                .filter_map(|engine| dispatch::next_preparation(&mut self.core, &mut self.out, engine, now))
                .min_by_key(|next| next.order())
        {
            left -= 1;
            dispatch::dispatch_preparation(&mut self.core, &mut self.out, next, now);
            self.run_follow_ups(now);
        }
        for engine in self.core.workers.engines() {
            while left > 0
                && let Some(next) = dispatch::next_execution(&mut self.core, &mut self.out, engine)
            {
                left -= 1;
                dispatch::dispatch_execution(&mut self.core, &mut self.out, next, now);
                self.run_follow_ups(now);
            }
            if left > 0 {
                recall::recall_staged(&mut self.core, &mut self.out, engine);
            }
        }
        self.more_to_dispatch = left == 0;
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.out.counts
    }

    /// What is here now. Looks at every worker: not for every event.
    pub fn gauges(&self, now: Timestamp) -> Gauges {
        steps::status::gauges(&self.core, now)
    }

    /// Registered workers, by id.
    pub fn workers(&self, filter: &WorkerFilter, now: Timestamp) -> Page<WorkerView> {
        views::workers::list(&self.core, filter, now)
    }

    /// Requests without a verdict, those that arrived last first.
    pub fn requests(&self, filter: &RequestFilter) -> Page<RequestView> {
        views::requests::list(&self.core, filter)
    }

    /// The requests without a verdict that have this id: clients choose ids, so several may.
    pub fn requests_with_id(&self, id: RequestId) -> Vec<RequestView> {
        views::requests::with_id(&self.core, id)
    }

    /// What a request waits for, or where it runs: sentences for people.
    pub fn explain(&self, request: &RequestView, now: Timestamp) -> Vec<String> {
        views::explain::request(&self.core, request, now)
    }

    /// Artifacts, and failures of preparations that are kept.
    pub fn artifacts(&self, filter: &ArtifactFilter) -> Page<ArtifactView> {
        views::artifacts::list(&self.core, filter)
    }

    /// The shares of the kinds of execution.
    pub fn shares(&self) -> Shares {
        self.core.config.policy.shares
    }

    /// The size of all artifacts in the store, bytes.
    pub fn artifact_bytes(&self) -> u64 {
        self.core.artifacts.bytes()
    }

    /// The state of the fleet as a client is told it, without its workers.
    pub fn status(&self) -> FleetStatus {
        steps::status::fleet(&self.core, &self.out.counts, Vec::new())
    }

    /// Queued executions of each kind that were not dispatched before: retries may have to wait for a certain worker.
    #[doc(hidden)]
    pub fn waiting_in_turn(&self) -> [u64; 4] {
        self.core.execute_queue.depths_in_turn()
    }

    /// Whether a request is here, or was answered lately.
    #[doc(hidden)]
    pub fn knows(&self, client: ClientId, request: RequestId) -> bool {
        let waits = operations::clients::find_request(&self.core, client, request).is_some();
        waits || self.core.verdicts.get(&request, client).is_some()
    }
}
