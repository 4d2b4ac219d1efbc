//! What a worker is asked to do and how it went: the part of a dispatch and a report that the job itself
//! needs. The bus messages around it are in [`crate::wire`].

use crate::{
    candidate::CandidateContext,
    ids::{ArtifactId, BlobHash},
    params::ExecutorParams,
    store::seal::Mac,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bytes that travel inline, or the name of a blob in the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobRef {
    /// The bytes themselves.
    Inline(Bytes),
    /// A content-addressed blob of the store.
    Stored {
        /// BLAKE3 of the bytes.
        hash: BlobHash,
        /// How many bytes.
        len: u64,
    },
}

impl BlobRef {
    /// How many bytes the blob has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored { len, .. } => *len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes travel in the message.
    pub fn inline_len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Stored { .. } => 0,
        }
    }
}

impl std::fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} B)", bytes.len()),
            Self::Stored { hash, len } => write!(f, "Stored({hash:?}, {len} B)"),
        }
    }
}

/// Compile one code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareJob {
    /// What is to be made; the worker refuses an engine that is not its own.
    pub artifact: ArtifactId,
    /// The code as submitted, in the store.
    pub code: BlobRef,
    /// The parameters to prepare with.
    pub executor_params: ExecutorParams,
    /// CPU time limit, summed over threads; the wall clock may take four times this.
    pub cpu_limit: Duration,
    /// Decompressed code may not be larger, bytes.
    pub code_bomb_limit: u32,
    /// Whether the fresh artifact is to be linked as well, as for pre-checking.
    pub precheck: bool,
    /// Threads that the compiler may use; 0: as many as the worker's machine has cores.
    pub threads: u32,
}

/// Execute one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteJob {
    /// The artifact, in the store.
    pub artifact: ArtifactId,
    /// Its MAC as the preparation reported it, if the coordinator knows it: an older artifact put in its
    /// place is refused.
    pub mac: Option<Mac>,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data.
    pub block_data: BlobRef,
    /// The parameters to execute with.
    pub executor_params: ExecutorParams,
    /// CPU time limit; the wall clock may take four times this.
    pub cpu_limit: Duration,
    /// Decompressed PoV may not be larger, bytes.
    pub pov_bomb_limit: u32,
}

/// What a job used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobUsage {
    /// CPU time of the job process by the kernel's account, all threads.
    pub cpu: Duration,
    /// Wall-clock time of the job process.
    pub wall: Duration,
    /// Largest resident set of the job process, KiB.
    pub max_rss_kib: u64,
    /// Time the worker spent on fetching and storing blobs for the job.
    pub io: Duration,
}

/// An artifact that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    /// Size of the compiled code, bytes.
    pub bytes: u64,
    /// MAC over it.
    pub mac: Mac,
}

/// How a preparation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrepareOutcome {
    /// The artifact is in the store.
    Prepared(ArtifactInfo),
    /// It cannot be prepared (also stored, when the failure is deterministic).
    Failed(PrepareError),
    /// Ours.
    Internal(InternalError),
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecuteOutcome {
    /// The call returned and its result decoded: the SCALE encoding of the `ValidationResult`, without what
    /// the guest may have put after it.
    Valid(BlobRef),
    /// The candidate's fault.
    Invalid(InvalidReason),
    /// The candidate's or ours.
    Ambiguous(AmbiguousReason),
    /// Ours.
    Internal(InternalError),
}

/// A job of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobSpec {
    /// Compile.
    Prepare(Box<PrepareJob>),
    /// Execute.
    Execute(Box<ExecuteJob>),
}

/// The outcome of a job of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobOutcome {
    /// Of a preparation.
    Prepare(PrepareOutcome),
    /// Of an execution.
    Execute(ExecuteOutcome),
}
