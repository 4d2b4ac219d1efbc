//! The embedded host: coordinator and workers as tasks of one process.

use crate::Metrics;
use pvf_coordinator::{Coordinator, CoordinatorConfig, CoordinatorError};
use pvf_shared::{
    ValidationHost,
    bus::{SharedBus, local::LocalBus},
    client::{ClientConfig, ClientError},
    config::Timing,
    ids::FleetName,
    store::{BlobStore, StoreError, seal::SealKey},
    wire::WorkerKind,
};
use pvf_worker::{
    host::{Worker, WorkerConfig},
    supervise::probe_sandbox,
};
use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// How an embedded host is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where artifacts are kept: a folder (also as `file://`), `memory://`, or, with the feature `cloud`,
    /// `s3://`, `gs://`, `az://`. A folder that is not there is made.
    pub store: String,
    /// The secret that artifacts are sealed with; [`SealKey::unkeyed`] detects damage, not forgery.
    pub seal_key: SealKey,
    /// Preparations that run at once.
    pub prepare_slots: u32,
    /// Executions that run at once.
    pub execute_slots: u32,
    /// The executable that runs the jobs; absent: this one, whose `main` begins with
    /// [`crate::run_job_if_asked`].
    pub worker_exe: Option<PathBuf>,
    /// Whether the host does not start where jobs cannot be locked up with every mechanism of the sandbox. Otherwise
    /// it goes on with those that work, and says so in its log and its metrics.
    pub secure: bool,
    /// How long a request waits for its verdict if it does not say.
    pub answer_within: Duration,
    /// How the queues are run.
    pub coordinator: CoordinatorConfig,
    /// The clockwork; the default is right unless a test says otherwise.
    pub timing: Timing,
}

impl Config {
    /// One preparation at a time (it uses all cores), as many executions as there are cores.
    pub fn new(store: impl Into<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store: store.into(),
            seal_key: SealKey::unkeyed(),
            prepare_slots: 1,
            execute_slots: u32::try_from(cores).unwrap_or(1),
            worker_exe: None,
            secure: false,
            answer_within: Duration::from_secs(1800),
            coordinator: CoordinatorConfig::default(),
            timing: Timing::default(),
        }
    }
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The coordinator does not start.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The client handle does not start.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A worker does not start.
    #[error("worker: {0}")]
    Worker(String),
}

/// Starts a host within this process: the handle for asking, and the future that does the work while it is
/// polled (spawn it, or poll it beside your own). The future completes when the last handle is dropped; dropping
/// it ends every job.
///
/// Must be called within a tokio runtime with I/O and time.
pub async fn start(
    config: Config,
    metrics: Metrics,
) -> Result<(ValidationHost, impl Future<Output = ()> + Send), StartError> {
    let store = BlobStore::open(&config.store, config.seal_key.clone())?;
    let bus: SharedBus = Arc::new(LocalBus::new());
    let fleet = FleetName::default();
    let coordinator = Coordinator {
        fleet: fleet.clone(),
        timing: config.timing,
        config: config.coordinator.clone(),
        bus: bus.clone(),
        store: store.clone(),
        counters: metrics.counters,
    };
    let listening = coordinator.listen().await?;
    let sandbox = probe_sandbox(config.worker_exe.clone());
    let sandbox = sandbox.map_err(|e| StartError::Worker(format!("executable for jobs: {e}")))?;
    metrics.sandbox_missing.store(sandbox.status().missing.len() as u64, Ordering::Relaxed);
    let mut workers = Vec::new();
    for (kind, slots) in [(WorkerKind::Prepare, config.prepare_slots), (WorkerKind::Execute, config.execute_slots)] {
        let worker_config = WorkerConfig {
            fleet: fleet.clone(),
            timing: config.timing,
            worker_exe: config.worker_exe.clone(),
            sandbox: Some(sandbox.clone()),
            secure: config.secure,
            ..WorkerConfig::new(kind, slots)
        };
        let worker = Worker::new(worker_config, bus.clone(), store.clone());
        workers.push(worker.map_err(|e| StartError::Worker(e.to_string()))?);
    }
    let client_config =
        ClientConfig { fleet, timing: config.timing, answer_within: config.answer_within, ..ClientConfig::default() };
    let host = ValidationHost::connect(bus, Some(store), client_config).await?;
    let ended = host.ended();
    let run = async move {
        let (stop, stopped) = watch::channel(());
        let when_stopped = || {
            let mut stopped = stopped.clone();
            async move { while stopped.changed().await.is_ok() {} }
        };
        let mut tasks = JoinSet::new();
        for worker in workers {
            let stopped = when_stopped();
            tasks.spawn(async move {
                if let Err(error) = worker.run(stopped).await {
                    tracing::error!(%error, "embedded worker ended");
                }
            });
        }
        let coordinator = listening.run(async {
            ended.await;
            // Workers first: their goodbyes find a coordinator.
            drop(stop);
            while tasks.join_next().await.is_some() {}
        });
        coordinator.await;
    };
    Ok((host, run))
}
