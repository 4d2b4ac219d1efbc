//! The state of a run and its virtual clock.

use super::{
    checks::Checks,
    clients::Client,
    network::{PendingCommand, Requester},
    scheduled::Scheduled,
    setup::{self, CLIENTS, SETTLED, WorkerSetup, timing},
    store::Store,
    workers::Worker,
};
use pvf_scheduler::{Answer, Counts, Effect, Event, Policy, Scheduler};
use pvf_shared::{
    identity::{ClientId, UserName, WorkerId},
    ids::{EngineId, FencingToken},
    priority::ExecuteKind,
    subjects::Subject,
    time::Timestamp,
    wire::WorkerKind,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
    time::Duration,
};
use uuid::Uuid;

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
    /// Attempts of a replaced coordinator with which jobs went on.
    pub adopted: u64,
    /// Executions about which two machines disagreed.
    pub disagreements: u64,
    /// Wrong verdicts that clients got: of executions that only the machine that is wrong has judged.
    pub lies: u64,
    /// Windows of dispatches whose shares were checked.
    pub windows: u64,
    /// A hash over every effect of the scheduler and every action of the workers: two runs of a seed have the same.
    pub trace: u64,
}

/// A run.
pub struct World {
    pub(super) rng: fastrand::Rng,
    pub(super) now: Timestamp,
    pub(super) scheduler: Scheduler,
    /// The machine whose workers judge some candidates wrongly.
    pub(super) liar: Option<u32>,
    pub(super) policy: Policy,
    /// When something is due, and its number in `scheduled`.
    calendar: BinaryHeap<Reverse<(Timestamp, u64)>>,
    scheduled: HashMap<u64, Scheduled>,
    last_number: u64,
    /// Requests to the coordinator by the subject of their answer. Those of workers are removed when they end.
    pub(super) requests: HashMap<Subject, Requester>,
    /// Commands that the coordinator's shell waits for, by the subject of their answer.
    pub(super) commands: HashMap<Subject, PendingCommand>,
    pub(super) clients: Vec<Client>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// Workers that an operator asks to drain, and of which it has not heard that they have left.
    pub(super) to_drain: BTreeSet<WorkerId>,
    pub(super) store: Store,
    pub(super) checks: Checks,
    pub(super) engines: Vec<EngineId>,
    /// Messages that are lost and duplicated, percent of each.
    pub(super) lost: u8,
    pub(super) duplicated: u8,
    pub(super) link_up: bool,
    /// Whether the scheduler was told that the coordinator hears over the bus.
    pub(super) hears: bool,
    /// The coordinator stands still since then; this reached it meanwhile.
    pub(super) stopped_since: Option<Timestamp>,
    pub(super) held: Vec<Scheduled>,
    last_uuid: u128,
    pub(super) summary: Summary,
    /// What waited, and what was counted, after the step before.
    pub(super) seen: ([u64; 4], Counts),
    /// The last dispatches during which every kind had work waiting.
    pub(super) history: Vec<ExecuteKind>,
    /// Every event, effect and action is printed to stderr (`PVF_SIM_TRACE`).
    pub(super) verbose: bool,
}

impl World {
    /// The start of a run.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    /// The start of a run with a policy that is changed.
    pub fn with(seed: u64, change: impl FnOnce(&mut Policy)) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let now = Timestamp::at(Duration::from_secs(1_700_000_000));
        let mut policy = setup::policy(&mut rng);
        change(&mut policy);
        let liar = setup::liar(&policy, &mut rng);
        let names: &[&str] = if rng.u8(0..10) < 3 { &["a", "b"] } else { &["a"] };
        let engines: Vec<_> = names.iter().map(|name| EngineId::parse(name).expect("an engine id")).collect();
        let checks = Checks::new(timing(), &policy, (engines.len(), liar), now);
        let mut world = Self {
            scheduler: setup::scheduler(&policy, FencingToken(1), now),
            rng,
            now,
            liar,
            policy,
            calendar: BinaryHeap::new(),
            scheduled: HashMap::new(),
            last_number: 0,
            requests: HashMap::new(),
            commands: HashMap::new(),
            clients: Vec::new(),
            workers: BTreeMap::new(),
            to_drain: BTreeSet::new(),
            store: Store::default(),
            checks,
            engines,
            lost: 0,
            duplicated: 0,
            link_up: true,
            hears: true,
            stopped_since: None,
            held: Vec::new(),
            last_uuid: 0,
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
                world.new_worker(WorkerSetup {
                    kind: WorkerKind::Prepare,
                    slots: 1,
                    engine: engine.clone(),
                    host: n % 2,
                });
            }
            for n in 0..world.rng.u32(2..5) {
                let slots = world.rng.u32(1..3);
                world.new_worker(WorkerSetup { kind: WorkerKind::Execute, slots, engine: engine.clone(), host: n % 3 });
            }
        }
        world
    }

    /// Events and timeouts that the scheduler handled.
    pub fn steps(&self) -> u64 {
        self.summary.steps
    }

    pub(super) fn new_uuid(&mut self) -> Uuid {
        self.last_uuid += 1;
        Uuid::from_u128(self.last_uuid)
    }

    pub(super) fn new_client(&mut self) {
        let user = UserName::parse(["a", "b", "c"][self.rng.usize(0..3)]).expect("a name");
        let from = ClientId { user, session: self.new_uuid() };
        self.clients.push(Client::new(from));
        self.after(timing().ask_again, Scheduled::ClientTick(from));
    }

    pub(super) fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    pub(super) fn after(&mut self, delay: Duration, scheduled: Scheduled) {
        self.last_number += 1;
        self.calendar.push(Reverse((self.now.after(delay), self.last_number)));
        self.scheduled.insert(self.last_number, scheduled);
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while self.next(until) {}
        self.now = until;
    }

    /// What is due next, if it is before `until`. A timeout of the scheduler comes before what is due at the same time.
    fn next(&mut self, until: Timestamp) -> bool {
        let runs = self.stopped_since.is_none();
        let timeout = self.scheduler.poll_timeout().map(|at| at.max(self.now)).filter(|_| runs);
        let first = self.calendar.peek().map(|Reverse((at, _))| *at);
        let next = timeout.into_iter().chain(first).min().filter(|at| *at <= until);
        let Some(at) = next else { return false };
        self.now = at;
        if timeout == Some(at) {
            self.checks.expire(self.now);
            self.scheduler.handle_timeout(self.now);
            self.after_step();
            return true;
        }
        let Some(Reverse((_, number))) = self.calendar.pop() else { return false };
        let scheduled = self.scheduled.remove(&number).expect("in the calendar");
        self.becomes_due(scheduled);
        true
    }

    /// Tells the scheduler that something happened.
    pub(super) fn tell(&mut self, event: Event) {
        // That it was deaf counts before any silence does.
        if !matches!(event, Event::Link { up: false }) {
            self.checks.expire(self.now);
        }
        self.checks.before(&event, self.now);
        let submitted = match &event {
            Event::Submit { client, submission, reply, .. } => Some((*client, submission.clone(), reply.clone())),
            _ => None,
        };
        if self.verbose {
            eprintln!("{:?} {event:?}", self.now);
        }
        self.scheduler.handle(event, self.now);
        if let Some((from, submission, reply)) = submitted {
            self.note_accepted(from, &submission, reply.as_ref());
        }
        self.after_step();
    }

    fn after_step(&mut self) {
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

    /// The faults end: every request of every living client must be answered, what was accepted must have ended or be
    /// before its deadline, and every worker's report must be acknowledged.
    pub fn settle(&mut self) -> Summary {
        (self.lost, self.duplicated, self.store.failing) = (0, 0, false);
        self.checks.set_lossy(false, self.now);
        self.store.hangs_until = self.now;
        self.coordinator_resumes();
        self.link_works();
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            self.worker_resumes(id);
        }
        let end = self.now.after(SETTLED);
        while self.now < end && self.clients.iter().any(|c| !c.pending.is_empty()) {
            self.pass(Duration::from_millis(500));
        }
        for client in &self.clients {
            let late: Vec<_> = client.pending.iter().take(3).collect();
            assert!(late.is_empty(), "never answered: {late:?}");
        }
        self.settle_drains();
        self.pass(timing().ack * 14);
        for worker in self.workers.values() {
            worker.checks.settled(self.now);
        }
        let clients: Vec<_> = self.clients.iter().map(|c| c.id).collect();
        for from in clients {
            self.check_deadlines(from);
        }
        let left = self.checks.unanswered(&self.clients.iter().map(|c| c.id).collect());
        // A few cancellations may still be on their way.
        let known = left.iter().filter(|(client, id)| self.scheduler.knows(*client, *id)).count();
        assert!(known == 0 || left.len() < 3, "accepted and never ended: {left:?}");
        self.summary.lies = self.checks.lies;
        self.summary
    }

    /// What was accepted has ended at its deadline, also if its client does not wait for it any more: the coordinator
    /// is asked for it, and has a verdict or does not know it.
    fn check_deadlines(&mut self, from: ClientId) {
        let requests = self.checks.past_deadline(from, self.now);
        let (reply, asked) = (self.new_subject(), requests.clone());
        self.scheduler
            .handle(Event::Ask { client: from, requests, heard: vec![], reply: Some(reply.clone()) }, self.now);
        let mut unknown = HashSet::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            match effect {
                Effect::Reply { to, answer: Answer::Ask(answer) } if to == reply => unknown.extend(answer.unknown),
                effect => self.perform_effect(effect),
            }
        }
        let left = self.checks.past_deadline(from, self.now);
        let left: Vec<_> = left.iter().filter(|id| !unknown.contains(id)).collect();
        assert!(left.is_empty(), "accepted, and past its deadline without a verdict: {left:?} of {asked:?}");
    }
}
