//! Runs preparations and executions in child processes.

use super::{
    ArtifactFile, BlockData, CompileMeter,
    forks::{Budget, Footprint, ForkPool, JobInput, JobStarter, PoolSettings},
    job_memory::{JobMemory, MemoryUse},
    one_reply,
    outcome::{self, Prepared, execute_outcome, prepare_outcome},
    probe, process,
    slot_grant::SlotGrant,
    trace::JobTrace,
    usage,
    watch::{Limits, kernel_cpu_limit},
};
use crate::{
    job::protocol::{ExecuteRequest, PREPARE, PrepareRequest, REPLY_SLACK},
    machine::{JobCgroups, job_cgroups, watch_oom_kills},
    sandbox::{LandlockAbi, Report},
    wasm::{CpuBaseline, engines_up_to},
};
use pvf_shared::{
    Bytes,
    candidate::BlockDataForm,
    ids::EngineId,
    job::{ExecuteJob, ExecuteOutcome, JobUsage, PrepareJob},
    params::ExecutorParams,
    units::MAX_ARTIFACT,
    verdict::InternalError,
};
use std::{
    io::{Error, Result},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Size of a page of guest memory, bytes.
const WASM_PAGE: usize = 64 * 1024;

/// Probes which sandbox mechanisms work on this machine, in a child process of `exe` (`None` for the current
/// executable).
pub fn probe_sandbox(exe: Option<PathBuf>) -> Result<Report> {
    probe_sandbox_up_to(LandlockAbi::HIGHEST, exe)
}

/// The same with no higher landlock ABI than this, as on an older kernel. For tests; workers use the best that there
/// is.
pub fn probe_sandbox_up_to(landlock: LandlockAbi, exe: Option<PathBuf>) -> Result<Report> {
    executable(exe).map(|exe| probe::probe(&exe, landlock))
}

/// Starts the thread that starts child processes. To be called before the program has other threads.
pub fn start_spawner() {
    process::start_spawner();
}

/// Runs jobs in child processes. Clones share the templates.
#[derive(Debug, Clone)]
pub struct JobRunner {
    settings: PoolSettings,
    /// The engines that it can compile for, one for each CPU baseline up to its own.
    engines: Arc<[(EngineId, CpuBaseline)]>,
    slots: usize,
    starter: Arc<JobStarter>,
    sandbox: Arc<Report>,
    /// Memory cgroups for jobs, where this process may make some.
    cgroups: Option<Arc<JobCgroups>>,
}

impl JobRunner {
    /// Runs jobs with `exe` (`None` for the current executable), whose `main` begins with
    /// [`crate::run_job_if_asked`]. Probes the sandbox first and applies every mechanism that works; callers that
    /// require more check [`JobRunner::sandbox`].
    pub fn new(exe: Option<PathBuf>, baseline: CpuBaseline) -> Result<Self> {
        let report = probe_sandbox(exe.clone())?;
        Self::with_sandbox(exe, baseline, report)
    }

    /// As [`JobRunner::new`], with the mechanisms that work according to this report.
    pub fn with_sandbox(exe: Option<PathBuf>, baseline: CpuBaseline, sandbox: Report) -> Result<Self> {
        let settings = PoolSettings::new(executable(exe)?, baseline, sandbox.plan());
        watch_oom_kills();
        let engines = engines_up_to(baseline).map_err(Error::other)?;
        let starter = Arc::new(JobStarter::new(ForkPool::new(settings.clone()), 1));
        Ok(Self {
            settings,
            engines: engines.into(),
            slots: 1,
            starter,
            sandbox: Arc::new(sandbox),
            cgroups: job_cgroups(),
        })
    }

    /// The same without templates, with other settings.
    fn rebuilt(self, settings: PoolSettings, slots: usize) -> Self {
        let starter = Arc::new(JobStarter::new(ForkPool::new(settings.clone()), slots));
        Self { settings, slots, starter, ..self }
    }

    /// A runner without templates that has so many slots, and so many spare forks of each template, or fewer if the
    /// machine's limits of open files and processes allow fewer. The default is one of both.
    pub fn with_slots(self, slots: usize, spares: usize) -> Self {
        let budget = Budget::of_this_machine();
        let kept = budget.keep(slots, spares);
        tracing::debug!(?kept, "templates and spares within the limits of open files and processes");
        budget.warn_of_few(kept);
        let settings = PoolSettings { kept, ..self.settings.clone() };
        self.rebuilt(settings, slots)
    }

    /// A runner without templates that allows so many bytes for all templates and their spares. The default is 1 GiB.
    pub fn with_template_memory(self, max_memory: u64) -> Self {
        let settings = PoolSettings { max_memory, ..self.settings.clone() };
        let slots = self.slots;
        self.rebuilt(settings, slots)
    }

    /// A runner without templates that replaces a template which takes longer than `timeout` to answer. The default is
    /// one minute.
    pub fn with_template_timeout(self, timeout: Duration) -> Self {
        let settings = PoolSettings { timeout, ..self.settings.clone() };
        let slots = self.slots;
        self.rebuilt(settings, slots)
    }

    /// The executable of job processes.
    pub(super) fn exe(&self) -> &Path {
        &self.settings.exe
    }

    /// Memory cgroups for jobs.
    pub(super) fn cgroups(&self) -> Option<&Arc<JobCgroups>> {
        self.cgroups.as_ref()
    }

    /// CPU features that compiled code may use.
    pub(super) fn baseline(&self) -> CpuBaseline {
        self.settings.baseline
    }

    /// The engine of its own baseline: the first of those that it compiles for.
    pub fn own_engine(&self) -> Option<&EngineId> {
        self.engines.first().map(|(engine, _)| engine)
    }

    /// The engines that it compiles for besides that of its own baseline: those of lower baselines.
    pub fn other_engines(&self) -> Vec<EngineId> {
        let others = self.engines.iter().filter(|(_, baseline)| *baseline != self.settings.baseline);
        others.map(|(engine, _)| engine.clone()).collect()
    }

    /// The sandbox of job processes.
    pub fn sandbox(&self) -> &Report {
        &self.sandbox
    }

    /// Compiles `code` in a process of its own.
    pub async fn prepare(&self, job: &PrepareJob, code: Bytes) -> (Prepared, JobUsage) {
        self.prepare_with_meter(job, code, CompileMeter::default()).await
    }

    /// As [`JobRunner::prepare`]; the meter shows meanwhile how far the compiler has come.
    pub async fn prepare_with_meter(&self, job: &PrepareJob, code: Bytes, meter: CompileMeter) -> (Prepared, JobUsage) {
        let threads = compiler_threads(job.threads);
        let wanted = &job.artifact.engine;
        let Some((_, baseline)) = self.engines.iter().find(|(engine, _)| engine == wanted) else {
            let why = format!("this worker does not compile for engine {wanted}");
            return (Prepared::Internal(InternalError::Kernel(why)), job.limits());
        };
        let request = PrepareRequest {
            sandbox: self.settings.sandbox,
            baseline: *baseline,
            cpu_seconds: kernel_cpu_limit(job.cpu_limit),
            params: job.executor_params.clone(),
            code,
            bomb_limit: job.code_bomb_limit,
            precheck: job.precheck,
            threads,
        };
        let usage = MemoryUse::Preparation { params: &job.executor_params, threads };
        let memory = JobMemory::new(self.cgroups.as_ref(), usage);
        let job_process = one_reply::Job {
            exe: &self.settings.exe,
            role: PREPARE,
            request,
            plan: self.settings.sandbox,
            limits: Limits::of_job(job.cpu_limit, threads),
            max_reply: MAX_ARTIFACT + REPLY_SLACK,
            meter,
        };
        match one_reply::run(job_process, memory).await {
            Ok(process) => (prepare_outcome(&process, job.cpu_limit), usage::of_process(&process, job.limits())),
            // The process did not start, or the worker lost sight of it: not attributable to the code.
            Err(error) => (Prepared::Internal(InternalError::Kernel(error.to_string())), job.limits()),
        }
    }

    /// Whether this artifact is mapped and linked for these parameters; an execution then does not read its file.
    pub fn is_warm(&self, artifact: &Path, params: &ExecutorParams) -> bool {
        self.starter.is_warm(artifact, params)
    }

    /// What the templates take up.
    pub(crate) fn footprint(&self) -> Footprint {
        self.starter.footprint()
    }

    /// Gives up the templates of this artifact: its file is about to be deleted, and takes space while it is mapped.
    /// Jobs that run go on.
    pub fn give_up(&self, artifact: &Path) {
        self.starter.give_up(artifact);
    }

    /// Executes a candidate in a process of its own. The signature of what the artifact file must contain must have
    /// been verified.
    pub async fn execute(
        &self,
        job: &ExecuteJob,
        artifact: &ArtifactFile,
        block_data: Bytes,
    ) -> (ExecuteOutcome, JobUsage) {
        let (outcome, usage, _) = self.execute_with_grant(job, artifact, block_data, SlotGrant::immediate().0).await;
        (outcome, usage)
    }

    /// As [`JobRunner::execute`], in the slot of this grant: the job may be staged behind another one. Also gives what
    /// the job leaves for people.
    pub async fn execute_with_grant(
        &self,
        job: &ExecuteJob,
        artifact: &ArtifactFile,
        block_data: impl Into<BlockData>,
        mut grant: SlotGrant,
    ) -> (ExecuteOutcome, JobUsage, JobTrace) {
        let block_data = block_data.into();
        let (prefix, suffix) = job.context.around_block_data();
        let request = ExecuteRequest {
            cpu_seconds: kernel_cpu_limit(job.cpu_limit),
            pov_bomb_limit: match job.context.block_data_form {
                BlockDataForm::MaybeCompressed => Some(job.pov_bomb_limit),
                BlockDataForm::Decompressed => None,
            },
            around_block_data: [&prefix, &suffix],
            block_data: block_data.inline(),
        };
        let limits = usage::known_before(job, &block_data);
        let input = JobInput { artifact, params: &job.executor_params, request, block_data: block_data.file() };
        let fork = match self.starter.start(&input, &mut grant).await {
            Ok(fork) => fork,
            Err(error) => return (outcome::no_process(error), limits, JobTrace::default()),
        };
        let usage = MemoryUse::Execution {
            params: &job.executor_params,
            input: u64::from(job.pov_bomb_limit).max(block_data.len()),
            artifact: artifact.path(),
        };
        let memory = JobMemory::new(self.cgroups.as_ref(), usage);
        drop(block_data);
        // A result is in the guest's memory, so it cannot be larger.
        let max_reply = job.executor_params.memory_page_limit() as usize * WASM_PAGE;
        let started = fork.started();
        match fork.finish(Limits::of_job(job.cpu_limit, 1), max_reply, memory, || grant.release()).await {
            Ok(process) => {
                let trace = JobTrace::of_process(&process);
                (execute_outcome(&process, job.cpu_limit), usage::of_process(&process, limits), trace)
            }
            Err(error) => {
                let usage = JobUsage { wall: started.elapsed(), ..limits };
                (outcome::unknown_exit(&error, self.sandbox().plan()), usage, JobTrace::default())
            }
        }
    }
}

/// Threads of the compiler: so many, or one for each core for 0.
pub(super) fn compiler_threads(wanted: u32) -> u32 {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, |n| u32::try_from(usize::from(n)).unwrap_or(1)),
        n => n,
    }
}

fn executable(exe: Option<PathBuf>) -> Result<PathBuf> {
    // Not the path: the file may be replaced while the worker runs, and jobs must be of the same build.
    let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    match exe {
        Some(exe) => exe.canonicalize(),
        None if own.exists() => Ok(own),
        None => std::env::current_exe(),
    }
}
