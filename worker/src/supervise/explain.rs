//! Diagnostic runs: one candidate, executed in a process that compiles its code for this run and watches it. What it
//! finds is for people; a verdict comes from [`JobRunner::execute`] only.

use super::{
    CompileMeter, JobRunner,
    finished::FinishedProcess,
    job_memory::{JobMemory, MemoryUse},
    one_reply,
    outcome::reply_or_end,
    runner::compiler_threads,
    watch::{Limits, kernel_cpu_limit},
};
use crate::{
    explanation::{Explanation, LogLevel},
    job::protocol::{EXPLAIN, ExplainReply, ExplainRequest, PrepareRequest},
};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    params::ExecutorParams,
    verdict::clean_reason,
};
use std::time::Duration;

/// Largest reply, bytes.
const MAX_REPLY: usize = 4 * 1024 * 1024;

/// What is to be explained.
#[derive(Debug, Clone)]
pub struct ExplainJob {
    /// Executor parameters.
    pub executor_params: ExecutorParams,
    /// Validation code, compressed or not.
    pub code: Bytes,
    /// Limit of the decompressed code, bytes.
    pub code_bomb_limit: u32,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data.
    pub block_data: Bytes,
    /// Limit of the decompressed PoV, bytes.
    pub pov_bomb_limit: u32,
    /// CPU time limit of the whole run: compiling and the call.
    pub cpu_limit: Duration,
    /// Which messages of the guest are recorded.
    pub log_level: LogLevel,
}

/// What has become of a diagnostic run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explained {
    /// The guest was called.
    Called(Box<Explanation>),
    /// The code cannot be prepared, and why.
    NotPrepared(String),
    /// The guest was not called, or the run did not come to its end.
    Ended {
        /// Why.
        why: String,
        /// The end of what the run had logged, mostly the guest's words.
        log: String,
    },
}

impl JobRunner {
    /// Executes a candidate in a diagnostic run, in the sandbox of a preparation.
    pub async fn explain(&self, job: ExplainJob) -> Explained {
        let threads = compiler_threads(0);
        let (prefix, suffix) = job.context.around_block_data();
        let preparation = PrepareRequest {
            sandbox: self.sandbox().plan(),
            baseline: self.baseline(),
            cpu_seconds: kernel_cpu_limit(job.cpu_limit),
            params: job.executor_params.clone(),
            code: job.code,
            bomb_limit: job.code_bomb_limit,
            precheck: false,
            threads,
        };
        let plan = preparation.sandbox;
        let request = ExplainRequest {
            preparation,
            around_block_data: [prefix.into(), suffix.into()],
            block_data: job.block_data,
            pov_bomb_limit: match job.context.block_data_form {
                BlockDataForm::MaybeCompressed => Some(job.pov_bomb_limit),
                BlockDataForm::Decompressed => None,
            },
            log_level: job.log_level,
        };
        let usage = MemoryUse::Preparation { params: &job.executor_params, threads };
        let memory = JobMemory::new(self.cgroups(), usage);
        let limits = Limits::of_job(job.cpu_limit, threads);
        let (exe, meter) = (self.exe(), CompileMeter::default());
        let run = one_reply::Job { exe, role: EXPLAIN, request, plan, limits, max_reply: MAX_REPLY, meter };
        match one_reply::run(run, memory).await {
            Ok(process) => explained(&process, job.cpu_limit),
            Err(error) => Explained::Ended { why: format!("no process for the run: {error}"), log: String::new() },
        }
    }
}

fn explained(process: &FinishedProcess, cpu_limit: Duration) -> Explained {
    let ended = |why: String| Explained::Ended { why, log: process.stderr.clone() };
    let reply = match reply_or_end(process, cpu_limit) {
        Ok(reply) => reply,
        Err(why) => return ended(why),
    };
    match rmp_serde::from_slice(&reply) {
        Ok(ExplainReply::Called(explanation)) => Explained::Called(Box::new(explanation.bounded())),
        Ok(ExplainReply::NotPrepared(error)) => Explained::NotPrepared(clean_reason(&error.to_string())),
        Ok(ExplainReply::NoCall(why)) => ended(clean_reason(&why)),
        Err(_) => ended("the run sent a malformed reply".into()),
    }
}
