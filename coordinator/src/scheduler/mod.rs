//! The scheduler: a synchronous state machine without clock, I/O or tasks.
//!
//! Contract: after each [`Scheduler::handle`] or [`Scheduler::handle_timeout`], drain
//! [`Scheduler::poll_effect`] until it gives nothing, then wait until the next event or until
//! [`Scheduler::poll_timeout`]. Time is an argument. Nothing that comes off the network can make it panic.
//!
//! The life of a request: `intake` accepts it, has it join an execution that does the same (`executions`), and
//! chooses an engine; it waits for its artifact (`artifacts`, made in `preparations`); the execution then waits in
//! `execute_queue`; `dispatch` gives jobs to workers with room (`fleet`); `results` reads reports and retries by
//! the blame table; `requests` gives the verdict. What may take long is done piece by piece (`chores`).

mod ahead;
mod artifacts;
mod chores;
mod clients;
mod deadlines;
mod dispatch;
mod effect;
mod event;
mod execute_queue;
mod executions;
mod fair;
mod fleet;
mod held;
mod intake;
mod invariants;
mod leaves;
mod lists;
mod numbered;
mod policy;
mod pool;
mod prefetch;
mod preparations;
mod prepare_queue;
mod programs;
mod quarantine;
mod requests;
mod results;
mod shares;
mod slab;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod verdicts;
mod workers;

pub use ahead::READ_AHEAD;
pub use clients::Limit;
pub use effect::{Answer, Effect};
pub use event::{Command, Delivery, Event, Listed};
pub use intake::check;
pub use policy::Policy;
pub use shares::{Beyond, Shares};
pub use status::Counts;
pub use timers::Moment;

use artifacts::{Artifacts, State, Waiter};
use chores::Chore;
use clients::Clients;
use deadlines::Deadlines;
use execute_queue::ExecuteQueue;
use executions::Execution;
use fleet::Fleet;
use hashbrown::HashMap;
use numbered::Numbered;
use preparations::Preparation;
use prepare_queue::PrepareQueue;
use programs::Programs;
use pvf_shared::{
    config::Timing,
    ids::{FencingToken, JobId, RequestId, WorkerId},
    subjects::Subject,
    wire::{RunningJob, ToWorker},
};
use quarantine::Quarantine;
use requests::Request;
use std::collections::{BTreeSet, VecDeque};
use table::Table;
use timers::{Timer, Timers};
use verdicts::{Cancelled, Verdicts};

/// Timers that are looked at after one event; more follow after the next.
const TIMERS: usize = 64;

/// What the scheduler must know from the start.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// This coordinator's token.
    pub token: FencingToken,
    /// The fleet's clockwork.
    pub timing: Timing,
    /// How the queues are run.
    pub policy: Policy,
    /// The coordinator's version, for people.
    pub version: String,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    requests: Table<RequestId, Request>,
    executions: Numbered<JobId, Execution>,
    /// Executions that others may join, by the tag of what makes two validations the same.
    identities: Table<u64, JobId>,
    preparations: HashMap<JobId, Preparation>,
    artifacts: Artifacts,
    programs: Programs,
    prepare_queue: PrepareQueue,
    execute_queue: ExecuteQueue,
    /// Whoever waits for the first worker of a kind.
    homeless: BTreeSet<Waiter>,
    clients: Clients,
    fleet: Fleet,
    quarantine: Quarantine,
    timers: Timers,
    deadlines: Deadlines,
    verdicts: Verdicts,
    cancelled: Cancelled,
    chores: VecDeque<Chore>,
    more_to_dispatch: bool,
    /// The report that this event brought, until a dispatch to its worker acknowledges it, or this event's end.
    acknowledged: Option<(WorkerId, RunningJob)>,
    effects: VecDeque<Effect>,
    last_job: u64,
    link_up_since: Option<Moment>,
    counts: Counts,
}

impl Scheduler {
    /// A scheduler that knows nothing yet. Its first effect asks what the store has.
    pub fn new(config: SchedulerConfig, now: Moment) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Prune, now.after(config.policy.prune_interval));
        Self {
            requests: Table::default(),
            executions: Numbered::default(),
            identities: Table::default(),
            preparations: HashMap::new(),
            artifacts: Artifacts::default(),
            programs: Programs::default(),
            prepare_queue: PrepareQueue::default(),
            execute_queue: ExecuteQueue::new(config.policy.shares),
            homeless: BTreeSet::new(),
            clients: Clients::default(),
            fleet: Fleet::new(config.policy.ahead),
            quarantine: Quarantine::default(),
            timers,
            deadlines: Deadlines::default(),
            verdicts: Verdicts::default(),
            cancelled: Cancelled::default(),
            chores: VecDeque::new(),
            more_to_dispatch: false,
            acknowledged: None,
            effects: VecDeque::from([Effect::ListArtifacts]),
            last_job: 0,
            link_up_since: Some(now),
            counts: Counts::default(),
            config,
        }
    }

    /// Something happened.
    pub fn handle(&mut self, event: Event, now: Moment) {
        self.fire_timers(now);
        match event {
            Event::Submit { submission, identity, reply } => {
                self.on_submit(*submission, identity, reply, now);
            }
            Event::Ask { node, requests, reply } => self.on_ask(node, &requests, reply, now),
            Event::Cancel { request, node, reply } => self.on_cancel(request, node, reply, now),
            Event::Leaves { node, update, reply } => self.on_leaves(node, &update, reply, now),
            Event::Status { host, reply } => self.on_status(host.as_deref(), reply),
            Event::Hello { hello, reply } => self.on_hello(hello, reply, now),
            Event::Heartbeat { heartbeat, reply } => self.on_heartbeat(heartbeat, reply, now),
            Event::Report { report, reply } => {
                self.on_report(*report, reply, now);
            }
            Event::Goodbye { worker, reply } => self.on_goodbye(worker, reply, now),
            Event::Delivered { worker, job, attempt, command, delivery } => {
                self.on_delivered(worker, (command, job, attempt), delivery, now);
            }
            Event::LookedUp { artifact, found } => self.on_looked_up(&artifact, found, now),
            Event::Dropped { artifact } => self.on_dropped(&artifact, now),
            Event::Listed(listed) => self.on_listed(listed, now),
            Event::Link { up } => self.link_up_since = up.then_some(self.link_up_since.unwrap_or(now)),
        }
        self.do_chores(now);
        self.pump(now);
        self.acknowledge();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.fire_timers(now);
        self.do_chores(now);
        self.pump(now);
    }

    /// If no dispatch acknowledged this event's report.
    fn acknowledge(&mut self) {
        if let Some((worker, report)) = self.acknowledged.take() {
            let message = ToWorker::Acknowledge { reports: vec![report] };
            self.effects.push_back(Effect::ToWorker { worker, message });
        }
    }

    fn fire_timers(&mut self, now: Moment) {
        for _ in 0..TIMERS {
            match self.timers.pop_due(now) {
                Some(Timer::Silence(worker)) => self.on_silence(worker, now),
                Some(Timer::Gone(client)) => self.on_client_silence(client, now),
                Some(Timer::Prune) => self.on_prune(now),
                None => break,
            }
        }
        for _ in 0..TIMERS {
            let Some((id, entry)) = self.deadlines.pop_due(now) else { break };
            if self.requests.get(&id).is_some_and(|request| request.entry == entry) {
                self.on_deadline(id, now);
            }
        }
    }

    /// The next thing to be done outside.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Scheduler::handle_timeout`] is to be called at the latest; in the past, if there is more to be done
    /// at once.
    pub fn poll_timeout(&self) -> Option<Moment> {
        if self.more_to_dispatch || !self.chores.is_empty() {
            return Some(Moment::default());
        }
        [self.timers.next(), self.deadlines.next()].into_iter().flatten().min()
    }

    /// Artifacts that the store has, and for how long nobody needed each.
    fn on_listed(&mut self, listed: Vec<Listed>, now: Moment) {
        for Listed { artifact, bytes, idle } in listed {
            let engine = self.fleet.engine_key(&artifact.engine);
            let known = self.artifacts.find(artifact.code_hash, artifact.prep_hash, engine);
            if known.is_none() {
                let key = self.artifacts.add(artifact, engine, State::Listed, now.before(idle));
                self.artifacts.set_bytes(key, bytes);
            }
        }
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
