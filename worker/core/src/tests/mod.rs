//! Tests of the core: each tells it what happened and takes exactly the actions that follow.

mod adoption;
mod commands;
mod fetching;
mod lifecycle;
mod registration;
mod reports;
mod slots;

use crate::{Action, Agent, AgentConfig, AttemptKey, DrainReason, Event, FetchId, Notice, Request, RunId};
use pvf_proto::{
    Bytes,
    blob::BlobRef,
    candidate::{BlockDataForm, CandidateContext},
    config::ProtocolTimeouts,
    host::HostIdentity,
    ids::{ArtifactId, CodeHash, EngineId, FencingToken, JobId, PrepHash, StorageRoot},
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob},
    params::ExecutorParams,
    subjects::Subject,
    time::Timestamp,
    wire::{
        self, Dispatch, DispatchReply, FromWorker, RunningJob, SPEAKS, SecurityStatus, ToWorker, WireMessage,
        WorkerHello, WorkerKind, WorkerReply,
    },
};
use std::{collections::VecDeque, fmt::Debug, ops::RangeInclusive, time::Duration};

/// Token of the coordinator that the tests play.
const TOKEN: FencingToken = FencingToken(7);
/// Time between two heartbeats: longer than any test but those of registration takes.
const HEARTBEAT: Duration = Duration::from_secs(1000);
const ACK: Duration = Duration::from_secs(2);
const HOLD_BACK: Duration = Duration::from_millis(50);
const DRAIN: Duration = Duration::from_secs(15);

/// An agent and its clock. Actions that no test took fail it when it is dropped.
struct Fixture {
    agent: Agent,
    now: Timestamp,
    /// Actions that no test took yet.
    actions: VecDeque<Action>,
    /// Every fetch is done at once, and is not among the actions.
    fetches_at_once: bool,
}

/// What travels has been bytes.
fn round_trip<T: WireMessage + PartialEq + Debug>(message: T) -> T {
    let read = wire::decode(&wire::encode(&message)).expect("a message that was encoded can be decoded");
    assert_eq!(read, message);
    read
}

fn engine(name: &str) -> EngineId {
    EngineId::parse(name).unwrap()
}

fn registration(slots: u32) -> WorkerHello {
    WorkerHello {
        speaks: SPEAKS,
        slots,
        engine: engine("own"),
        host: "host".into(),
        identity: HostIdentity::default(),
        version: "test".into(),
        host_functions: "f".into(),
        cpu_baseline: "v1".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![],
        also_compiles_for: vec![],
        signs_with: None,
        trusts: vec![],
        held: vec![],
    }
}

fn artifact(engine_name: &str) -> ArtifactId {
    ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine: engine(engine_name) }
}

fn execution(engine: &str) -> JobSpec {
    JobSpec::Execute(Box::new(ExecuteJob {
        artifact: artifact(engine),
        digest: None,
        context: CandidateContext {
            parent_head: Bytes::new(),
            relay_parent_number: 1,
            relay_parent_storage_root: StorageRoot([0; 32]),
            extension: None,
            block_data_form: BlockDataForm::MaybeCompressed,
        },
        block_data: BlobRef::Inline(Bytes::new()),
        executor_params: ExecutorParams::default(),
        cpu_limit: Duration::from_secs(1),
        pov_bomb_limit: 1,
    }))
}

fn preparation() -> JobSpec {
    JobSpec::Prepare(Box::new(PrepareJob {
        artifact: artifact("own"),
        executor_params: ExecutorParams::default(),
        cpu_limit: Duration::from_secs(1),
        code_bomb_limit: 1,
        precheck: false,
        threads: 1,
    }))
}

fn dispatch(job: u64, urgency: u8) -> Dispatch {
    Dispatch {
        token: TOKEN,
        job: JobId(job),
        attempt: 1,
        urgency,
        request: None,
        spec: execution("own"),
        holders: vec![],
        acknowledged: vec![],
        validation: None,
    }
}

fn key(job: u64) -> AttemptKey {
    AttemptKey { token: TOKEN, job: JobId(job), attempt: 1 }
}

fn recall(job: u64) -> ToWorker {
    ToWorker::Recall { token: TOKEN, job: JobId(job), attempt: 1 }
}

fn cancel(job: u64) -> ToWorker {
    ToWorker::Cancel { token: TOKEN, job: JobId(job), attempt: 1 }
}

fn acknowledge(job: u64) -> ToWorker {
    ToWorker::Acknowledge { reports: vec![key(job).into()] }
}

fn outcome() -> JobOutcome {
    JobOutcome::Execute(ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"result"))))
}

impl Fixture {
    /// An agent that has not sent anything yet.
    fn unregistered(config: AgentConfig) -> Self {
        let now = Timestamp::at(Duration::from_secs(1_700_000_000));
        Self { agent: Agent::new(config, now), now, actions: VecDeque::new(), fetches_at_once: true }
    }

    fn config(kind: WorkerKind, slots: u32) -> AgentConfig {
        let timing = ProtocolTimeouts { heartbeat: HEARTBEAT, ack: ACK, ..ProtocolTimeouts::default() };
        assert_eq!(timing.hold_back(), HOLD_BACK);
        AgentConfig { kind, registration: registration(slots), timing, drain: DRAIN }
    }

    /// A registered execute worker.
    fn new(slots: u32) -> Self {
        Self::of_kind(WorkerKind::Execute, slots)
    }

    fn of_kind(kind: WorkerKind, slots: u32) -> Self {
        Self::registered(Self::config(kind, slots))
    }

    /// A registered execute worker with this drain time.
    fn draining(slots: u32, drain: Duration) -> Self {
        Self::registered(AgentConfig { drain, ..Self::config(WorkerKind::Execute, slots) })
    }

    fn registered(config: AgentConfig) -> Self {
        let mut fixture = Self::unregistered(config);
        fixture.pass(Duration::ZERO);
        fixture.expect(&["register []"]);
        fixture.answer(Request::Register, Ok(WorkerReply::Welcome { token: TOKEN }));
        fixture.expect(&["registered 7"]);
        fixture
    }

    fn tell(&mut self, event: Event) {
        self.agent.handle(event, self.now);
        self.take_actions();
    }

    fn take_actions(&mut self) {
        self.agent.assert_invariants();
        while let Some(action) = self.agent.poll_action() {
            match action {
                Action::Fetch { fetch, .. } if self.fetches_at_once => {
                    self.agent.handle(Event::Fetched { fetch }, self.now);
                    self.agent.assert_invariants();
                }
                action => self.actions.push_back(action),
            }
        }
    }

    fn fetched(&mut self, fetch: u64) {
        self.tell(Event::Fetched { fetch: FetchId(fetch) });
    }

    fn fetch_failed(&mut self, fetch: u64) {
        let (fetch, usage) = (FetchId(fetch), JobUsage::default());
        self.tell(Event::FetchFailed { fetch, outcome: outcome(), usage });
    }

    /// A command arrives; its answer goes to the subject of this name.
    fn command(&mut self, message: ToWorker, reply: &str) {
        self.tell(Event::Command { message: round_trip(message), reply: Some(Subject::received(reply)) });
    }

    /// A dispatch arrives; its answer goes to the subject `d<job>`.
    fn dispatch(&mut self, dispatch: Dispatch) {
        let reply = format!("d{}", dispatch.job);
        self.command(ToWorker::Dispatch(Box::new(dispatch)), &reply);
    }

    /// Dispatches of these jobs arrive in this order.
    fn dispatch_each(&mut self, jobs: RangeInclusive<u64>, urgency: u8) {
        for job in jobs {
            self.dispatch(dispatch(job, urgency));
        }
    }

    fn answer(&mut self, request: Request, answer: Result<WorkerReply, String>) {
        self.tell(Event::Answered { request, answer: answer.map(round_trip) });
    }

    fn began(&mut self, run: u64) {
        self.tell(Event::Began { run: RunId(run) });
    }

    fn released(&mut self, run: u64) {
        self.tell(Event::SlotReleased { run: RunId(run) });
    }

    fn ended(&mut self, run: u64) {
        self.tell(Event::Ended { run: RunId(run), outcome: outcome(), usage: JobUsage::default() });
    }

    /// Lets time pass; timeouts are handled when they are due.
    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.agent.handle_timeout(self.now);
            self.take_actions();
            assert!(self.agent.poll_timeout().is_none_or(|next| next > at), "a timeout that does nothing");
        }
        self.now = until;
    }

    /// The actions since the last call are these, in this order (see [`describe`]).
    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        let actions: Vec<_> = self.actions.drain(..).map(describe).collect();
        assert_eq!(actions, expected);
    }

    /// Takes the actions that another test is about.
    fn skip(&mut self) {
        self.actions.clear();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.expect(&[]);
        }
    }
}

/// An action in a few words: attempts as `job.attempt`, runs as `r<number>`, fetches as `f<number>`.
fn describe(action: Action) -> String {
    let attempt = |key: AttemptKey| format!("{}.{}", key.job, key.attempt);
    let list = |jobs: &[RunningJob]| {
        let jobs: Vec<_> = jobs.iter().map(|job| attempt((*job).into())).collect();
        format!("[{}]", jobs.join(" "))
    };
    match action {
        Action::Reply { to, reply } => match round_trip(reply) {
            DispatchReply::Taken => format!("{to}: taken"),
            DispatchReply::Done(report) => format!("{to}: done {}", attempt((&*report).into())),
            DispatchReply::Refused(why) => {
                format!("{to}: {}", why.to_string().split(':').next().unwrap_or_default())
            }
        },
        Action::Register(hello) => {
            let FromWorker::Hello(hello) = round_trip(FromWorker::Hello(hello)) else { panic!("another message") };
            format!("register {}", list(&hello.running))
        }
        Action::Heartbeat(beat) => {
            let FromWorker::Heartbeat(beat) = round_trip(FromWorker::Heartbeat(*beat)) else {
                panic!("another message")
            };
            let fetching = match &beat.fetching[..] {
                [] => String::new(),
                jobs => format!(" fetching {}", list(jobs)),
            };
            let draining = if beat.draining { " draining" } else { "" };
            format!("heartbeat {}{fetching}{draining}", list(&beat.running))
        }
        Action::Report(report) => {
            let FromWorker::Report(report) = round_trip(FromWorker::Report(report)) else { panic!("another message") };
            assert_eq!(report.outcome, outcome());
            format!("report {}", attempt((&*report).into()))
        }
        Action::Fetch { fetch, dispatch } => format!("fetch {} as f{}", attempt((&*dispatch).into()), fetch.0),
        Action::StopFetch { fetch } => format!("stop f{}", fetch.0),
        Action::Start { run, dispatch, behind } => {
            let key = attempt((&*dispatch).into());
            match behind {
                None => format!("start {key} as r{}", run.0),
                Some(behind) => format!("stage {key} as r{} behind r{}", run.0, behind.0),
            }
        }
        Action::GrantSlot { run } => format!("grant r{}", run.0),
        Action::Stop { run } => format!("stop r{}", run.0),
        Action::Leave => "leave".into(),
        Action::Notice(notice) => match notice {
            Notice::Registered { token } => format!("registered {}", token.0),
            Notice::CoordinatorReplaced { token } => format!("coordinator replaced by {}", token.0),
            Notice::RegistrationLost => "registration lost".into(),
            Notice::RegistrationRefused { .. } => "registration refused".into(),
            Notice::CoordinatorSilent { .. } => "coordinator silent".into(),
            Notice::JobTaken { attempt: key } => format!("took {}", attempt(key)),
            Notice::CommandRefused { .. } => "refused".into(),
            Notice::JobDisplaced { attempt: key } => format!("displaced {}", attempt(key)),
            Notice::ReportUnacknowledged { attempt: key, .. } => format!("unacknowledged {}", attempt(key)),
            Notice::ReportRefused { attempt: key, .. } => format!("report refused {}", attempt(key)),
            Notice::Draining { jobs, why: DrainReason::Shutdown } => format!("draining {jobs}"),
            Notice::Draining { jobs, why: DrainReason::Asked } => format!("asked to drain {jobs}"),
            Notice::Inconsistent { .. } => "inconsistent".into(),
        },
    }
}
