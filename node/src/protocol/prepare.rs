//! Messages of a prepare worker.

use bytes::Bytes;
use parity_scale_codec::{Decode, Encode};
use pvf_shared::params::ExecutorParams;
use std::time::Duration;

/// The code to prepare.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PrepareRequest {
    /// The validation code as submitted.
    pub code: Bytes,
    /// Limit of the decompressed code, bytes.
    pub code_bomb_limit: u32,
    /// blake2b-256 of the code.
    pub code_hash: [u8; 32],
    /// The session's executor parameters.
    pub executor_params: ExecutorParams,
    /// CPU time limit.
    pub timeout: Duration,
    /// What the artifact is for.
    pub kind: PrepareJobKind,
}

/// What an artifact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum PrepareJobKind {
    /// For executions.
    #[codec(index = 0)]
    Compilation,
    /// For the vote on a new code.
    #[codec(index = 1)]
    Prechecking,
}

/// The answer of a prepare worker.
pub type PrepareAnswer = Result<Prepared, PrepareError>;

/// The artifact is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Prepared {
    /// twox-256 of the artifact's bytes.
    pub checksum: [u8; 32],
    /// CPU time that the preparation took.
    pub cpu_time: Duration,
    /// Memory that it took.
    pub memory: MemoryStats,
    /// Length of the decompressed code, bytes.
    pub code_len: u32,
}

/// Memory of a preparation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct MemoryStats {
    /// Resident and allocated bytes as jemalloc counts them: not known of a fleet.
    pub allocator: Option<(u64, u64)>,
    /// Largest resident set, KiB.
    pub max_rss: Option<i64>,
    /// The most that was allocated at once, bytes; 0 if it is not known.
    pub peak_allocated: u64,
}

/// Why there is no artifact. A node holds the first two, [`Self::JobError`], [`Self::OutOfMemory`] and
/// [`Self::CouldNotDecompress`] against the code; any other makes it try again in fifteen minutes, five times at most.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PrepareError {
    /// The code is not of the accepted subset of wasm.
    #[codec(index = 0)]
    Prevalidation(String),
    /// Instrumentation or compilation failed.
    #[codec(index = 1)]
    Preparation(String),
    /// The new artifact cannot be linked.
    #[codec(index = 2)]
    RuntimeConstruction(String),
    /// The job panicked.
    #[codec(index = 3)]
    JobError(String),
    /// The CPU time limit was exceeded.
    #[codec(index = 4)]
    TimedOut,
    /// Anything that is not the code's doing.
    #[codec(index = 5)]
    Io(String),
    /// The memory limit was exceeded.
    #[codec(index = 8)]
    OutOfMemory,
    /// The job died.
    #[codec(index = 10)]
    JobDied {
        /// How.
        error: String,
        /// Its process, which is on another machine: always 0.
        pid: i32,
    },
    /// The kernel refused something.
    #[codec(index = 11)]
    Kernel(String),
    /// The code is over the bomb limit or malformed.
    #[codec(index = 12)]
    CouldNotDecompress(String),
}

impl PrepareError {
    /// Whether a node takes the code for bad.
    pub fn is_held_against_the_code(&self) -> bool {
        match self {
            Self::Prevalidation(_)
            | Self::Preparation(_)
            | Self::JobError(_)
            | Self::OutOfMemory
            | Self::CouldNotDecompress(_) => true,
            Self::RuntimeConstruction(_) | Self::TimedOut | Self::Io(_) | Self::JobDied { .. } | Self::Kernel(_) => {
                false
            }
        }
    }
}
