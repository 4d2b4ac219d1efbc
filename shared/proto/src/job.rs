//! Job specifications and outcomes: the part of a dispatch and of a report that concerns the job itself. The bus
//! messages around them are in [`crate::wire`].

use crate::{
    artifact::{ArtifactInfo, Mac},
    blob::BlobRef,
    candidate::CandidateContext,
    ids::ArtifactId,
    params::ExecutorParams,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Preparation of one PVF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareJob {
    /// The artifact to produce. A worker refuses an engine other than its own.
    pub artifact: ArtifactId,
    /// The validation code as submitted, possibly compressed.
    pub code: BlobRef,
    /// Executor parameters of the session.
    pub executor_params: ExecutorParams,
    /// CPU time limit, summed over all threads. The wall-clock limit is
    /// [`WALL_CLOCK_FACTOR`](crate::units::WALL_CLOCK_FACTOR) times as long.
    pub cpu_limit: Duration,
    /// Limit of the decompressed code, bytes.
    pub code_bomb_limit: u32,
    /// Whether to link the new artifact as well, as pre-checking requires.
    pub precheck: bool,
    /// Threads that the compiler may use; 0 stands for the number of cores of the worker's machine.
    pub threads: u32,
}

/// Execution of one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteJob {
    /// The artifact to run.
    pub artifact: ArtifactId,
    /// MAC of the artifact as the preparation reported it, if the coordinator knows it. The worker refuses an artifact
    /// with another MAC, so that an older artifact cannot replace it.
    pub mac: Option<Mac>,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data.
    pub block_data: BlobRef,
    /// Executor parameters of the session.
    pub executor_params: ExecutorParams,
    /// CPU time limit. The wall-clock limit is [`WALL_CLOCK_FACTOR`](crate::units::WALL_CLOCK_FACTOR) times as long.
    pub cpu_limit: Duration,
    /// Limit of the decompressed PoV, bytes.
    pub pov_bomb_limit: u32,
}

/// Resources that a job used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobUsage {
    /// CPU time of the job process as the kernel accounts it, all threads.
    pub cpu: Duration,
    /// Wall-clock time of the job process.
    pub wall: Duration,
    /// Largest resident set of the job process, KiB.
    pub max_rss_kib: u64,
    /// Time that the worker spent on fetching and storing the job's blobs.
    pub io: Duration,
}

/// Outcome of a preparation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrepareOutcome {
    /// The artifact is in the store.
    Prepared(ArtifactInfo),
    /// The code cannot be prepared. A deterministic failure is in the store as well, unless it depends on the
    /// limits of the request.
    Failed(PrepareError),
    /// Infrastructure failure; not attributable to the code.
    Internal(InternalError),
}

/// Outcome of an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecuteOutcome {
    /// The call returned a result that decodes: the SCALE encoding of the `ValidationResult`, without trailing bytes
    /// of the guest.
    Valid(BlobRef),
    /// The candidate is invalid.
    Invalid(InvalidReason),
    /// Either the candidate or the infrastructure is at fault.
    Ambiguous(AmbiguousReason),
    /// Infrastructure failure; not attributable to the code or the candidate.
    Internal(InternalError),
}

/// A job of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobSpec {
    /// Preparation.
    Prepare(Box<PrepareJob>),
    /// Execution.
    Execute(Box<ExecuteJob>),
}

/// The outcome of a job of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobOutcome {
    /// Outcome of a preparation.
    Prepare(PrepareOutcome),
    /// Outcome of an execution.
    Execute(ExecuteOutcome),
}
