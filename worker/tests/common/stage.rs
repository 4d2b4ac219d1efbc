//! A worker on a bus within the test's process, and the coordinator's side of the talk.

use crate::common::{self, AMPLE, WORKER, execute_job};
use futures::StreamExt as _;
use pvf_guests::corpus::busy;
use pvf_shared::{
    bus::{Bus as _, Subscription, local::LocalBus},
    config::Timing,
    ids::{FencingToken, FleetName, JobId},
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, PrepareJob, PrepareOutcome},
    params::ExecutorParams,
    store::{BlobStore, seal::SealKey},
    subjects::{self, Subject},
    wire::{
        self, Dispatch, DispatchReply, FromWorker, JobReport, RunningJob, ToWorker, WorkerHello, WorkerKind,
        WorkerReply,
    },
};
use pvf_worker::host::{Worker, WorkerConfig};
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
pub struct Stage {
    pub bus: Arc<LocalBus>,
    pub store: BlobStore,
    pub heard: Subscription,
    pub hello: WorkerHello,
    pub worker: JoinHandle<()>,
    pub stop: Option<oneshot::Sender<()>>,
    /// Reports that came as the answer to their dispatch.
    early: VecDeque<JobReport>,
}

/// One slot, a quick heart, and time to finish its jobs.
pub fn config(kind: WorkerKind, exe: &Path) -> WorkerConfig {
    WorkerConfig {
        timing: Timing { heartbeat: Duration::from_millis(20), ..Timing::default() },
        worker_exe: Some(PathBuf::from(exe)),
        drain: AMPLE,
        ..WorkerConfig::new(kind, 1)
    }
}

impl Stage {
    /// A worker that was welcomed.
    pub async fn new(kind: WorkerKind) -> Self {
        Self::with(config(kind, Path::new(WORKER)), LocalBus::new()).await
    }

    pub async fn with(config: WorkerConfig, bus: LocalBus) -> Self {
        let bus = Arc::new(bus);
        let store = BlobStore::open("memory://", SealKey::unkeyed()).unwrap();
        let mut heard = bus.subscribe(&subjects::from_worker(&FleetName::default())).await.unwrap();
        let worker = Worker::new(config, bus.clone(), store.clone()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = tokio::spawn(async move {
            worker.run(async { drop(stopped.await) }).await.unwrap();
        });
        let message = heard.next().await.unwrap();
        let FromWorker::Hello(hello) = wire::decode(&message.payload).unwrap() else { panic!("a hello comes first") };
        let stage = Self { bus, store, heard, hello, worker, stop: Some(stop), early: VecDeque::new() };
        stage.answer(&message.reply.unwrap(), WorkerReply::Welcome { token: TOKEN }).await;
        stage
    }

    pub async fn answer(&self, to: &Subject, reply: WorkerReply) {
        self.bus.publish(to, wire::encode(&reply)).await.unwrap();
    }

    /// What the worker answers; a report that comes as the answer is kept for [`Stage::report`].
    pub async fn tell(&mut self, message: ToWorker) -> DispatchReply {
        let to = subjects::worker(&FleetName::default(), &self.hello.worker);
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
        let dispatch = Dispatch { token, job, attempt: 1, urgency: 0, request: None, spec, acknowledged };
        self.tell(ToWorker::Dispatch(Box::new(dispatch))).await
    }

    pub async fn refused(&mut self, at: (FencingToken, u64), spec: JobSpec) -> String {
        let DispatchReply::Refused(why) = self.dispatch(at, spec).await else { panic!("it was taken") };
        why
    }

    /// What the worker says next, and where an answer goes.
    pub async fn next(&mut self) -> (FromWorker, Subject) {
        let message = tokio::time::timeout(AMPLE, self.heard.next()).await.expect("the worker is silent").unwrap();
        (wire::decode(&message.payload).unwrap(), message.reply.unwrap())
    }

    /// The next report that is a message of its own, as one becomes that is not acknowledged; heartbeats are answered,
    /// the report is not.
    pub async fn unanswered(&mut self) -> (JobReport, Subject) {
        loop {
            match self.next().await {
                (FromWorker::Report(report), reply) => return (*report, reply),
                (FromWorker::Heartbeat(_), reply) => self.answer(&reply, WorkerReply::Ack).await,
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    pub async fn report(&mut self) -> JobReport {
        if let Some(report) = self.early.pop_front() {
            let done = RunningJob { token: report.token, job: report.job, attempt: report.attempt };
            let message = ToWorker::Acknowledge { reports: vec![done] };
            let to = subjects::worker(&FleetName::default(), &self.hello.worker);
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
        let file = common::artifact(code).await;
        let job = execute_job(code, ExecutorParams::default());
        let mac = self.store.put_artifact(&job.artifact, &std::fs::read(file.path()).unwrap()).await.unwrap();
        ExecuteJob { mac: Some(mac), ..job }
    }

    pub async fn endless(&self) -> JobSpec {
        JobSpec::Execute(Box::new(self.execution(&busy(u64::MAX)).await))
    }
}
