//! A worker on a bus within the test's process; the test plays the coordinator.

#![allow(dead_code, reason = "each test file uses a part of it")]

use crate::common::{self, AMPLE, WORKER, execute_job, until};
use futures::StreamExt as _;
use pvf_guests::corpus::busy;
use pvf_shared::{
    Bytes,
    bus::{Bus as _, Subscription, local::LocalBus},
    config::ProtocolTimeouts,
    content::Content,
    http::Http,
    identity::{ClientId, UserName, WorkerId},
    ids::{FencingToken, FleetName, JobId},
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, PrepareJob, PrepareOutcome},
    params::ExecutorParams,
    pull::{self, Hold, Holdings},
    store::{ArtifactKeys, BlobStore},
    subjects::{self, Subject},
    wire::{
        self, CommandRefusal, Dispatch, DispatchReply, FromWorker, Heartbeat, JobReport, RunningJob, ToWorker,
        WorkerKind, WorkerReply,
    },
};
use pvf_worker::agent::{Worker, WorkerConfig};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// The token of the coordinator that the test plays.
pub const TOKEN: FencingToken = FencingToken(7);

/// The coordinator's side, and the worker under test.
pub struct WorkerFixture {
    pub bus: Arc<LocalBus>,
    pub store: BlobStore,
    pub heard: Subscription,
    pub id: WorkerId,
    /// A client that holds the inputs of jobs.
    pub client: ClientId,
    holdings: Holdings,
    held: Vec<Hold>,
    /// Where the answer to the registration goes, until it is sent.
    registration: Option<Subject>,
    pub worker: JoinHandle<()>,
    /// Dropping it asks the worker to end.
    pub stop: Option<oneshot::Sender<()>>,
    /// Reports that came as the answer to their dispatch.
    early: VecDeque<JobReport>,
    metrics: prometheus::Registry,
}

/// One slot, frequent heartbeats, and ample time to finish its jobs.
pub fn config(kind: WorkerKind, exe: &Path) -> WorkerConfig {
    WorkerConfig {
        timing: ProtocolTimeouts { heartbeat: Duration::from_millis(20), ..ProtocolTimeouts::default() },
        worker_exe: Some(PathBuf::from(exe)),
        drain: AMPLE,
        ..WorkerConfig::new(kind, 1)
    }
}

/// Fails a test that waits for something that never happens.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(AMPLE, wait).await {
        Ok(done) => done,
        Err(_) => panic!("this did not happen in {AMPLE:?}: {what}"),
    }
}

impl WorkerFixture {
    /// A registered worker of this kind.
    pub async fn new(kind: WorkerKind) -> Self {
        Self::with(config(kind, Path::new(WORKER)), LocalBus::new()).await
    }

    /// A registered worker.
    pub async fn with(config: WorkerConfig, bus: LocalBus) -> Self {
        let mut fixture = Self::unregistered(config, bus, Http::new()).await;
        fixture.welcome().await;
        fixture
    }

    /// A worker whose registration is not answered yet.
    pub async fn unregistered(config: WorkerConfig, bus: LocalBus, http: Http) -> Self {
        let bus = Arc::new(bus);
        let store = BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap();
        let metrics = http.registry.clone();
        let mut heard = bus.subscribe(&subjects::all_worker_requests(&FleetName::default())).await.unwrap();
        let worker = Worker::new(config, bus.clone(), store.clone()).unwrap().with_http(http).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = tokio::spawn(async move {
            worker.run(async { drop(stopped.await) }).await.unwrap();
        });
        let message = heard.next().await.unwrap();
        let first = wire::decode(&message.payload).unwrap();
        assert!(matches!(first, FromWorker::Hello(_)), "the first message is no registration: {first:?}");
        let id = subjects::requesting_worker(&FleetName::default(), &message.subject).expect("a worker's subject");
        let (stop, early) = (Some(stop), VecDeque::new());
        let (client, holdings) = (ClientId::new(UserName::default()), Holdings::default());
        let pulls = bus.subscribe(&subjects::client_pulls(&FleetName::default(), &client)).await.unwrap();
        let offered = holdings.clone();
        tokio::spawn(pull::serve(bus.clone(), pulls, move |content| offered.find(content)));
        let (registration, held) = (message.reply, Vec::new());
        Self { bus, store, heard, id, client, holdings, held, registration, worker, stop, early, metrics }
    }

    /// The client holds this content from now on.
    pub fn hold(&mut self, content: Content, bytes: &[u8]) {
        self.held.push(self.holdings.hold(content, Bytes::copy_from_slice(bytes)));
    }

    /// A preparation of this code, which the client holds.
    pub fn preparation(&mut self, code: &[u8]) -> PrepareJob {
        self.hold(Content::of_code(code), code);
        common::prepare_job(code, ExecutorParams::default())
    }

    /// Accepts the registration.
    pub async fn welcome(&mut self) {
        let reply = self.registration.take().expect("welcomed once");
        self.answer(&reply, WorkerReply::Welcome { token: TOKEN }).await;
    }

    pub async fn answer(&self, to: &Subject, reply: WorkerReply) {
        self.bus.publish(to, wire::encode(&reply)).await.unwrap();
    }

    /// The answer to a command; a job that was dispatched is fetched then. A report that comes as the answer is kept
    /// for [`WorkerFixture::report`].
    pub async fn tell(&mut self, message: ToWorker) -> DispatchReply {
        let reply = self.told(message).await;
        until(|| self.all_fetched().then_some(())).await;
        reply
    }

    /// Whether nothing is being fetched for any job.
    fn all_fetched(&self) -> bool {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).unwrap();
        let fetching = text.lines().find(|line| line.contains("state=\"fetching\""));
        fetching.is_none_or(|line| line.ends_with(" 0"))
    }

    async fn told(&mut self, message: ToWorker) -> DispatchReply {
        let to = subjects::worker_commands(&FleetName::default(), &self.id);
        match wire::decode(&self.bus.request(&to, wire::encode(&message), AMPLE).await.unwrap()).unwrap() {
            DispatchReply::Done(report) => {
                self.early.push_back(*report);
                DispatchReply::Taken
            }
            reply => reply,
        }
    }

    pub async fn dispatch(&mut self, (token, job): (FencingToken, u64), spec: JobSpec) -> DispatchReply {
        let (job, acknowledged) = (JobId(job), vec![]);
        let holders = vec![self.client];
        let (urgency, request, validation) = (0, None, None);
        let dispatch = Dispatch { token, job, attempt: 1, urgency, request, spec, holders, acknowledged, validation };
        self.tell(ToWorker::Dispatch(Box::new(dispatch))).await
    }

    pub async fn refused(&mut self, at: (FencingToken, u64), spec: JobSpec) -> CommandRefusal {
        let DispatchReply::Refused(why) = self.dispatch(at, spec).await else { panic!("the job was taken") };
        why
    }

    /// The worker's next message, and where the answer goes.
    pub async fn next(&mut self) -> (FromWorker, Subject) {
        let message = within("the worker sends a message", self.heard.next()).await.unwrap();
        (wire::decode(&message.payload).unwrap(), message.reply.unwrap())
    }

    /// The next report that is a message of its own, which is not answered. Heartbeats are.
    pub async fn unanswered(&mut self) -> (JobReport, Subject) {
        within("the worker sends a report", async {
            loop {
                match self.next().await {
                    (FromWorker::Report(report), reply) => return (*report, reply),
                    (FromWorker::Heartbeat(_), reply) => self.answer(&reply, WorkerReply::Ack).await,
                    (other, _) => panic!("{other:?}"),
                }
            }
        })
        .await
    }

    /// Answers heartbeats until one is like this.
    pub async fn heartbeat(&mut self, is_like_this: impl Fn(&Heartbeat) -> bool) {
        within("a certain heartbeat", async {
            loop {
                let (message, reply) = self.next().await;
                self.answer(&reply, WorkerReply::Ack).await;
                let FromWorker::Heartbeat(beat) = message else { panic!("{message:?}") };
                if is_like_this(&beat) {
                    return;
                }
            }
        })
        .await
    }

    /// Answers heartbeats until the worker deregisters.
    pub async fn goodbye(&mut self) {
        within("the worker deregisters", async {
            loop {
                let (message, reply) = self.next().await;
                self.answer(&reply, WorkerReply::Ack).await;
                match message {
                    FromWorker::Heartbeat(_) => {}
                    FromWorker::Goodbye => return,
                    other => panic!("{other:?}"),
                }
            }
        })
        .await
    }

    /// The next report, which is acknowledged.
    pub async fn report(&mut self) -> JobReport {
        if let Some(report) = self.early.pop_front() {
            let done = RunningJob { token: report.token, job: report.job, attempt: report.attempt };
            let message = ToWorker::Acknowledge { reports: vec![done] };
            let to = subjects::worker_commands(&FleetName::default(), &self.id);
            self.bus.publish(&to, wire::encode(&message)).await.unwrap();
            return report;
        }
        let (report, reply) = self.unanswered().await;
        self.answer(&reply, WorkerReply::Ack).await;
        report
    }

    pub async fn prepare(&mut self, job: u64, spec: PrepareJob) -> PrepareOutcome {
        assert_eq!(self.dispatch((TOKEN, job), JobSpec::Prepare(Box::new(spec))).await, DispatchReply::Taken);
        let report = self.report().await;
        assert_eq!((report.job, report.attempt, report.token), (JobId(job), 1, TOKEN));
        let JobOutcome::Prepare(outcome) = report.outcome else { panic!("{report:?}") };
        outcome
    }

    pub async fn execute(&mut self, job: u64, spec: ExecuteJob) -> ExecuteOutcome {
        assert_eq!(self.dispatch((TOKEN, job), JobSpec::Execute(Box::new(spec))).await, DispatchReply::Taken);
        let report = self.report().await;
        assert_eq!(report.job, JobId(job));
        let JobOutcome::Execute(outcome) = report.outcome else { panic!("{report:?}") };
        outcome
    }

    /// An execution of this code, whose artifact is put into the store.
    pub async fn execution(&self, code: &[u8]) -> ExecuteJob {
        let compiled = common::compiled(code).await;
        let job = execute_job(code, ExecutorParams::default());
        let digest = self.store.put_artifact(&job.artifact, &compiled).await.unwrap();
        ExecuteJob { digest: Some(digest), ..job }
    }

    /// An execution that does not end by itself.
    pub async fn endless(&self) -> JobSpec {
        JobSpec::Execute(Box::new(self.execution(&busy(u64::MAX)).await))
    }
}
