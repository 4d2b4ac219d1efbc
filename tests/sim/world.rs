//! Everything that happens in a run, in the order of a virtual clock.

use super::{
    checks::Checks,
    clients::Client,
    store::Store,
    workers::{self, Key, Worker},
};
use pvf_coordinator::scheduler::{
    Answer, Beyond, Command, Counts, Delivery, Event, Moment, Policy, Scheduler, SchedulerConfig,
};
use pvf_shared::{
    config::Timing,
    ids::{FencingToken, FleetName, NodeId, RequestId, WorkerId},
    priority::ExecuteKind,
    subjects::{self, Subject},
    wire::{ToWorker, Verdict, WorkerKind},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

const CLIENTS: usize = 4;
/// How long after everything is well again every request must be answered at the latest.
const SETTLED: Duration = Duration::from_secs(400);

/// The clockwork of the simulated fleet.
pub(super) fn timing() -> Timing {
    Timing {
        heartbeat: Duration::from_secs(2),
        worker_silence: Duration::from_secs(8),
        ack: Duration::from_secs(1),
        ask_again: Duration::from_secs(3),
    }
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events and timeouts that the scheduler handled.
    pub steps: u64,
    /// Requests that clients made.
    pub requests: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Dispatches.
    pub dispatches: u64,
    /// Artifacts that were pruned or replaced.
    pub dropped: u64,
    /// Coordinators that were replaced.
    pub restarts: u64,
    /// Windows of dispatches whose shares were checked.
    pub windows: u64,
    /// A hash over every effect: two runs of a seed have the same.
    pub trace: u64,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    Submission(NodeId, RequestId),
    Question(NodeId),
    Hello(WorkerId),
    Report(WorkerId, Key),
    Nobody,
}

#[derive(Debug)]
pub(super) enum Happening {
    /// A message arrives at the coordinator.
    Arrives(Event),
    /// What the coordinator's own shell says; not to another coordinator.
    Shell(u64, Event),
    Answered(Asker, Answer),
    Command(u64, WorkerId, ToWorker),
    Verdict(Arc<Verdict>, NodeId),
    ClientTick(NodeId),
    WorkerTick(WorkerId),
    JobEnds(WorkerId, Key),
    /// A worker does not wait any longer with the answer to a dispatch.
    AnswerDue(WorkerId, Key),
    ReportAgain(WorkerId, Key),
    Submit(NodeId, RequestId),
    NewWorker(Box<(WorkerKind, u32, String, u32)>),
    StoreWorks,
    LinkUp,
}

/// A run.
pub struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Moment,
    pub(super) scheduler: Scheduler,
    pub(super) policy: Policy,
    pub(super) agenda: BinaryHeap<Reverse<(Moment, u64)>>,
    pub(super) happenings: HashMap<u64, Happening>,
    pub(super) sequence: u64,
    pub(super) askers: HashMap<Subject, Asker>,
    pub(super) clients: Vec<Client>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) store: Store,
    pub(super) checks: Checks,
    pub(super) engines: Vec<String>,
    pub(super) lost: u8,
    pub(super) doubled: u8,
    pub(super) link_up: bool,
    pub(super) names: u64,
    pub(super) summary: Summary,
    /// What waited, and what was counted, after the step before.
    pub(super) seen: ([u64; 4], Counts),
    /// The last dispatches during which every kind had something waiting.
    pub(super) history: Vec<ExecuteKind>,
    /// Every event and effect goes to stderr.
    pub(super) verbose: bool,
}

impl World {
    /// Everything as it is at the start.
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let now = Moment::at(Duration::from_secs(1_700_000_000));
        let policy = policy(&mut rng);
        let engines: Vec<String> = if rng.u8(0..10) < 3 { vec!["a".into(), "b".into()] } else { vec!["a".into()] };
        let checks = Checks::new(timing(), &policy, engines.len(), now);
        let mut world = Self {
            scheduler: scheduler(&policy, FencingToken(1), now),
            rng,
            now,
            policy,
            agenda: BinaryHeap::new(),
            happenings: HashMap::new(),
            sequence: 0,
            askers: HashMap::new(),
            clients: Vec::new(),
            workers: BTreeMap::new(),
            store: Store::default(),
            checks,
            engines,
            lost: 0,
            doubled: 0,
            link_up: true,
            names: 0,
            summary: Summary::default(),
            seen: ([0; 4], Counts::default()),
            history: Vec::new(),
            verbose: std::env::var_os("PVF_SIM_TRACE").is_some(),
        };
        world.drain();
        for _ in 0..CLIENTS {
            world.new_client();
        }
        for engine in world.engines.clone() {
            for n in 0..world.rng.u32(1..4) {
                world.new_worker(WorkerKind::Prepare, 1, &engine, n % 2);
            }
            for n in 0..world.rng.u32(2..5) {
                let slots = world.rng.u32(1..3);
                world.new_worker(WorkerKind::Execute, slots, &engine, n % 3);
            }
        }
        world
    }

    /// Events and timeouts that the scheduler handled.
    pub fn steps(&self) -> u64 {
        self.summary.steps
    }

    pub(super) fn name(&mut self) -> Uuid {
        self.names += 1;
        Uuid::from_u128(u128::from(self.names))
    }

    pub(super) fn new_client(&mut self) {
        let node = NodeId(self.name());
        self.clients.push(Client::new(node));
        self.after(timing().ask_again, Happening::ClientTick(node));
    }

    pub(super) fn new_worker(&mut self, kind: WorkerKind, slots: u32, engine: &str, host: u32) {
        let id = WorkerId(self.name());
        self.workers.insert(id, Worker::new(workers::hello(id, kind, slots, engine, host)));
        let delay = self.millis(0..500);
        self.after(delay, Happening::WorkerTick(id));
    }

    pub(super) fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    /// The coordinator's shell learns what became of a message, or of nothing.
    pub(super) fn shell_after(&mut self, delay: Duration, incarnation: u64, event: impl Into<Option<Event>>) {
        if let Some(event) = event.into() {
            self.after(delay, Happening::Shell(incarnation, event));
        }
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.agenda.push(Reverse((self.now.after(delay), self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    /// How long a message takes; now and then very long, so that others overtake it.
    pub(super) fn latency(&mut self) -> Duration {
        match self.rng.u8(0..40) {
            0 => self.millis(50..1500),
            _ => Duration::from_micros(self.rng.u64(50..3000)),
        }
    }

    /// Whether a message gets lost on its way.
    pub(super) fn is_lost(&mut self) -> bool {
        !self.link_up || self.rng.u8(0..100) < self.lost
    }

    /// A client or worker sends a message to the coordinator.
    pub(super) fn send(&mut self, asker: Asker, event: impl Fn(Option<Subject>) -> Event) {
        let reply = subjects::node(&FleetName::default(), &NodeId(self.name()));
        self.askers.insert(reply.clone(), asker);
        let copies = 1 + u8::from(self.rng.u8(0..100) < self.doubled);
        for copy in 0..copies {
            if !self.is_lost() {
                // A copy may come very late: after its sender was given up, or to another coordinator.
                let late = copy > 0 && self.rng.u8(0..2) == 0;
                let latency = if late { self.millis(0..20_000) } else { self.latency() };
                self.after(latency, Happening::Arrives(event(Some(reply.clone()))));
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while self.next(until) {}
        self.now = until;
    }

    /// The next thing that happens, if it is before `until`.
    pub(super) fn next(&mut self, until: Moment) -> bool {
        let timeout = self.scheduler.poll_timeout().map(|at| at.max(self.now));
        let first = self.agenda.peek().map(|Reverse((at, _))| *at);
        let timeout_first = match (timeout, first) {
            (Some(timeout), Some(first)) => timeout <= first,
            (timeout, _) => timeout.is_some(),
        };
        if timeout_first {
            let at = timeout.expect("seen above");
            if at > until {
                return false;
            }
            self.now = at;
            self.scheduler.handle_timeout(self.now);
            self.checks.expire(self.now, |id| self.scheduler.knows_worker(id));
            self.after_step();
            return true;
        }
        let Some(Reverse((at, sequence))) = self.agenda.peek().copied() else { return false };
        if at > until {
            return false;
        }
        self.agenda.pop();
        self.now = at;
        let happening = self.happenings.remove(&sequence).expect("on the agenda");
        self.happen(happening);
        true
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.checks.before(&event, self.now);
        let submitted = match &event {
            Event::Submit { submission, reply, .. } => Some((submission.clone(), reply.clone())),
            _ => None,
        };
        if self.verbose {
            eprintln!("{:?} {event:?}", self.now);
        }
        self.scheduler.read_ahead(std::slice::from_ref(&event));
        self.scheduler.handle(event, self.now);
        self.checks.expire(self.now, |id| self.scheduler.knows_worker(id));
        if let Some((submission, reply)) = submitted {
            self.note_accepted(&submission, reply.as_ref());
        }
        self.after_step();
    }

    pub(super) fn after_step(&mut self) {
        self.summary.steps += 1;
        self.drain();
        self.scheduler.assert_invariants();
        self.check_shares();
    }

    pub(super) fn drain(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            self.perform_effect(effect);
        }
    }

    /// Everything is well again: every request of every living client must be answered, and the scheduler must then
    /// hold nothing but what it knows about artifacts and workers.
    pub fn settle(&mut self) -> Summary {
        (self.lost, self.doubled, self.store.failing) = (0, 0, false);
        if !std::mem::replace(&mut self.link_up, true) {
            self.tell(Event::Link { up: true });
        }
        for worker in self.workers.values_mut() {
            worker.stopped_until = worker.stopped_until.map(|_| self.now);
        }
        let end = self.now.after(SETTLED);
        while self.now < end && self.clients.iter().any(|c| !c.waiting.is_empty()) {
            self.pass(Duration::from_millis(500));
        }
        for client in &self.clients {
            let late: Vec<_> = client.waiting.iter().take(3).collect();
            assert!(late.is_empty(), "never answered: {late:?}");
        }
        let living: HashSet<_> = self.clients.iter().map(|c| c.node).collect();
        let left = self.checks.unanswered(&living);
        // What was cancelled may still be on its way.
        assert!(
            left.iter().all(|id| !self.scheduler.knows(*id)) || left.len() < 3,
            "accepted and never ended: {left:?}"
        );
        self.summary
    }
}

/// What became of a message; nobody asks what became of an acknowledgement.
pub(super) fn delivered(worker: WorkerId, message: &ToWorker, delivery: Delivery) -> Option<Event> {
    let (job, attempt, command) = match message {
        ToWorker::Dispatch(d) => (d.job, d.attempt, Command::Dispatch),
        ToWorker::Cancel { job, attempt, .. } => (*job, *attempt, Command::Cancel),
        ToWorker::Recall { job, attempt, .. } => (*job, *attempt, Command::Recall),
        ToWorker::Acknowledge { .. } => return None,
    };
    Some(Event::Delivered { worker, job, attempt, command, delivery })
}

/// The answer to a dispatch.
pub(super) fn dispatch_is(worker: WorkerId, (_, job, attempt): Key, delivery: Delivery) -> Event {
    Event::Delivered { worker, job, attempt, command: Command::Dispatch, delivery }
}

/// A policy: mostly the defaults, with times that a run can reach.
fn policy(rng: &mut fastrand::Rng) -> Policy {
    let mut policy = Policy {
        ahead: rng.u32(0..3),
        prepare_aging: Duration::from_secs([0, 5, 30][rng.usize(0..3)]),
        prune_interval: Duration::from_secs(7),
        prune_above: 2500,
        prune_min_age: Duration::from_secs(5),
        artifact_ttl: Duration::from_secs(60),
        failure_cool_down: Duration::from_secs(30),
        ..Policy::default()
    };
    policy.shares.restart = rng.u8(0..4) == 0;
    policy.shares.beyond = if rng.bool() { Beyond::MostUrgent } else { Beyond::LeastUrgent };
    if rng.u8(0..4) == 0 {
        policy.per_client.requests = 60;
        policy.per_kind.requests = 100;
    }
    policy
}

pub(super) fn scheduler(policy: &Policy, token: FencingToken, now: Moment) -> Scheduler {
    let config = SchedulerConfig { token, timing: timing(), policy: policy.clone(), version: "sim".into() };
    Scheduler::new(config, now)
}
