//! The worker's agent: the shell around its pure core ([`pvf_worker_core`]).
//!
//! The core decides, and the shell does all I/O: `shell` is the only loop, `coordinator` talks to the bus, `fetches`
//! gets to this machine what jobs need, `jobs` is the task of one run, `records` is what is kept of jobs for people,
//! `messages` is what tasks tell the loop, `notices` are the core's log lines, `runs` keeps those tasks and what is
//! known of their processes, `self_test` decides when the machine is tested, `cache` has the copies of artifacts.
//! Dropping the agent, or a run, kills and reaps the processes that belong to it.

mod cache;
mod context;
mod coordinator;
mod fetches;
mod inputs;
mod jobs;
mod messages;
mod notices;
mod records;
mod runs;
mod self_test;
mod service;
mod shell;
mod traces;
mod transfers;

use crate::{
    machine::host_identity,
    metrics::WorkerMetrics,
    sandbox::Report,
    supervise::JobRunner,
    wasm::{CpuBaseline, engine_id, host_functions_version},
};
pub use cache::TriedFolder;
use cache::{ArtifactCache, CacheSettings};
use context::JobContext;
use pvf_shared::{
    bus::{BusError, SharedBus},
    config::{ProtocolTimeouts, inline_max_on},
    host::HostIdentity,
    http::Http,
    ids::FleetName,
    pull::{ResultLimits, Results},
    store::BlobStore,
    units::MAX_WAIT,
    wire::{SPEAKS, WorkerHello, WorkerKind},
};
use pvf_worker_core::AgentConfig;
use records::Records;
use shell::{Shell, Status};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};
use traces::Traces;
use transfers::{Inputs, ReadRoom};

/// Default limit of spare forks of one template, which are made one after another.
const MAX_SPARES: u32 = 8;

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Whether it prepares or executes.
    pub kind: WorkerKind,
    /// Jobs that run at once.
    pub slots: u32,
    /// Name of its fleet.
    pub fleet: FleetName,
    /// Intervals and time-outs of its fleet.
    pub timing: ProtocolTimeouts,
    /// The executable that runs the jobs. Default: the current executable.
    pub worker_exe: Option<PathBuf>,
    /// What the sandbox can do on this machine. Default: the worker probes it at the start.
    pub sandbox: Option<Report>,
    /// Refuse to start unless the sandbox is secure ([`Report::is_secure`]). Without it the worker logs a warning and
    /// runs jobs under the mechanisms that work.
    pub secure: bool,
    /// CPU features that compiled code may use.
    pub baseline: CpuBaseline,
    /// Name of the machine, for people.
    pub host: String,
    /// What tells the machine from others.
    pub identity: HostIdentity,
    /// Spare forks of each template in use.
    pub spares: u32,
    /// How long running jobs may go on when the worker is asked to end: at most this, and no longer than the wall-clock
    /// limit of each. What has not begun is given back at once.
    pub drain: Duration,
    /// Where copies of artifacts are kept, in a folder of the worker's own, which it removes when it ends. The folder
    /// is created if it does not exist. Artifacts are mapped from there, so it must not be mounted `noexec`.
    pub cache_dir: PathBuf,
    /// Most bytes of copies. The default is 16 GiB, or half of what the file system has free if that is less, but at
    /// least 1 GiB.
    pub cache_bytes: Option<u64>,
    /// Prepare and execute a small PVF before registering, and again when jobs fail to start. A worker whose self-test
    /// fails takes no jobs until it passes.
    pub self_test: bool,
}

impl WorkerConfig {
    /// Default settings.
    pub fn new(kind: WorkerKind, slots: u32) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "unknown".into());
        Self {
            kind,
            slots,
            fleet: FleetName::default(),
            timing: ProtocolTimeouts::default(),
            worker_exe: None,
            sandbox: None,
            secure: false,
            baseline: CpuBaseline::of_this_machine(),
            host: host.trim().to_owned(),
            identity: host_identity(),
            spares: slots.min(MAX_SPARES),
            drain: MAX_WAIT,
            cache_dir: default_cache_dir(),
            cache_bytes: None,
            self_test: false,
        }
    }
}

/// Where copies of artifacts are kept unless the settings say otherwise: the folder for temporary files (`TMPDIR`, else
/// `/tmp`).
pub fn default_cache_dir() -> PathBuf {
    let folder = std::env::temp_dir();
    // An empty variable is none.
    if folder.as_os_str().is_empty() { PathBuf::from("/tmp") } else { folder }
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A sandbox mechanism is missing without the operator's word, or a property is not enforced.
    #[error("sandbox incomplete, refusing to run untrusted code; missing:\n{0}")]
    Insecure(String),
    /// The job executable, the artifact cache or the metrics cannot be set up.
    #[error("worker: {0}")]
    Setup(String),
}

/// A worker.
pub struct Worker {
    config: AgentConfig,
    fleet: FleetName,
    bus: SharedBus,
    jobs: Arc<JobContext>,
    status: Status,
    self_test: bool,
}

impl Worker {
    /// A worker that has not connected yet.
    ///
    /// # Errors
    /// The executable for jobs or the folder of the artifact cache cannot be used, or the sandbox is incomplete and
    /// `config.secure` is set.
    pub fn new(config: WorkerConfig, bus: SharedBus, store: BlobStore) -> Result<Self, WorkerError> {
        let setup = |what: &str, e: &dyn std::fmt::Display| WorkerError::Setup(format!("{what}: {e}"));
        let (exe, baseline) = (config.worker_exe.clone(), config.baseline);
        let runner = match config.sandbox.clone() {
            Some(report) => JobRunner::with_sandbox(exe, baseline, report),
            None => JobRunner::new(exe, baseline),
        };
        let runner = runner.map_err(|e| setup("executable for jobs", &e))?;
        let runner = runner.with_slots(config.slots as usize, config.spares as usize);
        check_sandbox(runner.sandbox(), config.secure)?;
        let engine = engine_id(config.baseline).map_err(|e| setup("engine", &e))?;
        let metrics = WorkerMetrics::new(config.kind, config.slots).map_err(|e| setup("metrics", &e))?;
        let settings = CacheSettings { folder: config.cache_dir, bytes: config.cache_bytes };
        let templates = runner.clone();
        let on_evict = Box::new(move |artifact: &Path| templates.give_up(artifact));
        let read_room = Arc::new(ReadRoom::new());
        let cache = ArtifactCache::new(&settings, store.clone(), read_room.clone(), on_evict, metrics.clone());
        let cache = cache.map_err(|e| setup("folder for copies of artifacts (--cache-dir)", &e))?;
        let registration = WorkerHello {
            speaks: SPEAKS,
            slots: config.slots,
            engine,
            host: config.host,
            identity: config.identity,
            version: env!("CARGO_PKG_VERSION").into(),
            host_functions: host_functions_version(),
            cpu_baseline: config.baseline.to_string(),
            security: runner.sandbox().status(),
            holds: vec![],
            running: vec![],
            also_compiles_for: match config.kind {
                WorkerKind::Prepare => runner.other_engines(),
                WorkerKind::Execute => vec![],
            },
            signs_with: match config.kind {
                WorkerKind::Prepare => store.artifact_keys().signs_with(),
                WorkerKind::Execute => None,
            },
            trusts: match config.kind {
                WorkerKind::Prepare => vec![],
                WorkerKind::Execute => store.artifact_keys().trusts(),
            },
            held: vec![],
        };
        metrics.sandbox(&registration.security);
        let inputs = Inputs::new(config.fleet.clone(), bus.clone(), read_room, metrics.clone());
        let (results, inline_max) = (Results::new(ResultLimits::default()), inline_max_on(bus.max_payload()));
        let records = Records::new(registration.host.clone(), registration.version.clone());
        let jobs = Arc::new(JobContext {
            store,
            runner,
            cache,
            inputs,
            results,
            records,
            traces: Traces::default(),
            inline_max,
        });
        let agent = AgentConfig { kind: config.kind, registration, timing: config.timing, drain: config.drain };
        let status = Status { metrics, http: Http::new() };
        Ok(Self { config: agent, fleet: config.fleet, bus, jobs, status, self_test: config.self_test })
    }

    /// Shows the worker's progress, readiness and metrics at these endpoints. The worker is ready while it is
    /// registered with a coordinator, connected to the bus and not draining.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn with_http(mut self, http: Http) -> Result<Self, WorkerError> {
        let registered = self.status.metrics.register(&http.registry);
        registered.map_err(|e| WorkerError::Setup(format!("metrics: {e}")))?;
        self.status.http = http;
        Ok(self)
    }

    /// Works until `shutdown` completes or an operator has the worker drain, then finishes the jobs that it has, for as
    /// long as the drain time allows, and deregisters. It registers with a coordinator as soon as there is one, and not
    /// before its self-test has passed, if it has one.
    ///
    /// # Errors
    /// The worker cannot subscribe to its subject.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), WorkerError> {
        tokio::pin!(shutdown);
        if self.self_test {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = self_test::until_fit(&self.jobs, &self.status.http) => {}
            }
        }
        Shell::open(self).await?.run(shutdown).await;
        Ok(())
    }
}

/// Whether a worker may start with this sandbox.
fn check_sandbox(sandbox: &Report, secure: bool) -> Result<(), WorkerError> {
    if sandbox.is_secure() {
        return Ok(());
    }
    if secure {
        return Err(WorkerError::Insecure(sandbox.complaint()));
    }
    // Once for all workers of one process.
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            target: "pvf_worker::sandbox",
            "INSECURE: running untrusted code without a complete sandbox; missing:\n{}",
            sandbox.complaint()
        )
    });
    Ok(())
}
