//! What a worker and its job process say to each other. Private to one build: both ends are the same executable.
//!
//! The request is the job's stdin (a sealed memory file). The reply is its stdout: four bytes of length, little
//! endian, the reply, and for a preparation the artifact behind it.

use crate::wasm::CpuBaseline;
use pvf_shared::{
    Bytes,
    candidate::CandidateContext,
    params::ExecutorParams,
    verdict::{InvalidReason, PrepareError},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// First argument of a job process.
pub(crate) const ROLE: &str = "__pvf-job";
/// Exit code of a job that allocated more than it may.
pub(crate) const EXIT_OUT_OF_MEMORY: i32 = 97;
/// Exit code of a job that could not even begin.
pub(crate) const EXIT_SETUP: i32 = 98;
/// Largest part of a reply that is not the artifact or the result, bytes.
pub(crate) const REPLY_SLACK: usize = 64 * 1024;

/// What a job process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// What compiled code may use.
    pub(crate) baseline: CpuBaseline,
    /// CPU time after which the kernel ends the process in any case, seconds.
    pub(crate) cpu_seconds: u64,
    /// The parameters.
    pub(crate) executor_params: ExecutorParams,
    /// Which work.
    pub(crate) work: Work,
}

/// The work of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Compile.
    Prepare {
        /// As submitted.
        code: Bytes,
        /// Decompressed code may not be larger, bytes.
        bomb_limit: u32,
        /// Whether the artifact is to be linked as well.
        precheck: bool,
        /// Threads to compile on.
        threads: u32,
    },
    /// Execute.
    Execute {
        /// The artifact, on disk.
        artifact: PathBuf,
        /// The candidate.
        context: Box<CandidateContext>,
        /// Its block data.
        block_data: Bytes,
        /// Decompressed PoV may not be larger, bytes.
        pov_bomb_limit: u32,
    },
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The artifact follows.
    Prepared {
        /// Its length, bytes.
        len: u64,
    },
    /// It cannot be prepared.
    PrepareFailed(PrepareError),
    /// The SCALE encoding of the `ValidationResult`.
    Valid(Bytes),
    /// The candidate's fault.
    Invalid(InvalidReason),
    /// The artifact could not be linked or instantiated.
    Construction(String),
    /// A panic of our own code.
    JobError(String),
}
