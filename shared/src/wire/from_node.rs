//! What nodes send to the coordinator, and its answers.

use super::{SecurityStatus, WorkerKind};
use crate::{
    candidate::CandidateContext,
    ids::{BlobHash, CodeHash, EngineId, FencingToken, NodeId, RequestId, ValidationKey, WorkerId},
    job::BlobRef,
    params::{ExecutorParams, ParamsError},
    priority::ExecuteKind,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// From a node. Each is sent as a bus request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromNode {
    /// A request for a verdict; answered by [`SubmitReply`].
    Submit(Box<Submission>),
    /// Where are my verdicts? Answered by [`AskReply`]; verdicts that are there come again as if they were new.
    /// Also says that the node is alive.
    Ask {
        /// Whose they are.
        node: NodeId,
        /// The requests, at most [`MAX_ASKED`].
        requests: Vec<RequestId>,
    },
    /// Nobody waits for this any more; answered by [`SubmitReply`].
    Cancel {
        /// The request.
        request: RequestId,
        /// Whose it is.
        node: NodeId,
    },
    /// The relay chain's forks moved; answered by [`SubmitReply`].
    Leaves {
        /// Whose view it is.
        node: NodeId,
        /// What changed.
        update: ActiveLeavesUpdate,
    },
    /// How is the fleet? Answered by [`FleetStatus`].
    Status {
        /// List only this machine's workers.
        host: Option<String>,
    },
}

/// Requests that one question may ask for.
pub const MAX_ASKED: usize = 1024;

/// Validation code: its hash and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRef {
    /// blake2b-256 of the code as submitted.
    pub hash: CodeHash,
    /// The code as submitted.
    pub blob: BlobRef,
}

/// A request for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Chosen by the node; a re-submission carries the same.
    pub id: RequestId,
    /// Where the verdict goes.
    pub node: NodeId,
    /// The validation code.
    pub code: CodeRef,
    /// Decompressed code may not be larger, bytes.
    pub code_bomb_limit: u32,
    /// The session's executor parameters.
    pub executor_params: ExecutorParams,
    /// CPU time limit of a preparation; absent: what the executor parameters say.
    pub prepare_timeout: Option<Duration>,
    /// How long the node will wait, from when the coordinator has this.
    pub answer_within: Duration,
    /// What is to be done.
    pub work: Work,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Can this code be prepared at all?
    Precheck,
    /// This code may be needed soon.
    HeadsUp,
    /// Is this candidate valid?
    Execute(Box<ExecuteSubmission>),
}

/// A candidate to be executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteSubmission {
    /// Why.
    pub kind: ExecuteKind,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data.
    pub block_data: BlobRef,
    /// Decompressed PoV may not be larger, bytes.
    pub pov_bomb_limit: u32,
    /// CPU time limit; absent: what the executor parameters say for the kind.
    pub exec_timeout: Option<Duration>,
    /// The relay leaf that backing work belongs to.
    pub relay_leaf: Option<[u8; 32]>,
    /// Run it for this request alone, even if the same validation is under way for another.
    pub fresh: bool,
}

impl Submission {
    /// What makes two validations the same: code, parameters, limits, time-out, candidate and PoV. Absent for what
    /// is not an execution. Hashes the PoV, so not for free.
    pub fn validation_key(&self) -> Option<ValidationKey> {
        let Work::Execute(execute) = &self.work else { return None };
        let block_data = match &execute.block_data {
            BlobRef::Inline(bytes) => BlobHash::of(bytes),
            BlobRef::Stored { hash, .. } => *hash,
        };
        let timeout = || self.executor_params.exec_timeout(execute.kind.exec_timeout_kind());
        let same = (
            (&self.code.hash, &self.executor_params, self.code_bomb_limit, self.prepare_timeout),
            (&execute.context, block_data, execute.pov_bomb_limit),
            (execute.kind.exec_timeout_kind(), execute.exec_timeout.unwrap_or_else(timeout)),
        );
        Some(ValidationKey(BlobHash::of(&super::encode_part(&same)).0))
    }
}

/// Whether a request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubmitReply {
    /// A verdict will come. A verdict that comes within [`crate::config::Timing::hold_acceptance`] stands for this.
    Accepted,
    /// It will not, and nothing was done.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The executor parameters break a rule.
    #[error(transparent)]
    Params(ParamsError),
    /// A field is outside its range.
    #[error("{field}: {value} is outside {min}..={max} {unit}")]
    OutOfRange {
        /// The field.
        field: String,
        /// Its value.
        value: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
        /// Of all three.
        unit: String,
    },
    /// A referenced blob is not in the fleet's store.
    #[error("{field}: the fleet's store has no blob {blob} of {len} bytes (do node and fleet use the same store?)")]
    BlobMissing {
        /// The field.
        field: String,
        /// The blob's hash.
        blob: String,
        /// Its claimed length, bytes.
        len: u64,
    },
    /// The code is not what its hash says.
    #[error("code: its hash is {actual}, the request says {claimed}")]
    CodeHash {
        /// What the request says.
        claimed: CodeHash,
        /// What it is.
        actual: CodeHash,
    },
    /// The coordinator holds as much as it may.
    #[error("overloaded: {what}; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// What is full.
        what: String,
        /// When it may have room.
        retry_after: Duration,
    },
    /// The fleet's store cannot be used, so nothing can be accepted.
    #[error("the fleet's store cannot be used: {0}")]
    StoreUnavailable(String),
    /// The message is not understood.
    #[error("{0}")]
    Malformed(String),
}

/// Where verdicts are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskReply {
    /// This coordinator knows nothing of these: submit them again. The others are being worked on, or their
    /// verdicts are on the way.
    pub unknown: Vec<RequestId>,
}

/// Activated and deactivated leaves of the relay chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveLeavesUpdate {
    /// The new leaf, if there is one.
    pub activated: Option<ActiveLeaf>,
    /// Leaves that are in no active fork any more.
    pub deactivated: Vec<[u8; 32]>,
}

/// An active leaf with the ancestors whose work is still wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveLeaf {
    /// The leaf's hash.
    pub hash: [u8; 32],
    /// Its ancestors' hashes, nearest first.
    pub ancestors: Vec<[u8; 32]>,
}

/// The fleet as its coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The coordinator's token.
    pub token: FencingToken,
    /// The coordinator's version.
    pub version: String,
    /// Its workers, the first 256.
    pub workers: Vec<WorkerStatus>,
    /// All its prepare workers.
    pub prepare: Capacity,
    /// All its execute workers.
    pub execute: Capacity,
    /// Requests without a verdict.
    pub requests: u64,
    /// Bytes that they hold in the coordinator.
    pub request_bytes: u64,
    /// Nodes that asked lately.
    pub clients: u64,
    /// Preparations waiting for a slot: background, normal, critical.
    pub prepare_queue: [u64; 3],
    /// Executions waiting for a slot: dispute, approval, backing of a system parachain, other backing.
    pub execute_queue: [u64; 4],
    /// Artifacts that the coordinator knows of, failures included.
    pub artifacts: u64,
    /// What they take up in the store, bytes.
    pub artifact_bytes: u64,
    /// Preparations dispatched since the coordinator started (each attempt counts).
    pub prepared: u64,
    /// Executions begun since the coordinator started (each attempt counts; what came back unbegun does not).
    pub executed: u64,
    /// Requests that were answered by an execution that was under way for another.
    pub coalesced: u64,
    /// Requests that were turned away because something was full.
    pub overloaded: u64,
}

/// Workers of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// How many there are.
    pub workers: u64,
    /// Jobs that they run at once, together.
    pub slots: u64,
}

impl From<(u64, u64)> for Capacity {
    fn from((workers, slots): (u64, u64)) -> Self {
        Self { workers, slots }
    }
}

/// One worker as its coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id.
    pub id: WorkerId,
    /// What it does.
    pub kind: WorkerKind,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many of them are taken.
    pub running: u32,
    /// Its engine.
    pub engine: EngineId,
    /// Its machine.
    pub host: String,
    /// Its version.
    pub version: String,
    /// How well its jobs are locked up.
    pub security: SecurityStatus,
    /// Whether it is going away.
    pub draining: bool,
}
