//! Everything that happens in a run, in the order of a virtual clock.

use super::{
    checks::Checks,
    clients::{Client, Waiting},
    ops::Op,
    store::Store,
    truth,
    workers::{self, End, Key, Worker},
};
use pvf_coordinator::scheduler::{
    Answer, Command, Counts, Delivery, Effect, Event, Moment, Policy, Scheduler, SchedulerConfig,
};
use pvf_shared::{
    config::Timing,
    ids::{FencingToken, FleetName, NodeId, RequestId, WorkerId},
    priority::ExecuteKind,
    subjects::{self, Subject},
    wire::{
        ActiveLeaf, ActiveLeavesUpdate, DispatchReply, Refusal, Submission, SubmitReply, ToWorker, Verdict, Work,
        WorkerKind, WorkerReply,
    },
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
fn timing() -> Timing {
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
enum Asker {
    Submission(NodeId, RequestId),
    Question(NodeId),
    Hello(WorkerId),
    Report(WorkerId, Key),
    Nobody,
}

#[derive(Debug)]
enum Happening {
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
    ReportAgain(WorkerId, Key),
    Submit(NodeId, RequestId),
    NewWorker(Box<(WorkerKind, u32, String, u32)>),
    StoreWorks,
    LinkUp,
}

/// A run.
pub struct World {
    rng: fastrand::Rng,
    now: Moment,
    scheduler: Scheduler,
    policy: Policy,
    agenda: BinaryHeap<Reverse<(Moment, u64)>>,
    happenings: HashMap<u64, Happening>,
    sequence: u64,
    askers: HashMap<Subject, Asker>,
    clients: Vec<Client>,
    workers: BTreeMap<WorkerId, Worker>,
    store: Store,
    checks: Checks,
    engines: Vec<String>,
    lost: u8,
    doubled: u8,
    link_up: bool,
    names: u64,
    summary: Summary,
    /// What waited, and what was counted, after the step before.
    seen: ([u64; 4], Counts),
    /// The last dispatches during which every kind had something waiting.
    history: Vec<ExecuteKind>,
    /// Every event and effect goes to stderr.
    verbose: bool,
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

    fn name(&mut self) -> Uuid {
        self.names += 1;
        Uuid::from_u128(u128::from(self.names))
    }

    fn new_client(&mut self) {
        let node = NodeId(self.name());
        self.clients.push(Client::new(node));
        self.after(timing().ask_again, Happening::ClientTick(node));
    }

    fn new_worker(&mut self, kind: WorkerKind, slots: u32, engine: &str, host: u32) {
        let id = WorkerId(self.name());
        self.workers.insert(id, Worker::new(workers::hello(id, kind, slots, engine, host)));
        let delay = self.millis(0..500);
        self.after(delay, Happening::WorkerTick(id));
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.agenda.push(Reverse((self.now.after(delay), self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    /// How long a message takes; now and then very long, so that others overtake it.
    fn latency(&mut self) -> Duration {
        match self.rng.u8(0..40) {
            0 => self.millis(50..1500),
            _ => Duration::from_micros(self.rng.u64(50..3000)),
        }
    }

    /// Whether a message gets lost on its way.
    fn is_lost(&mut self) -> bool {
        !self.link_up || self.rng.u8(0..100) < self.lost
    }

    /// A client or worker sends a message to the coordinator.
    fn send(&mut self, asker: Asker, event: impl Fn(Option<Subject>) -> Event) {
        let reply = subjects::node(&FleetName::default(), &NodeId(self.name()));
        self.askers.insert(reply.clone(), asker);
        let copies = 1 + u8::from(self.rng.u8(0..100) < self.doubled);
        for _ in 0..copies {
            if !self.is_lost() {
                let latency = self.latency();
                self.after(latency, Happening::Arrives(event(Some(reply.clone()))));
            }
        }
    }

    /// Makes an operation happen.
    pub fn perform(&mut self, op: &Op) {
        let pick = |clients: &[Client], n: u8| clients[usize::from(n) % clients.len()].node;
        match op {
            Op::Wait(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Op::Execute { client, kind, code, candidate, leaf, fresh, seconds } => {
                let work = truth::execution(*kind, *candidate, *leaf, *fresh);
                let node = pick(&self.clients, *client);
                self.submit(node, *code, Duration::from_secs(u64::from(*seconds)), work);
            }
            Op::Burst { client, code, first, each } => {
                let node = pick(&self.clients, *client);
                for n in 0..u32::from(*each) {
                    for kind in ExecuteKind::ALL {
                        let candidate = first + n * 4 + kind as u32;
                        self.submit(
                            node,
                            *code,
                            Duration::from_secs(200),
                            truth::execution(kind, candidate, None, false),
                        );
                    }
                }
            }
            Op::Precheck { client, code } => {
                self.submit(pick(&self.clients, *client), *code, Duration::from_secs(200), Work::Precheck);
            }
            Op::HeadsUp { client, code } => {
                self.submit(pick(&self.clients, *client), *code, Duration::from_secs(200), Work::HeadsUp);
            }
            Op::Cancel { client, which } => {
                let node = pick(&self.clients, *client);
                let client = self.clients.iter_mut().find(|c| c.node == node).expect("picked");
                let ids: Vec<_> = client.waiting.keys().copied().collect();
                if let Some(id) = ids.get(usize::from(*which) % ids.len().max(1)) {
                    client.waiting.remove(id);
                    let request = *id;
                    self.send(Asker::Nobody, |reply| Event::Cancel { request, node, reply });
                }
            }
            Op::Leaf { client, activated, deactivated } => {
                let node = pick(&self.clients, *client);
                let activated = (activated != deactivated)
                    .then(|| ActiveLeaf { hash: [*activated; 32], ancestors: vec![[(activated + 1) % 4; 32]] });
                let update = ActiveLeavesUpdate { activated, deactivated: vec![[*deactivated; 32]] };
                self.send(Asker::Nobody, |reply| Event::Leaves { node, update: update.clone(), reply });
            }
            Op::ClientDies { client } => {
                let at = usize::from(*client) % self.clients.len();
                self.clients.remove(at);
                self.new_client();
            }
            Op::Weather { lost, doubled } => (self.lost, self.doubled) = (*lost, *doubled),
            other => self.perform_fault(other),
        }
    }

    fn perform_fault(&mut self, op: &Op) {
        let ids: Vec<_> = self.workers.keys().copied().collect();
        let pick = |n: &u8| ids.get(usize::from(*n) % ids.len().max(1)).copied();
        match op {
            Op::WorkerDies { worker, back } => {
                if let Some(id) = pick(worker) {
                    self.worker_dies(id, Duration::from_millis(u64::from(*back)));
                }
            }
            Op::WorkerStops { worker, ms } => {
                let until = self.now.after(Duration::from_millis(u64::from(*ms)));
                if let Some(worker) = pick(worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.stopped_until = Some(until);
                }
            }
            Op::WorkerDrains { worker } => {
                if let Some(worker) = pick(worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.draining = true;
                }
            }
            Op::WorkerForgets { worker } => {
                if let Some(worker) = pick(worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.forget_jobs();
                }
            }
            Op::LoseArtifacts { code } => self.store.lose(*code),
            Op::DamageArtifacts { code } => self.store.damage(*code),
            Op::StoreFails { ms } => {
                self.store.failing = true;
                self.after(Duration::from_millis(u64::from(*ms)), Happening::StoreWorks);
            }
            Op::LinkDown { ms } => {
                if std::mem::replace(&mut self.link_up, false) {
                    self.tell(Event::Link { up: false });
                }
                self.after(Duration::from_millis(u64::from(*ms)), Happening::LinkUp);
            }
            Op::Restart => {
                let token = FencingToken(self.checks.token.0 + 1);
                self.summary.restarts += 1;
                self.scheduler = scheduler(&self.policy, token, self.now);
                self.checks.restart(token, self.now, self.link_up);
                self.seen = ([0; 4], Counts::default());
                self.history.clear();
                if !self.link_up {
                    self.tell(Event::Link { up: false });
                }
                self.drain();
            }
            other => panic!("{other:?} is no fault"),
        }
    }

    fn worker_dies(&mut self, id: WorkerId, back: Duration) {
        let Some(dead) = self.workers.remove(&id) else { return };
        let host = dead.hello.host.trim_start_matches("host").parse().unwrap_or(0);
        let next = (dead.hello.kind, dead.hello.slots, dead.hello.engine.as_str().to_owned(), host);
        self.after(back, Happening::NewWorker(Box::new(next)));
    }

    fn submit(&mut self, node: NodeId, code: u8, within: Duration, work: Work) {
        let id = RequestId(self.name());
        self.summary.requests += 1;
        let submission = truth::submission(id, node, code, within, work);
        if let Some(client) = self.clients.iter_mut().find(|c| c.node == node) {
            client.waiting.insert(id, Waiting { submission, accepted: None });
            self.send_submission(node, id);
        }
    }

    fn waiting(&mut self, node: NodeId, id: RequestId) -> Option<&mut Waiting> {
        self.clients.iter_mut().find(|c| c.node == node)?.waiting.get_mut(&id)
    }

    fn send_submission(&mut self, node: NodeId, id: RequestId) {
        let Some(waiting) = self.waiting(node, id) else { return };
        let submission: Submission = waiting.submission.clone();
        self.send(Asker::Submission(node, id), |reply| {
            let identity = submission.validation_key();
            Event::Submit { submission: Box::new(submission.clone()), identity, reply }
        });
        // Nobody answered: again.
        self.after(timing().ack, Happening::Submit(node, id));
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while self.next(until) {}
        self.now = until;
    }

    /// The next thing that happens, if it is before `until`.
    fn next(&mut self, until: Moment) -> bool {
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

    fn tell(&mut self, event: Event) {
        self.checks.before(&event, self.now);
        let submitted = match &event {
            Event::Submit { submission, reply, .. } => Some((submission.clone(), reply.clone())),
            _ => None,
        };
        if self.verbose {
            eprintln!("{:?} {event:?}", self.now);
        }
        self.scheduler.handle(event, self.now);
        self.checks.expire(self.now, |id| self.scheduler.knows_worker(id));
        if let Some((submission, reply)) = submitted {
            self.note_accepted(&submission, reply.as_ref());
        }
        self.after_step();
    }

    fn after_step(&mut self) {
        self.summary.steps += 1;
        self.drain();
        self.scheduler.assert_invariants();
        self.check_shares();
    }

    /// Looks among the effects for the answer to a submission, before the effects of accepting it are judged.
    fn note_accepted(&mut self, submission: &Submission, reply: Option<&Subject>) {
        let mut effects = Vec::new();
        while let Some(effect) = self.scheduler.poll_effect() {
            effects.push(effect);
        }
        let accepted = effects.iter().any(|effect| {
            matches!(effect, Effect::Reply { to, answer: Answer::Submit(SubmitReply::Accepted) } if Some(to) == reply)
        });
        if accepted && !self.scheduler_was_told_to_forget(submission.id) {
            self.checks.on_accepted(submission, self.now);
        }
        for effect in effects {
            self.perform_effect(effect);
        }
    }

    /// A submission that was cancelled before it came is accepted and forgotten.
    fn scheduler_was_told_to_forget(&self, id: RequestId) -> bool {
        !self.scheduler.knows(id) && !self.clients.iter().any(|c| c.waiting.contains_key(&id))
    }

    fn drain(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            self.perform_effect(effect);
        }
    }

    fn perform_effect(&mut self, effect: Effect) {
        self.note_trace(&effect);
        if self.verbose {
            eprintln!("{:?} -> {effect:?}", self.now);
        }
        let incarnation = self.checks.token.0;
        match effect {
            Effect::Reply { to, answer } => {
                let asker = self.askers.get(&to).copied().unwrap_or(Asker::Nobody);
                if !self.is_lost() {
                    let latency = self.latency();
                    self.after(latency, Happening::Answered(asker, answer));
                }
            }
            Effect::Verdict { node, verdict } => {
                self.checks.on_verdict(&verdict);
                if !self.is_lost() {
                    let latency = self.latency();
                    self.after(latency, Happening::Verdict(verdict, node));
                }
            }
            Effect::ToWorker { worker, message } => {
                self.checks.on_message(worker, &message, self.now);
                self.summary.dispatches += u64::from(matches!(message, ToWorker::Dispatch(_)));
                self.send_command(incarnation, worker, message);
            }
            Effect::LookUp { artifact } => {
                let found = self.store.look_up(&artifact);
                let latency = self.latency();
                self.after(latency, Happening::Shell(incarnation, Event::LookedUp { artifact, found }));
            }
            Effect::Drop { artifact } => {
                self.summary.dropped += 1;
                self.checks.on_drop(&artifact, self.now);
                self.store.delete(&artifact);
                let latency = self.latency();
                self.after(latency, Happening::Shell(incarnation, Event::Dropped { artifact }));
            }
            Effect::ListArtifacts => {
                let listed = self.store.list();
                self.after(Duration::from_millis(5), Happening::Shell(incarnation, Event::Listed(listed)));
            }
            Effect::SaveNeeded { .. } | Effect::ForgetCode { .. } => {}
        }
    }

    fn note_trace(&mut self, effect: &Effect) {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, self.now).hash(&mut hasher);
        match effect {
            Effect::ToWorker { worker, message: ToWorker::Dispatch(d) } => {
                (worker, d.job, d.attempt, d.request).hash(&mut hasher)
            }
            Effect::Verdict { verdict, .. } => {
                (verdict.request, verdict.outcome.name(), verdict.worker).hash(&mut hasher)
            }
            other => std::mem::discriminant(other).hash(&mut hasher),
        }
        self.summary.trace = hasher.finish();
    }

    /// A command goes to a worker; what becomes of it comes back.
    fn send_command(&mut self, incarnation: u64, worker: WorkerId, message: ToWorker) {
        if self.is_lost() {
            let event = delivered(worker, &message, Delivery::Unknown("lost".into()));
            self.after(timing().ack, Happening::Shell(incarnation, event));
            return;
        }
        if self.rng.u8(0..100) < self.doubled {
            let latency = self.latency();
            self.after(latency, Happening::Command(0, worker, message.clone()));
        }
        let latency = self.latency();
        self.after(latency, Happening::Command(incarnation, worker, message));
    }

    /// The shares of the kinds, wherever all of them have something waiting all the time.
    fn check_shares(&mut self) {
        let (waiting, counts) = (self.scheduler.waiting_in_turn(), self.scheduler.counts());
        let (before, last) = std::mem::replace(&mut self.seen, (waiting, counts));
        let got: Vec<_> =
            ExecuteKind::ALL.map(|k| counts.execute_selected[k as usize] - last.execute_selected[k as usize]).into();
        let dispatched: u64 = got.iter().sum();
        // Some may be retries that cannot go to a worker yet.
        let backlogged = before.iter().chain(&waiting).all(|n| *n >= 3);
        let shares = self.policy.shares;
        // What came back without having begun does not count as a share.
        let judged = self.engines.len() == 1 && !shares.restart && counts.came_back == last.came_back;
        if !judged || !backlogged || dispatched > 1 {
            self.history.clear();
            return;
        }
        let Some(kind) = ExecuteKind::ALL.into_iter().find(|k| got[*k as usize] == 1) else { return };
        self.history.push(kind);
        // The window that is looked at was filled under the same conditions.
        let Some(from) = self.history.len().checked_sub(12).filter(|from| *from >= 12) else { return };
        self.summary.windows += 1;
        let window = &self.history[from..];
        let got = ExecuteKind::ALL.map(|k| window.iter().filter(|kind| **kind == k).count());
        // 70 % of 12; 80 % of the rest; all of what is left, but for one now and then.
        for (got, (least, most)) in got.into_iter().zip([(8, 9), (2, 4), (0, 2), (0, 1)]) {
            assert!((least..=most).contains(&got), "shares are not kept: {:?}", self.history);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(event) => self.tell(event),
            Happening::Shell(incarnation, event) => {
                if incarnation == self.checks.token.0 {
                    self.tell(event);
                }
            }
            Happening::Answered(asker, answer) => self.on_answer(asker, answer),
            Happening::Command(incarnation, worker, message) => self.on_command(incarnation, worker, message),
            Happening::Verdict(verdict, node) => {
                if let Some(client) = self.clients.iter_mut().find(|c| c.node == node) {
                    client.on_verdict(&verdict);
                    self.summary.answered += 1;
                }
            }
            Happening::ClientTick(node) => self.client_tick(node),
            Happening::WorkerTick(id) => self.worker_tick(id),
            Happening::JobEnds(id, key) => self.job_ends(id, key),
            Happening::ReportAgain(id, key) => self.report(id, key),
            Happening::Submit(node, id) => {
                if self.waiting(node, id).is_some_and(|w| w.accepted.is_none()) {
                    self.send_submission(node, id);
                }
            }
            Happening::NewWorker(next) => {
                let (kind, slots, engine, host) = *next;
                self.new_worker(kind, slots, &engine, host);
            }
            Happening::StoreWorks => self.store.failing = false,
            Happening::LinkUp => {
                if !std::mem::replace(&mut self.link_up, true) {
                    self.tell(Event::Link { up: true });
                }
            }
        }
    }

    fn on_answer(&mut self, asker: Asker, answer: Answer) {
        match (asker, answer) {
            (Asker::Submission(node, id), Answer::Submit(SubmitReply::Accepted)) => {
                let now = self.now;
                if let Some(waiting) = self.waiting(node, id) {
                    waiting.accepted.get_or_insert(now);
                }
            }
            (Asker::Submission(..), Answer::Submit(SubmitReply::Refused(Refusal::Overloaded { .. }))) => {}
            (Asker::Submission(..), answer) => panic!("a good submission is answered by {answer:?}"),
            (Asker::Question(node), Answer::Ask(answer)) => {
                for id in answer.unknown {
                    if let Some(waiting) = self.waiting(node, id) {
                        waiting.accepted = None;
                        self.send_submission(node, id);
                    }
                }
            }
            (Asker::Hello(id), Answer::Worker(WorkerReply::Welcome { token })) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.welcome(token);
                }
            }
            (Asker::Hello(id), Answer::Worker(WorkerReply::SayHello)) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.welcomed = false;
                }
            }
            (Asker::Report(id, key), Answer::Worker(_)) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.reports.remove(&key);
                }
            }
            (Asker::Nobody | Asker::Hello(_) | Asker::Question(_) | Asker::Report(..), _) => {}
        }
    }

    fn client_tick(&mut self, node: NodeId) {
        let Some(client) = self.clients.iter().find(|c| c.node == node) else { return };
        let since = |at: Moment| self.now.since(at) >= timing().ask_again;
        let asked = client.waiting.iter().filter(|(_, w)| w.accepted.is_some_and(since));
        let requests: Vec<_> = asked.map(|(id, _)| *id).collect();
        if !requests.is_empty() {
            self.send(Asker::Question(node), |reply| Event::Ask { node, requests: requests.clone(), reply });
        }
        self.after(timing().ask_again, Happening::ClientTick(node));
    }

    /// Whether a worker stands still; what happens to it then happens when it goes on.
    fn stands_still(&mut self, id: WorkerId) -> Option<Duration> {
        let worker = self.workers.get_mut(&id)?;
        let until = worker.stopped_until?;
        if until <= self.now {
            worker.stopped_until = None;
            return None;
        }
        Some(until.since(self.now))
    }

    fn worker_tick(&mut self, id: WorkerId) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::WorkerTick(id));
            return;
        }
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.draining && worker.is_idle() {
            let host = worker.hello.host.trim_start_matches("host").parse().unwrap_or(0);
            let (kind, slots, engine) =
                (worker.hello.kind, worker.hello.slots, worker.hello.engine.as_str().to_owned());
            self.workers.remove(&id);
            self.send(Asker::Nobody, |reply| Event::Goodbye { worker: id, reply });
            self.new_worker(kind, slots, &engine, host);
            return;
        }
        let (welcomed, hello, heartbeat) = (worker.welcomed, worker.hello.clone(), worker.heartbeat());
        self.send(Asker::Hello(id), |reply| match welcomed {
            true => Event::Heartbeat { heartbeat: heartbeat.clone(), reply },
            false => Event::Hello { hello: hello.clone(), reply },
        });
        self.after(timing().heartbeat, Happening::WorkerTick(id));
    }

    fn on_command(&mut self, incarnation: u64, id: WorkerId, message: ToWorker) {
        if let Some(rest) = self.stands_still(id) {
            // Nobody answers in time; the worker reads it when it goes on.
            if rest > timing().ack {
                let event = delivered(id, &message, Delivery::Unknown("no answer".into()));
                self.after(timing().ack, Happening::Shell(incarnation, event));
                self.after(rest, Happening::Command(0, id, message));
            } else {
                self.after(rest, Happening::Command(incarnation, id, message));
            }
            return;
        }
        let Some(worker) = self.workers.get_mut(&id) else {
            self.after(Duration::ZERO, Happening::Shell(incarnation, delivered(id, &message, Delivery::Nobody)));
            return;
        };
        let (reply, begun) = worker.on_command(message.clone());
        self.begin(id, begun);
        let delivery = match reply {
            DispatchReply::Taken => Delivery::Taken,
            DispatchReply::Refused(why) => Delivery::Refused(why),
        };
        let (delay, delivery) =
            if self.is_lost() { (timing().ack, Delivery::Unknown("lost".into())) } else { (self.latency(), delivery) };
        self.after(delay, Happening::Shell(incarnation, delivered(id, &message, delivery)));
    }

    fn begin(&mut self, id: WorkerId, begun: Vec<Key>) {
        let prepares = self.workers.get(&id).is_some_and(|w| w.hello.kind == WorkerKind::Prepare);
        for key in begun {
            let time = if prepares { self.millis(100..3000) } else { self.millis(1..150) };
            self.after(time, Happening::JobEnds(id, key));
        }
    }

    fn job_ends(&mut self, id: WorkerId, key: Key) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::JobEnds(id, key));
            return;
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let end = worker.end(key, &mut self.store);
        match end {
            None => {}
            Some(End::WorkerDies) => {
                self.worker_dies(id, Duration::from_secs(2));
                return;
            }
            Some(End::Report(outcome)) => {
                worker.keep_report(key, *outcome);
                self.report(id, key);
            }
        }
        let begun = self.workers.get_mut(&id).map(Worker::begin).unwrap_or_default();
        self.begin(id, begun);
    }

    /// Reports until somebody has acknowledged it.
    fn report(&mut self, id: WorkerId, key: Key) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::ReportAgain(id, key));
            return;
        }
        let Some(report) = self.workers.get(&id).and_then(|w| w.reports.get(&key)).cloned() else { return };
        self.send(Asker::Report(id, key), |reply| Event::Report { report: Box::new(report.clone()), reply });
        self.after(timing().ack, Happening::ReportAgain(id, key));
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

fn delivered(worker: WorkerId, message: &ToWorker, delivery: Delivery) -> Event {
    let (job, attempt, command) = match message {
        ToWorker::Dispatch(d) => (d.job, d.attempt, Command::Dispatch),
        ToWorker::Cancel { job, attempt, .. } => (*job, *attempt, Command::Cancel),
        ToWorker::Recall { job, attempt, .. } => (*job, *attempt, Command::Recall),
    };
    Event::Delivered { worker, job, attempt, command, delivery }
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
    if rng.u8(0..4) == 0 {
        policy.per_client.requests = 60;
        policy.per_kind.requests = 100;
    }
    policy
}

fn scheduler(policy: &Policy, token: FencingToken, now: Moment) -> Scheduler {
    let config = SchedulerConfig { token, timing: timing(), policy: policy.clone(), version: "sim".into() };
    Scheduler::new(config, now)
}
