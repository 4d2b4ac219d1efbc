//! Messages of an execute worker.

use bytes::Bytes;
use parity_scale_codec::{Decode, Encode};
use pvf_shared::candidate::ValidationResult;
use std::time::Duration;

/// The candidate to execute. The artifact is linked into the worker's folder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ExecuteRequest {
    /// Head data of the parent.
    pub parent_head: Bytes,
    /// Number of the relay parent.
    pub relay_parent_number: u32,
    /// Storage root of the relay parent.
    pub relay_parent_storage_root: [u8; 32],
    /// The relay chain's limit of a PoV, which the node has checked.
    pub max_pov_size: u32,
    /// The block data, compressed or not.
    pub block_data: Bytes,
    /// CPU time limit.
    pub timeout: Duration,
    /// twox-256 of the artifact's bytes.
    pub artifact_checksum: [u8; 32],
    /// Hash of the relay parent.
    pub relay_parent: [u8; 32],
    /// Hash of the scheduling parent.
    pub scheduling_parent: [u8; 32],
    /// Version of the candidate's descriptor.
    pub descriptor_version: DescriptorVersion,
}

/// Version of a candidate's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum DescriptorVersion {
    /// Version 1.
    #[codec(index = 0)]
    V1,
    /// Version 2.
    #[codec(index = 1)]
    V2,
    /// Version 3: the guest gets the hashes of the relay parent and of the scheduling parent.
    #[codec(index = 2)]
    V3,
    /// Another one.
    #[codec(index = 3)]
    Unknown(u8),
}

/// The answer of an execute worker. The node ends a worker that answers with an error, and starts another one.
pub type ExecuteAnswer = Result<Executed, WorkerError>;

/// An execution that came to an end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Executed {
    /// How it ended.
    pub response: JobResponse,
    /// CPU time that it took. The node takes more than the limit for a time-out.
    pub cpu_time: Duration,
    /// Size of the decompressed block data, bytes.
    pub pov_size: u32,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum JobResponse {
    /// The candidate is valid.
    #[codec(index = 0)]
    Valid(ValidationResult),
    /// The artifact cannot be instantiated: the node has the code prepared again, and takes the candidate for possibly
    /// invalid.
    #[codec(index = 1)]
    RuntimeConstruction(String),
    /// The candidate is invalid.
    #[codec(index = 2)]
    InvalidCandidate(String),
    /// The block data does not decompress: the candidate is invalid.
    #[codec(index = 3)]
    PovDecompression,
    /// The artifact is not the one that was prepared: the node has the code prepared again, and takes the candidate for
    /// possibly invalid.
    #[codec(index = 4)]
    CorruptedArtifact,
}

/// Why an execution came to no end.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum WorkerError {
    /// The CPU time limit was exceeded: the candidate is invalid.
    #[codec(index = 0)]
    JobTimedOut,
    /// The job died: the candidate is possibly invalid.
    #[codec(index = 1)]
    JobDied {
        /// How.
        error: String,
        /// Its process, which is on another machine: always 0.
        pid: i32,
    },
    /// The job failed: the candidate is possibly invalid.
    #[codec(index = 2)]
    JobError(JobError),
    /// Not the candidate's doing: the node does not vote.
    #[codec(index = 3)]
    Internal(InternalError),
}

/// How a job failed. The node has more of these, of which a fleet's jobs have no use.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum JobError {
    /// It panicked, or ended in an unknown way.
    #[codec(index = 1)]
    Panic(String),
}

/// What is not the candidate's doing. The node has more of these, and treats all of them alike.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum InternalError {
    /// Anything between the node and the job.
    #[codec(index = 0)]
    Communication(String),
}

impl WorkerError {
    /// Not the candidate's doing.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        Self::Internal(InternalError::Communication(format!("pvf-fleet: {why}")))
    }
}
