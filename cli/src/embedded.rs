//! The embedded host: coordinator and workers as tasks of one process.

use crate::Metrics;
use pvf_coordinator::{Api, Coordinator, CoordinatorConfig, CoordinatorError};
use pvf_shared::{
    ValidationHost,
    bus::{SharedBus, local::LocalBus},
    client::{BundleSettings, ClientConfig, ClientError},
    config::ProtocolTimeouts,
    ids::FleetName,
    keys::{KeyError, own_keys},
    store::{ArtifactKeys, BlobStore, StoreError},
    wire::WorkerKind,
};
use pvf_worker::{
    agent::{Worker, WorkerConfig, default_cache_dir},
    machine::raise_open_files,
    sandbox::Mechanism,
    supervise::probe_sandbox,
};
use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// How long the workers of an embedded host finish their jobs when it ends.
const DRAIN: Duration = Duration::from_secs(15);

/// Settings of an embedded host.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store for artifacts: a folder (also as `file://`), `memory://`, or, with the feature
    /// `cloud`, `s3://`, `gs://`, `az://`. A missing folder is created.
    pub store: String,
    /// The keys that artifacts are signed with. With the default `None` the host has a key pair of its own. If the
    /// store is a folder, the pair is kept in the folder `keys` in it, which only this user can read, and hosts with
    /// the same store share it. Else it is in this process's memory only, and what an earlier process stored is
    /// prepared again.
    pub keys: Option<ArtifactKeys>,
    /// Number of preparations that run at the same time. The default is 1: a preparation uses all cores.
    pub prepare_slots: u32,
    /// Number of executions that run at the same time. The default is one for each core.
    pub execute_slots: u32,
    /// The executable that runs the jobs, declared with [`crate::worker_main!`]. The default `None` is this
    /// executable, whose `main` must begin with [`crate::run_job_if_asked`].
    pub worker_exe: Option<PathBuf>,
    /// Whether [`start`] fails if a mechanism of the sandbox is missing on this machine. The default is `true`.
    ///
    /// With `false` the host starts with the mechanisms that work. It logs a warning that names the missing ones, and
    /// the metric `pvf_sandbox_mechanisms_missing` counts them. Use that only where all validation code is trusted.
    pub secure: bool,
    /// Where the workers keep their copies of artifacts, in a folder of their own. The default `None` is the folder for
    /// temporary files. It must not be mounted `noexec`.
    pub cache_dir: Option<PathBuf>,
    /// Mechanisms of the sandbox that may be missing although [`Config::secure`] is set, if others still enforce each
    /// property of the sandbox. The default is none.
    pub allow_missing: Vec<Mechanism>,
    /// How long a request waits for its verdict unless it sets [`ExecuteRequest::answer_within`]. The default is 30
    /// minutes.
    ///
    /// [`ExecuteRequest::answer_within`]: crate::ExecuteRequest::answer_within
    pub answer_within: Duration,
    /// Which requests of the handle have a replay bundle, and where. The default is none.
    pub bundles: Option<BundleSettings>,
    /// Settings of the coordinator and its queues.
    pub coordinator: CoordinatorConfig,
    /// Heartbeat, acknowledgement and retry intervals. Only tests need other values than the default.
    pub timing: ProtocolTimeouts,
}

impl Config {
    /// The default settings with this store.
    pub fn new(store: impl Into<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store: store.into(),
            keys: None,
            prepare_slots: 1,
            execute_slots: u32::try_from(cores).unwrap_or(1),
            worker_exe: None,
            secure: true,
            cache_dir: None,
            allow_missing: vec![],
            answer_within: Duration::from_secs(1800),
            bundles: None,
            coordinator: CoordinatorConfig::default(),
            timing: ProtocolTimeouts::default(),
        }
    }
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host's own keys cannot be made or used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The coordinator cannot start.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// The handle cannot be connected.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A worker cannot start; in particular, the sandbox is incomplete and [`Config::secure`] is set.
    #[error("worker: {0}")]
    Worker(String),
}

/// Where hosts and fleets of one machine keep their own keys: in the store, if it is a folder.
pub(crate) fn own_key_folder(store: &str) -> Option<PathBuf> {
    BlobStore::folder_of(store).map(|folder| folder.join("keys"))
}

/// Starts a host in this process. Returns a handle for requests, and the future that drives the host: spawn it, or poll
/// it beside your own. The future completes when the last handle is dropped. Dropping the future ends every job.
///
/// Must be called within a tokio runtime with I/O and time. Raises this process's soft limit of open files to the hard
/// one.
pub async fn start(
    config: Config,
    metrics: Metrics,
) -> Result<(ValidationHost, impl Future<Output = ()> + Send), StartError> {
    let keys = match config.keys.clone() {
        Some(keys) => keys,
        None => match own_key_folder(&config.store) {
            Some(folder) => own_keys(&folder)?.0,
            None => ArtifactKeys::generate()?,
        },
    };
    let store = BlobStore::open(&config.store, keys)?;
    let bus: SharedBus = Arc::new(LocalBus::new());
    let fleet = FleetName::default();
    let coordinator = Coordinator {
        fleet: fleet.clone(),
        timing: config.timing,
        config: config.coordinator.clone(),
        bus: bus.clone(),
        store: store.clone(),
        counters: metrics.counters,
        api: Api::default(),
    };
    let listening = coordinator.listen().await?;
    // Templates and their forks take several descriptors each.
    raise_open_files();
    let sandbox = probe_sandbox(config.worker_exe.clone());
    let sandbox = sandbox.map_err(|e| StartError::Worker(format!("job executable: {e}")))?;
    let sandbox = sandbox.allowing(&config.allow_missing);
    metrics.sandbox_missing.store(sandbox.status().missing.len() as u64, Ordering::Relaxed);
    let mut workers = Vec::new();
    let cache_dir = config.cache_dir.clone().unwrap_or_else(default_cache_dir);
    for (kind, slots) in [(WorkerKind::Prepare, config.prepare_slots), (WorkerKind::Execute, config.execute_slots)] {
        let worker_config = WorkerConfig {
            fleet: fleet.clone(),
            timing: config.timing,
            worker_exe: config.worker_exe.clone(),
            sandbox: Some(sandbox.clone()),
            secure: config.secure,
            cache_dir: cache_dir.clone(),
            drain: DRAIN,
            ..WorkerConfig::new(kind, slots)
        };
        let worker = Worker::new(worker_config, bus.clone(), store.clone());
        workers.push(worker.map_err(|e| StartError::Worker(e.to_string()))?);
    }
    let client_config = ClientConfig {
        fleet,
        timing: config.timing,
        answer_within: config.answer_within,
        bundles: config.bundles,
        ..ClientConfig::default()
    };
    let host = ValidationHost::connect(bus, client_config).await?;
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
            // The workers end first, so that they can deregister.
            drop(stop);
            while tasks.join_next().await.is_some() {}
        });
        coordinator.await;
    };
    Ok((host, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_settings_are_secure() {
        assert!(Config::new("/store").secure);
    }
}
