//! The worker's side of a job process: start it, limit it, read its one bounded reply, and say what its end means.
//!
//! Nothing that the job says about itself is believed: time and memory are the kernel's account, a claimed
//! result is decoded again, and a process that ended oddly has no result, whatever it wrote.

mod outcome;
mod pipes;
mod process;

use crate::{
    job::protocol::{REPLY_SLACK, ROLE, Reply, Request, Work},
    wasm::CpuBaseline,
};
use outcome::{Ran, execute_outcome, prepare_outcome};
use pipes::{read_bounded, read_tail};
use process::{Limits, Process, Start, watch};
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome, JobUsage, PrepareJob},
    units::WALL_CLOCK_FACTOR,
    verdict::{InternalError, PrepareError},
};
use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

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

/// Starts job processes.
#[derive(Debug, Clone)]
pub struct JobRunner {
    exe: PathBuf,
    baseline: CpuBaseline,
}

impl JobRunner {
    /// Jobs are run by this executable (absent: the current one), whose `main` begins with
    /// [`crate::run_job_if_asked`].
    pub fn new(exe: Option<PathBuf>, baseline: CpuBaseline) -> std::io::Result<Self> {
        // Not the path: the file may be replaced while we run, and jobs must be of our own build.
        let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
        let exe = match exe {
            Some(exe) => exe.canonicalize()?,
            None if own.exists() => own,
            None => std::env::current_exe()?,
        };
        Ok(Self { exe, baseline })
    }

    /// Compiles `code` in a process of its own.
    pub async fn prepare(&self, job: &PrepareJob, code: Bytes) -> (Prepared, JobUsage) {
        let threads = match job.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| u32::try_from(usize::from(n)).unwrap_or(1)),
            n => n,
        };
        let work = Work::Prepare { code, bomb_limit: job.code_bomb_limit, precheck: job.precheck, threads };
        let request = self.request(job.cpu_limit, &job.executor_params, work);
        match run(&self.exe, request, job.cpu_limit, threads, MAX_ARTIFACT).await {
            Ok(ran) => (prepare_outcome(&ran, job.cpu_limit), ran.usage),
            // The process was not even started: nothing to do with the code.
            Err(error) => (Prepared::Internal(InternalError::Kernel(error.to_string())), JobUsage::default()),
        }
    }

    /// Executes a candidate in a process of its own. The artifact file must be one whose seal was verified.
    pub async fn execute(&self, job: &ExecuteJob, artifact: &Path, block_data: Bytes) -> (ExecuteOutcome, JobUsage) {
        let work = Work::Execute {
            artifact: artifact.to_owned(),
            context: Box::new(job.context.clone()),
            block_data,
            pov_bomb_limit: job.pov_bomb_limit,
        };
        let request = self.request(job.cpu_limit, &job.executor_params, work);
        // A result lies in the guest's memory, so it cannot be larger.
        let max_reply = job.executor_params.memory_page_limit() as usize * 64 * 1024;
        match run(&self.exe, request, job.cpu_limit, 1, max_reply).await {
            Ok(ran) => (execute_outcome(&ran, job.cpu_limit), ran.usage),
            Err(error) => (outcome::not_started(&error), JobUsage::default()),
        }
    }

    fn request(&self, cpu_limit: Duration, params: &pvf_shared::params::ExecutorParams, work: Work) -> Request {
        Request {
            baseline: self.baseline,
            // A backstop for the case that this worker is too busy to look.
            cpu_seconds: cpu_limit.as_secs().saturating_add(2),
            executor_params: params.clone(),
            work,
        }
    }
}

/// A memory file with the request, as a child's stdin: nobody has to write while the child reads.
fn request_file(request: &Request) -> std::io::Result<File> {
    let bytes = rmp_serde::to_vec_named(request).map_err(std::io::Error::other)?;
    let fd = rustix::fs::memfd_create("pvf-job", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file)
}

async fn run(exe: &Path, request: Request, cpu: Duration, threads: u32, max_body: usize) -> std::io::Result<Ran> {
    let started = Instant::now();
    let start = Start {
        exe: exe.to_owned(),
        args: vec![ROLE.into(), std::process::id().to_string()],
        stdin: request_file(&request)?,
    };
    drop(request);
    let mut process = Process::start(start).await?;
    let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let limits = Limits { cpu, wall: cpu.saturating_mul(WALL_CLOCK_FACTOR), threads };
    let (overrun, reply, stderr) = {
        let reading = async {
            let reply = read_bounded(stdout, max_body + REPLY_SLACK, process.gone()).await;
            if reply.is_none() {
                process.kill();
            }
            reply
        };
        tokio::join!(watch(&process, limits), reading, read_tail(stderr, process.gone()))
    };
    let overrun = overrun?;
    let end = process.reap()?;
    let usage = JobUsage { cpu: end.cpu, wall: started.elapsed(), max_rss_kib: end.max_rss_kib, io: Duration::ZERO };
    if !stderr.is_empty() {
        tracing::debug!(pid_status = end.status, stderr = %stderr, "stderr of a job");
    }
    Ok(Ran { status: end.status, overrun, reply, stderr, usage })
}

/// The reply and what follows it.
fn split_reply(bytes: &Bytes) -> Option<(Reply, Bytes)> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let end = 4usize.checked_add(len)?;
    let reply = rmp_serde::from_slice(bytes.get(4..end)?).ok()?;
    Some((reply, bytes.slice(end..)))
}
