//! The worker on the bus: it presents itself, takes jobs, reports, and goes in order.

mod artifacts;
mod jobs;
mod link;

use crate::{
    supervise::JobRunner,
    wasm::{CpuBaseline, engine_id},
};
use artifacts::ArtifactCache;
use futures::StreamExt as _;
use jobs::JobContext;
use link::{Link, Note};
use pvf_shared::{
    bus::{BusError, Message, SharedBus},
    config::Timing,
    ids::{Attempt, EngineId, FencingToken, FleetName, JobId, WorkerId},
    job::JobSpec,
    store::BlobStore,
    subjects,
    wire::{self, Dispatch, DispatchReply, RunningJob, ToWorker, WorkerHello, WorkerKind},
};
use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior},
};

/// Attempts that are remembered after their end, so that a repeated dispatch is not done again.
const REMEMBERED: usize = 4096;

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// What it does.
    pub kind: WorkerKind,
    /// Jobs that run at once.
    pub slots: u32,
    /// Its fleet's name.
    pub fleet: FleetName,
    /// Its fleet's clockwork.
    pub timing: Timing,
    /// The executable that runs the jobs; absent: this one.
    pub worker_exe: Option<PathBuf>,
    /// What compiled code may use.
    pub baseline: CpuBaseline,
    /// The machine's name.
    pub host: String,
    /// How long running jobs may go on when the worker is asked to end.
    pub drain: Duration,
}

impl WorkerConfig {
    /// The usual settings.
    pub fn new(kind: WorkerKind, slots: u32) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "unknown".into());
        Self {
            kind,
            slots,
            fleet: FleetName::default(),
            timing: Timing::default(),
            worker_exe: None,
            baseline: CpuBaseline::of_this_machine(),
            host: host.trim().to_owned(),
            drain: Duration::from_secs(15),
        }
    }
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The job executable or the cache folder cannot be used.
    #[error("worker: {0}")]
    Setup(String),
}

/// A worker.
pub struct Worker {
    config: WorkerConfig,
    id: WorkerId,
    engine: EngineId,
    bus: SharedBus,
    jobs: Arc<JobContext>,
}

/// A job that a worker has: running, or its report is not acknowledged.
struct Running {
    token: FencingToken,
    attempt: Attempt,
    /// Set when the process has ended and only the report is under way: its slot is free again.
    done: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Running {
    /// Ends what of it still runs: dropping a job's future kills its process.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Worker {
    /// A worker that has not begun yet.
    pub fn new(config: WorkerConfig, bus: SharedBus, store: BlobStore) -> Result<Self, WorkerError> {
        let setup = |what: &str, e: &dyn std::fmt::Display| WorkerError::Setup(format!("{what}: {e}"));
        let runner =
            JobRunner::new(config.worker_exe.clone(), config.baseline).map_err(|e| setup("executable for jobs", &e))?;
        let engine = engine_id(config.baseline).map_err(|e| setup("engine", &e))?;
        let cache = ArtifactCache::new(store.clone()).map_err(|e| setup("folder for artifacts", &e))?;
        let max_inline = bus.max_payload().saturating_sub(pvf_shared::config::ENVELOPE_RESERVE);
        let jobs = Arc::new(JobContext { store, runner, cache, max_inline });
        Ok(Self { id: WorkerId::new(), config, engine, bus, jobs })
    }

    /// Works until `shutdown` completes, then finishes what runs (for as long as the drain time allows) and says
    /// goodbye.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), WorkerError> {
        let subject = subjects::worker(&self.config.fleet, &self.id);
        let mut commands = self.bus.subscribe(&subject).await?;
        let (notes, mut noted) = mpsc::unbounded_channel();
        let link = Arc::new(Link {
            bus: self.bus.clone(),
            fleet: self.config.fleet.clone(),
            timing: self.config.timing,
            notes,
        });
        let mut beat = tokio::time::interval(self.config.timing.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut desk = Desk::new(self, link);
        tracing::info!(worker = %desk.worker.id, kind = %desk.worker.config.kind, slots = desk.worker.config.slots,
            engine = %desk.worker.engine, host = %desk.worker.config.host, "worker is ready");
        tokio::pin!(shutdown);
        let mut end_by = None;
        // While it finishes its jobs it goes on saying that it is alive: they would be given to others otherwise.
        while end_by.is_none() || !desk.running.is_empty() {
            tokio::select! {
                () = &mut shutdown, if end_by.is_none() => end_by = Some(desk.drain()),
                () = at(end_by) => break,
                message = commands.next() => match message {
                    Some(message) => desk.on_command(message).await,
                    None => break,
                },
                Some(note) = noted.recv() => desk.on_note(note),
                _ = beat.tick() => desk.beat(),
            }
        }
        desk.leave().await;
        Ok(())
    }
}

/// Completes at this time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A worker's state while it runs.
struct Desk {
    worker: Worker,
    link: Arc<Link>,
    token: FencingToken,
    welcomed: bool,
    /// No more jobs are taken.
    draining: bool,
    /// A hello or heartbeat is under way.
    talking: bool,
    running: HashMap<JobId, Running>,
    ended: VecDeque<(FencingToken, JobId, Attempt)>,
}

impl Desk {
    fn new(worker: Worker, link: Arc<Link>) -> Self {
        Self {
            worker,
            link,
            token: FencingToken(0),
            welcomed: false,
            draining: false,
            talking: false,
            running: HashMap::new(),
            ended: VecDeque::new(),
        }
    }

    fn running_jobs(&self) -> Vec<RunningJob> {
        self.running.iter().map(|(job, r)| RunningJob { token: r.token, job: *job, attempt: r.attempt }).collect()
    }

    /// Says hello until welcomed, and that it is alive from then on.
    fn beat(&mut self) {
        if self.talking {
            return;
        }
        self.talking = true;
        let running = self.running_jobs();
        if self.welcomed {
            self.link.clone().heartbeat(self.worker.id, running);
        } else {
            let hello = WorkerHello {
                worker: self.worker.id,
                kind: self.worker.config.kind,
                slots: self.worker.config.slots,
                engine: self.worker.engine.clone(),
                host: self.worker.config.host.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                running,
            };
            self.link.clone().hello(hello);
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Welcome(token) => {
                self.talking = false;
                self.token = self.token.max(token);
                self.welcomed = true;
            }
            Note::Unknown => {
                self.talking = false;
                self.welcomed = false;
                self.beat();
            }
            Note::Heard | Note::Silence => self.talking = false,
            Note::Reported { job, attempt } => {
                if self.running.get(&job).is_some_and(|r| r.attempt == attempt)
                    && let Some(ended) = self.running.remove(&job)
                {
                    self.remember(ended.token, job, attempt);
                }
            }
        }
    }

    fn remember(&mut self, token: FencingToken, job: JobId, attempt: Attempt) {
        self.ended.push_back((token, job, attempt));
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    async fn on_command(&mut self, message: Message) {
        let reply = match wire::decode::<ToWorker>(&message.payload) {
            Ok(ToWorker::Dispatch(dispatch)) => self.on_dispatch(*dispatch),
            Ok(ToWorker::Cancel { token, job, attempt }) => self.on_cancel(token, job, attempt),
            Err(error) => {
                tracing::warn!(%error, "command is not understood");
                DispatchReply::Refused(error.to_string())
            }
        };
        if let DispatchReply::Refused(why) = &reply {
            tracing::warn!(%why, "command refused");
        }
        if let Some(to) = message.reply
            && let Err(error) = self.worker.bus.publish(&to, wire::encode(&reply)).await
        {
            tracing::warn!(%error, "answer to a command could not be sent");
        }
    }

    /// An old coordinator's word does not count any more.
    fn check_token(&mut self, token: FencingToken) -> Result<(), DispatchReply> {
        if token < self.token {
            let why = format!("fencing token {} is older than {}", token.0, self.token.0);
            return Err(DispatchReply::Refused(why));
        }
        self.token = token;
        Ok(())
    }

    fn on_dispatch(&mut self, dispatch: Dispatch) -> DispatchReply {
        if let Err(refused) = self.check_token(dispatch.token) {
            return refused;
        }
        let (token, job, attempt) = (dispatch.token, dispatch.job, dispatch.attempt);
        let has = self.running.get(&job).is_some_and(|r| (r.token, r.attempt) == (token, attempt));
        if has || self.ended.contains(&(token, job, attempt)) {
            return DispatchReply::Taken;
        }
        if self.draining {
            return DispatchReply::Refused("this worker is going away".into());
        }
        // Another attempt of the same job takes the place of the earlier one.
        let busy = self.running.iter().filter(|(id, r)| **id != job && !r.done.load(Ordering::Relaxed)).count();
        if busy >= self.worker.config.slots as usize {
            return DispatchReply::Refused("no free slot".into());
        }
        let (kind, artifact) = match &dispatch.spec {
            JobSpec::Prepare(spec) => (WorkerKind::Prepare, &spec.artifact),
            JobSpec::Execute(spec) => (WorkerKind::Execute, &spec.artifact),
        };
        if kind != self.worker.config.kind {
            return DispatchReply::Refused(format!("this is no {kind} worker"));
        }
        if artifact.engine != self.worker.engine {
            return DispatchReply::Refused(format!("this worker's engine is {}", self.worker.engine));
        }
        let done = Arc::new(AtomicBool::new(false));
        let work = jobs::work(self.worker.jobs.clone(), self.link.clone(), self.worker.id, dispatch, done.clone());
        let task = tokio::spawn(work).abort_handle();
        // Whoever sent it does not want an earlier attempt any more.
        drop(self.running.insert(job, Running { token, attempt, done, task }));
        DispatchReply::Taken
    }

    fn on_cancel(&mut self, token: FencingToken, job: JobId, attempt: Attempt) -> DispatchReply {
        if let Err(refused) = self.check_token(token) {
            return refused;
        }
        if self.running.get(&job).is_some_and(|r| (r.token, r.attempt) == (token, attempt)) {
            self.running.remove(&job);
        }
        self.remember(token, job, attempt);
        DispatchReply::Taken
    }

    /// No more jobs; those that run may end, until the time that this gives.
    fn drain(&mut self) -> Instant {
        tracing::info!(running = self.running.len(), "worker ends");
        self.draining = true;
        Instant::now() + self.worker.config.drain
    }

    /// Ends what still runs, and says goodbye.
    async fn leave(mut self) {
        self.running.clear();
        self.link.goodbye(self.worker.id).await;
    }
}
