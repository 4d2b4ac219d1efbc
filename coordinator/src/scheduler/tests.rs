//! Behaviour of the scheduler, seen from outside: events in, effects out. Every message is sent through
//! MessagePack on its way, and the invariants are swept after every step.

use super::*;
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, FleetName, NodeId, StorageRoot, WorkerId},
    job::*,
    params::{ExecutorParam, ExecutorParams},
    priority::ExecuteKind,
    store::{Found, seal::Mac},
    subjects,
    verdict::*,
    wire::*,
};
use std::time::Duration;
use uuid_of::*;

mod uuid_of {
    use super::*;
    pub(super) fn request(n: u64) -> RequestId {
        format!("{n:032x}").parse().unwrap()
    }
    pub(super) fn node(n: u64) -> NodeId {
        format!("{n:032x}").parse().unwrap()
    }
    pub(super) fn worker(n: u64) -> WorkerId {
        format!("{n:032x}").parse().unwrap()
    }
}

const TOKEN: FencingToken = FencingToken(7);

/// The hello of a worker of one slot, on a machine of its own.
fn hello(n: u64, kind: WorkerKind, name: &str) -> WorkerHello {
    WorkerHello {
        worker: worker(n),
        kind,
        slots: 1,
        engine: engine(name),
        host: format!("host{n}"),
        version: "t".into(),
        cpu_baseline: "v3".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![],
    }
}

fn heartbeat(n: u64, running: Vec<RunningJob>) -> Heartbeat {
    Heartbeat { worker: worker(n), running, draining: false, holdings: vec![] }
}

fn engine(name: &str) -> EngineId {
    EngineId::parse(name).unwrap()
}

fn info(n: u8) -> ArtifactInfo {
    ArtifactInfo { bytes: 1000, mac: Mac([n; 32]) }
}

/// A scheduler whose messages go through the wire format, with a clock that the test moves.
struct Env {
    scheduler: Scheduler,
    now: Moment,
    effects: VecDeque<Effect>,
}

impl Env {
    fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        let config = SchedulerConfig { token: TOKEN, timing: Timing::default(), policy, version: "t".into() };
        let now = Moment::at(Duration::from_secs(1_000_000));
        let mut env = Self { scheduler: Scheduler::new(config, now), now, effects: VecDeque::new() };
        env.drain();
        assert_eq!(env.next(), Effect::ListArtifacts);
        env
    }

    fn drain(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            let effect = match effect {
                Effect::ToWorker { worker, message } => {
                    Effect::ToWorker { worker, message: decode(&encode(&message)).unwrap() }
                }
                Effect::Verdict { node, verdict } => {
                    let sent = ToNode::Verdict(Box::new((*verdict).clone()));
                    let ToNode::Verdict(verdict) = decode(&encode(&sent)).unwrap();
                    Effect::Verdict { node, verdict: (*verdict).into() }
                }
                Effect::SaveNeeded { .. } => continue,
                other => other,
            };
            self.effects.push_back(effect);
        }
        self.scheduler.assert_invariants();
        // What is to be done in pieces is done before anything else happens.
        if self.scheduler.poll_timeout().is_some_and(|due| due <= self.now) {
            self.scheduler.handle_timeout(self.now);
            self.drain();
        }
    }

    fn event(&mut self, event: Event) {
        self.scheduler.read_ahead(std::slice::from_ref(&event));
        self.scheduler.handle(event, self.now);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(due) = self.scheduler.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.scheduler.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn worker(&mut self, n: u64, kind: WorkerKind, slots: u32) {
        self.worker_on(n, kind, slots, &format!("host{n}"));
    }

    fn worker_on(&mut self, n: u64, kind: WorkerKind, slots: u32, host: &str) {
        let hello = WorkerHello { slots, host: host.into(), ..hello(n, kind, "e") };
        let FromWorker::Hello(hello) = decode(&encode(&FromWorker::Hello(hello))).unwrap() else { panic!() };
        self.event(Event::Hello { hello, reply: None });
    }

    fn submit(&mut self, n: u64, code: u8, work: Work) {
        self.submit_with(n, code, ExecutorParams::default(), work);
    }

    fn submit_with(&mut self, n: u64, code: u8, executor_params: ExecutorParams, work: Work) {
        let submission = Submission {
            id: request(n),
            node: node(1),
            code: CodeRef { hash: CodeHash([code; 32]), blob: BlobRef::Stored { hash: BlobHash([code; 32]), len: 5 } },
            code_bomb_limit: 1000,
            executor_params,
            prepare_timeout: None,
            answer_within: Duration::from_secs(600),
            work,
        };
        let message = FromNode::Submit(Box::new(submission));
        let FromNode::Submit(submission) = decode(&encode(&message)).unwrap() else { panic!() };
        let identity = submission.validation_key();
        self.event(Event::Submit { submission, identity, reply: None });
    }

    fn artifact(code: u8) -> std::sync::Arc<ArtifactId> {
        let id = ArtifactId {
            code_hash: CodeHash([code; 32]),
            prep_hash: ExecutorParams::default().prep_hash(),
            engine: engine("e"),
        };
        id.into()
    }

    /// The store answers the look-up that must be next.
    fn looked_up(&mut self, code: u8, found: Option<Found>) {
        assert_eq!(self.next(), Effect::LookUp { artifact: Self::artifact(code) });
        self.event(Event::LookedUp { artifact: Self::artifact(code), found: Ok(found) });
    }

    fn next(&mut self) -> Effect {
        self.effects.pop_front().expect("an effect")
    }

    fn quiet(&self) {
        assert!(self.effects.is_empty(), "unexpected: {:?}", self.effects);
    }

    /// The dispatch that must be next; it is acknowledged.
    fn dispatched(&mut self) -> (WorkerId, Dispatch) {
        let effect = self.next();
        let Effect::ToWorker { worker, message: ToWorker::Dispatch(dispatch) } = effect else {
            panic!("expected a dispatch, got {effect:?}")
        };
        assert_eq!(dispatch.token, TOKEN);
        let (job, attempt) = (dispatch.job, dispatch.attempt);
        self.event(Event::Delivered { worker, job, attempt, command: Command::Dispatch, delivery: Delivery::Taken });
        (worker, *dispatch)
    }

    /// A job's report comes; it is acknowledged.
    fn report(&mut self, at: &(WorkerId, Dispatch), outcome: JobOutcome) {
        let (before, reply) = (self.effects.len(), subjects::from_worker(&FleetName::default()));
        self.reported(at, outcome, Some(reply.clone()));
        let ack = Effect::Reply { to: reply, answer: Answer::Worker(WorkerReply::Ack) };
        assert_eq!(self.effects.remove(before), Some(ack));
    }

    fn reported(&mut self, (worker, dispatch): &(WorkerId, Dispatch), outcome: JobOutcome, reply: Option<Subject>) {
        let report = JobReport {
            worker: *worker,
            token: dispatch.token,
            job: dispatch.job,
            attempt: dispatch.attempt,
            outcome,
            usage: JobUsage::default(),
        };
        let message = FromWorker::Report(Box::new(report));
        let FromWorker::Report(report) = decode(&encode(&message)).unwrap() else { panic!() };
        self.event(Event::Report { report, reply });
    }

    fn prepared(&mut self, at: &(WorkerId, Dispatch), n: u8) {
        self.report(at, JobOutcome::Prepare(PrepareOutcome::Prepared(info(n))));
    }

    fn executed(&mut self, at: &(WorkerId, Dispatch), outcome: ExecuteOutcome) {
        self.report(at, JobOutcome::Execute(outcome));
    }

    fn verdict(&mut self) -> Verdict {
        match self.next() {
            Effect::Verdict { verdict, .. } => (*verdict).clone(),
            other => panic!("expected a verdict, got {other:?}"),
        }
    }
}

fn execute(kind: ExecuteKind) -> Work {
    let context = CandidateContext {
        parent_head: Bytes::new(),
        relay_parent_number: 1,
        relay_parent_storage_root: StorageRoot([0; 32]),
        extension: None,
        block_data_form: BlockDataForm::MaybeCompressed,
    };
    Work::Execute(Box::new(ExecuteSubmission {
        kind,
        context,
        block_data: BlobRef::Inline(Bytes::from_static(b"pov")),
        pov_bomb_limit: 1000,
        exec_timeout: None,
        relay_leaf: None,
        fresh: true,
    }))
}

fn valid() -> ExecuteOutcome {
    ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"r")))
}

/// As the seed and the existing host do it: no job ahead of a free slot, and clients never go.
fn strict() -> Policy {
    Policy { ahead: 0, client_silence: Duration::from_secs(100_000), ..Policy::default() }
}

/// One prepare worker (1) and two execute workers (2, 3) of one slot, on three hosts.
fn small_fleet() -> Env {
    let mut env = Env::with(strict());
    env.worker(1, WorkerKind::Prepare, 1);
    env.worker(2, WorkerKind::Execute, 1);
    env.worker(3, WorkerKind::Execute, 1);
    env
}

/// A small fleet that has the artifact of code 1.
fn warm_fleet() -> Env {
    let mut env = small_fleet();
    env.submit(99, 1, Work::Precheck);
    env.looked_up(1, Some(Found::Prepared(info(1))));
    assert_eq!(env.verdict().outcome, Outcome::PrecheckOk);
    env
}

mod behaviour;
mod faults;
mod preparing;
mod queues;
mod reproductions;
