//! The worker on the bus: it presents itself, takes jobs, reports, and goes in order.

mod artifacts;
mod desk;
mod jobs;
mod link;
mod slots;

use crate::{
    sandbox::Report,
    supervise::JobRunner,
    wasm::{CpuBaseline, engine_id},
};
use artifacts::ArtifactCache;
use desk::Desk;
use futures::StreamExt as _;
use jobs::JobContext;
use link::Link;
use pvf_shared::{
    bus::{BusError, SharedBus},
    config::Timing,
    ids::{EngineId, FleetName, WorkerId},
    store::BlobStore,
    subjects,
    wire::WorkerKind,
};
use std::{
    path::PathBuf,
    sync::{Arc, Once},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

/// Forks that wait for a job, if nothing else is said, at the most: those of one template are made one after another.
const MAX_SPARES: u32 = 8;

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
    /// How jobs can be locked up here; absent: it is found out.
    pub sandbox: Option<Report>,
    /// Whether it does not begin where a mechanism of the sandbox is missing. Otherwise it says so, and goes on with
    /// those that work.
    pub secure: bool,
    /// What compiled code may use.
    pub baseline: CpuBaseline,
    /// The machine's name.
    pub host: String,
    /// Forks of each artifact in use that wait for a job.
    pub spares: u32,
    /// How long running jobs may go on when the worker is asked to end.
    pub drain: Duration,
}

impl WorkerConfig {
    /// The usual settings, for jobs that are locked up as far as can be.
    pub fn new(kind: WorkerKind, slots: u32) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "unknown".into());
        Self {
            kind,
            slots,
            fleet: FleetName::default(),
            timing: Timing::default(),
            worker_exe: None,
            sandbox: None,
            secure: false,
            baseline: CpuBaseline::of_this_machine(),
            host: host.trim().to_owned(),
            spares: slots.min(MAX_SPARES),
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
    /// Jobs cannot be locked up as they are to be.
    #[error("jobs cannot be locked up on this machine; missing:\n{0}")]
    Insecure(String),
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

impl Worker {
    /// A worker that has not begun yet.
    pub fn new(config: WorkerConfig, bus: SharedBus, store: BlobStore) -> Result<Self, WorkerError> {
        let setup = |what: &str, e: &dyn std::fmt::Display| WorkerError::Setup(format!("{what}: {e}"));
        let (exe, baseline) = (config.worker_exe.clone(), config.baseline);
        let runner = match config.sandbox.clone() {
            Some(report) => JobRunner::with_sandbox(exe, baseline, report),
            None => JobRunner::new(exe, baseline),
        };
        let runner = runner.map_err(|e| setup("executable for jobs", &e))?;
        let runner = runner.of_size(config.slots as usize, config.spares as usize);
        check(runner.sandbox(), config.secure)?;
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
        while end_by.is_none() || !desk.running.is_empty() || !desk.waiting.is_empty() {
            let due = desk.due();
            tokio::select! {
                () = &mut shutdown, if end_by.is_none() => end_by = Some(desk.drain()),
                () = at(end_by) => break,
                message = commands.next() => match message {
                    Some(message) => desk.on_command(message).await,
                    None => break,
                },
                Some(note) = noted.recv() => desk.on_note(note).await,
                () = at(due) => desk.on_time().await,
                _ = beat.tick() => desk.beat(),
            }
        }
        desk.leave().await;
        Ok(())
    }
}

/// Whether a worker may begin where jobs can be locked up like this.
fn check(sandbox: &Report, secure: bool) -> Result<(), WorkerError> {
    if sandbox.is_complete() {
        return Ok(());
    }
    if secure {
        return Err(WorkerError::Insecure(sandbox.complaint()));
    }
    // Once is enough for the workers of one process.
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            target: "pvf_worker::sandbox",
            "INSECURE: jobs run code of strangers without everything that is to hold it; missing:\n{}",
            sandbox.complaint()
        )
    });
    Ok(())
}

/// Completes at this time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
