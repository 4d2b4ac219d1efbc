//! Job specifications and outcomes: the part of a dispatch and of a report that concerns the job itself. The bus
//! messages around them are in [`crate::wire`].

use crate::{
    artifact::{ArtifactDigest, ArtifactInfo},
    blob::BlobRef,
    candidate::{BlockDataForm, CandidateContext},
    ids::ArtifactId,
    params::ExecutorParams,
    record::HeldRecord,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
};
use parity_scale_codec::{Compact, CompactLen as _};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Preparation of one PVF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareJob {
    /// The artifact to produce, which names the code: the worker pulls that from the holders of the dispatch. A worker
    /// refuses an engine other than its own.
    pub artifact: ArtifactId,
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

impl PrepareJob {
    /// The usage of a job that has used nothing: only its limits.
    pub fn limits(&self) -> JobUsage {
        let heap_limit = self.executor_params.prechecking_max_memory();
        JobUsage { cpu_limit: self.cpu_limit, heap_limit, ..JobUsage::default() }
    }
}

/// Execution of one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteJob {
    /// The artifact to run.
    pub artifact: ArtifactId,
    /// Digest of the artifact as the preparation reported it, if the coordinator knows it. The worker refuses an
    /// artifact with another digest, so that an older artifact cannot replace it.
    pub digest: Option<ArtifactDigest>,
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

impl ExecuteJob {
    /// The usage of a job that has used nothing: only its limits.
    pub fn limits(&self) -> JobUsage {
        JobUsage {
            cpu_limit: self.cpu_limit,
            memory_pages_limit: Some(self.executor_params.memory_page_limit()),
            pov_limit: match self.context.block_data_form {
                BlockDataForm::MaybeCompressed => Some(self.pov_bomb_limit.into()),
                BlockDataForm::Decompressed => None,
            },
            ..JobUsage::default()
        }
    }
}

/// Resources that a job used, and their limits. No verdict depends on it: it is for people, logs and metrics.
///
/// The kernel and the worker measure the times and the resident set. What only the job process can know
/// ([`Self::heap`], [`Self::code_decompressed`], [`Self::memory_pages`] and, of a compressed PoV, [`Self::pov_decompressed`]) is its own claim, at
/// most the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobUsage {
    /// CPU time of the job process as the kernel accounts it, all threads.
    pub cpu: Duration,
    /// Limit of the CPU time; zero if the job was not handed to a process.
    pub cpu_limit: Duration,
    /// Wall-clock time of the job process.
    pub wall: Duration,
    /// Largest resident set of the job process, KiB. That of an execution includes what it shares with its template:
    /// the mapped artifact and the program. It has no limit of its own.
    pub max_rss_kib: u64,
    /// Time that the worker spent on fetching and storing the job's blobs.
    pub io: Duration,
    /// The most that a preparation had allocated at once, bytes. Known of one that succeeded under
    /// [`Self::heap_limit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap: Option<u64>,
    /// `PrecheckingMaxMemory`, bytes, if the executor parameters have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heap_limit: Option<u64>,
    /// Size of the decompressed code, bytes. Only successful preparations have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_decompressed: Option<u64>,
    /// Size of the guest's memory at the end of the call, pages of 64 KiB. It never shrinks, so this is also its peak.
    /// Unknown of a job that was not called, or did not reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pages: Option<u32>,
    /// Limit of the guest's memory, pages of 64 KiB, with the [extra ones](crate::params::EXTRA_MEMORY_PAGES). Only
    /// executions have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pages_limit: Option<u32>,
    /// Size of the PoV as the relay chain's `max_pov_size` limits it, bytes: that of its SCALE encoding, with block
    /// data as submitted. `None` if the block data was submitted decompressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pov: Option<u64>,
    /// Size of the block data that the guest gets, bytes. Unknown if it does not decompress, or the job did not reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pov_decompressed: Option<u64>,
    /// Limit of [`Self::pov_decompressed`], bytes. Block data that is not compressed has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pov_limit: Option<u64>,
    /// What the worker keeps of the job for a while, for whoever looks into its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<HeldRecord>,
}

/// Size of a PoV with so many bytes of block data, bytes: that of its SCALE encoding, which a node compares with
/// `max_pov_size`.
pub fn pov_size(block_data: u32) -> u64 {
    Compact::<u32>::compact_len(&block_data) as u64 + u64::from(block_data)
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

/// An [`ExecuteOutcome`] without its result or reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptEnd {
    /// [`ExecuteOutcome::Valid`]
    Valid,
    /// [`ExecuteOutcome::Invalid`]
    Invalid,
    /// [`ExecuteOutcome::Ambiguous`]
    Ambiguous,
    /// [`ExecuteOutcome::Internal`]
    Internal,
}

impl AttemptEnd {
    /// Name in the output of `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Ambiguous => "ambiguous",
            Self::Internal => "internal",
        }
    }
}

impl ExecuteOutcome {
    /// Which kind of outcome it is.
    pub fn end(&self) -> AttemptEnd {
        match self {
            Self::Valid(_) => AttemptEnd::Valid,
            Self::Invalid(_) => AttemptEnd::Invalid,
            Self::Ambiguous(_) => AttemptEnd::Ambiguous,
            Self::Internal(_) => AttemptEnd::Internal,
        }
    }
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

impl JobOutcome {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare(PrepareOutcome::Prepared(_)) => "prepared",
            Self::Prepare(PrepareOutcome::Failed(_)) => "failed",
            Self::Prepare(PrepareOutcome::Internal(_)) => "internal",
            Self::Execute(outcome) => outcome.end().name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parity_scale_codec::Encode as _;

    #[test]
    fn a_pov_has_the_size_of_its_encoding() {
        for len in [0, 1, 63, 64, 16_383, 16_384, 1 << 20] {
            assert_eq!(pov_size(len), vec![0_u8; len as usize].encode().len() as u64);
        }
        assert_eq!(pov_size(u32::MAX), u64::from(u32::MAX) + 5);
    }
}
