//! The worker's side of a job process: start it, limit it, read its one bounded reply, and say what its end means.
//!
//! Nothing that the job says about itself is believed: time and memory are the kernel's account, a claimed
//! result is decoded again, and a process that ended oddly has no result, whatever it wrote.

mod cores;
mod fork;
mod launch;
mod outcome;
mod pipes;
mod probe;
mod process;
mod template;
mod templates;
mod turn;
mod watch;
mod words;

use crate::{
    end::End,
    job::protocol::{Execution, PREPARE, Preparation, REPLY_SLACK, Reply, VALID_HEAD},
    sandbox::Report,
    wasm::CpuBaseline,
};
use fork::Done;
use outcome::{Ran, execute_outcome, prepare_outcome};
use pipes::{read_bounded, read_tail};
use process::{Process, Start};
use pvf_shared::{
    Bytes,
    candidate::BlockDataForm,
    job::{ExecuteJob, ExecuteOutcome, JobUsage, PrepareJob},
    params::ExecutorParams,
    units::WALL_CLOCK_FACTOR,
    verdict::{InternalError, PrepareError},
};
use serde::Serialize;
use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use templates::Templates;
use tokio::time::Instant;
pub use turn::{Go, Progress, Turn};
use watch::{Limits, Overrun, watch};

/// Largest artifact that a job may hand over, bytes.
const MAX_ARTIFACT: usize = 1 << 30;

/// How a preparation's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// The artifact.
    Artifact(Bytes),
    /// It cannot be prepared.
    Failed(PrepareError),
    /// Ours.
    Internal(InternalError),
}

/// How this machine can lock up job processes: a child of this executable (absent: the current one) tries it.
pub fn probe_sandbox(exe: Option<PathBuf>) -> std::io::Result<Report> {
    executable(exe).map(|exe| probe::probe(&exe))
}

/// Starts the thread that starts processes: to be called before there are others.
pub fn start_spawner() {
    process::start_spawner();
}

/// Starts job processes.
#[derive(Debug, Clone)]
pub struct JobRunner {
    exe: PathBuf,
    baseline: CpuBaseline,
    templates: Arc<Templates>,
    sandbox: Arc<Report>,
}

impl JobRunner {
    /// Jobs are run by this executable (absent: the current one), whose `main` begins with
    /// [`crate::run_job_if_asked`]. They are locked up as far as this machine can, which a child tries out first:
    /// whoever wants more than that looks at [`JobRunner::sandbox`].
    pub fn new(exe: Option<PathBuf>, baseline: CpuBaseline) -> std::io::Result<Self> {
        let report = probe_sandbox(exe.clone())?;
        Self::with_sandbox(exe, baseline, report)
    }

    /// As [`JobRunner::new`], with what is known of this machine: jobs are locked up by what works according to it.
    pub fn with_sandbox(exe: Option<PathBuf>, baseline: CpuBaseline, sandbox: Report) -> std::io::Result<Self> {
        let exe = executable(exe)?;
        let templates = Arc::new(Templates::new(exe.clone(), baseline, sandbox.plan()));
        Ok(Self { templates, exe, baseline, sandbox: Arc::new(sandbox) })
    }

    /// With templates of another kind; what was set before is as at the beginning again.
    fn with(mut self, change: impl FnOnce(Templates) -> Templates) -> Self {
        self.templates = Arc::new(change(Templates::new(self.exe.clone(), self.baseline, self.sandbox.plan())));
        self
    }

    /// The same for so many jobs at once, with so many forks of each artifact in use that wait for theirs.
    pub fn of_size(self, slots: usize, spares: usize) -> Self {
        self.with(|templates| templates.of_size(slots, spares))
    }

    /// The same for one job at once, with so many bytes of memory for all templates and their spares, instead of 1 GiB.
    pub fn with_template_memory(self, bytes: u64) -> Self {
        self.with(|templates| templates.with_memory(bytes))
    }

    /// The same for one job at once, with so much time, instead of a minute, for a template to do as it is told: one
    /// that takes longer is replaced.
    pub fn with_template_patience(self, patience: Duration) -> Self {
        self.with(|templates| templates.with_patience(patience))
    }

    /// How job processes are locked up.
    pub fn sandbox(&self) -> &Report {
        &self.sandbox
    }

    /// Compiles `code` in a process of its own.
    pub async fn prepare(&self, job: &PrepareJob, code: Bytes) -> (Prepared, JobUsage) {
        let threads = match job.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| u32::try_from(usize::from(n)).unwrap_or(1)),
            n => n,
        };
        let preparation = Preparation {
            sandbox: self.sandbox.plan(),
            baseline: self.baseline,
            cpu_seconds: backstop(job.cpu_limit),
            params: job.executor_params.clone(),
            code,
            bomb_limit: job.code_bomb_limit,
            precheck: job.precheck,
            threads,
        };
        match run_preparation(&self.exe, preparation, limits(job.cpu_limit, threads)).await {
            Ok(ran) => (prepare_outcome(&ran, job.cpu_limit), ran.usage),
            // The process was not even started: nothing to do with the code.
            Err(error) => (Prepared::Internal(InternalError::Kernel(error.to_string())), JobUsage::default()),
        }
    }

    /// Whether this artifact is mapped and linked for these parameters: then its file is not read again.
    pub fn is_warm(&self, artifact: &Path, params: &ExecutorParams) -> bool {
        self.templates.has(artifact, params)
    }

    /// Executes a candidate in a process of its own. The artifact file must be one whose seal was verified, unless it
    /// [is warm](Self::is_warm).
    pub async fn execute(&self, job: &ExecuteJob, artifact: &Path, block_data: Bytes) -> (ExecuteOutcome, JobUsage) {
        self.execute_in_turn(job, artifact, block_data, Turn::now().0).await
    }

    /// The same, when it is its turn.
    pub async fn execute_in_turn(
        &self,
        job: &ExecuteJob,
        artifact: &Path,
        block_data: Bytes,
        mut turn: Turn,
    ) -> (ExecuteOutcome, JobUsage) {
        let (prefix, suffix) = job.context.around_block_data();
        let execution = Execution {
            cpu_seconds: backstop(job.cpu_limit),
            pov_bomb_limit: match job.context.block_data_form {
                BlockDataForm::MaybeCompressed => Some(job.pov_bomb_limit),
                BlockDataForm::Decompressed => None,
            },
            around: [&prefix, &suffix],
            block_data: &block_data,
        };
        let begun = self.templates.begin(artifact, &job.executor_params, &execution, &mut turn);
        let (fork, started) = match begun.await {
            Ok(begun) => begun,
            Err(error) => return (outcome::no_fork(error), JobUsage::default()),
        };
        drop(block_data);
        // A result lies in the guest's memory, so it cannot be larger.
        let max_reply = job.executor_params.memory_page_limit() as usize * 64 * 1024;
        match fork.done(limits(job.cpu_limit, 1), max_reply, || turn.over()).await {
            Ok(Done { overrun, reply, stderr, end }) => {
                let ran = ran(end, overrun, reply, stderr, started);
                (execute_outcome(&ran, job.cpu_limit), ran.usage)
            }
            Err(error) => (outcome::lost(&error), JobUsage { wall: started.elapsed(), ..JobUsage::default() }),
        }
    }
}

fn executable(exe: Option<PathBuf>) -> std::io::Result<PathBuf> {
    // Not the path: the file may be replaced while we run, and jobs must be of our own build.
    let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    match exe {
        Some(exe) => exe.canonicalize(),
        None if own.exists() => Ok(own),
        None => std::env::current_exe(),
    }
}

fn limits(cpu: Duration, threads: u32) -> Limits {
    Limits { cpu, wall: cpu.saturating_mul(WALL_CLOCK_FACTOR), threads }
}

/// For the case that this worker is too busy to look: the kernel's own limit of CPU time, seconds.
fn backstop(cpu_limit: Duration) -> u64 {
    cpu_limit.as_secs().saturating_add(2)
}

/// A memory file with what a process is to do: nobody has to write while the process reads.
fn request_file(of: &impl Serialize) -> std::io::Result<File> {
    memory_file(&rmp_serde::to_vec_named(of).map_err(std::io::Error::other)?)
}

fn memory_file(bytes: &[u8]) -> std::io::Result<File> {
    let fd = rustix::fs::memfd_create("pvf-job", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

async fn run_preparation(exe: &Path, job: Preparation, limits: Limits) -> std::io::Result<Ran> {
    let started = Instant::now();
    let start = Start {
        exe: exe.to_owned(),
        args: vec![PREPARE.into()],
        stdin: request_file(&job)?,
        stdout: None,
        stack: None,
        plan: job.sandbox,
    };
    drop(job);
    let mut process = Process::start(start).await?;
    let (mut stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let handle = &process.handle;
    let reading = async {
        let reply = read_bounded(stdout.as_mut(), MAX_ARTIFACT + REPLY_SLACK, |_| false, handle.gone()).await;
        if reply.is_none() {
            handle.kill();
        }
        reply
    };
    let (overrun, reply, stderr) = tokio::join!(watch(handle, limits), reading, read_tail(stderr, handle.gone()));
    let overrun = overrun?;
    Ok(ran(process.reap()?, overrun, reply, stderr, started))
}

fn ran(end: End, overrun: Option<Overrun>, reply: Option<Bytes>, stderr: String, started: Instant) -> Ran {
    let usage = JobUsage { cpu: end.cpu, wall: started.elapsed(), max_rss_kib: end.max_rss_kib, io: Duration::ZERO };
    if !stderr.is_empty() {
        tracing::debug!(pid_status = end.status, stderr = %stderr, "stderr of a job");
    }
    Ran { status: end.status, overrun, reply, stderr, usage }
}

/// The reply and what follows it.
fn split_reply(bytes: &Bytes) -> Option<(Reply, Bytes)> {
    let (from, end) = reply_range(bytes)?;
    let body = bytes.get(from..end)?;
    let reply =
        if from == VALID_HEAD { Reply::Valid(bytes.slice(from..end)) } else { rmp_serde::from_slice(body).ok()? };
    Some((reply, bytes.slice(end..)))
}

/// Where the reply lies, as far as what has come of it tells.
fn reply_range(bytes: &[u8]) -> Option<(usize, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    match number(0)? {
        0 => Some((VALID_HEAD, VALID_HEAD + number(4)?)),
        len => Some((4, 4 + len)),
    }
}

/// Whether a whole reply has come.
fn is_whole(bytes: &[u8]) -> bool {
    reply_range(bytes).is_some_and(|(_, end)| bytes.len() >= end)
}
