//! Messages of clients to the coordinator, and its answers. The client is named by the subject, not by the message.

use super::{CompileProgress, SecurityStatus, WorkerKind, version::VersionRange};
use crate::{
    blob::BlobRef,
    candidate::CandidateContext,
    identity::WorkerId,
    ids::{BlobHash, CodeHash, EngineId, FencingToken, JobId, RelayHash, RequestId, ValidationKey},
    keys::KeyFingerprint,
    params::ExecutorParams,
    priority::ExecuteKind,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A message of a client, sent as a bus request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromClient {
    /// Submits a request; answered by [`SubmitReply`].
    Submit(Box<Submission>),
    /// Asks for outstanding verdicts; answered by [`AskReply`]. The coordinator publishes again the verdicts that it
    /// has. The message also keeps the client's session alive.
    Ask {
        /// Requests without a verdict, at most [`MAX_ASKED`].
        requests: Vec<RequestId>,
        /// Requests whose verdicts have come, at most [`MAX_ASKED`]: the coordinator need not keep these any longer.
        /// Sent only if there are some, and older receivers ignore it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        heard: Vec<RequestId>,
    },
    /// Cancels a request of this client; answered by [`SubmitReply`].
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// Updates the client's view of the relay chain's forks; answered by [`SubmitReply`].
    Leaves {
        /// The change.
        update: ActiveLeavesUpdate,
    },
}

/// A question for the state of the fleet, sent as a bus request by whoever may; answered by [`FleetStatus`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusQuestion {
    /// Lists only the workers of this machine; all workers if it is `None`.
    pub host: Option<String>,
}

/// Most requests in each list of one [`FromClient::Ask`].
pub const MAX_ASKED: usize = 1024;

/// A request for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Chosen by the client; a re-submission has the same id.
    pub id: RequestId,
    /// Versions of the protocol that the client speaks.
    pub speaks: VersionRange,
    /// The validation code as submitted. The client holds it until the request ends, and whoever compiles it pulls it.
    pub code: CodeHash,
    /// Limit of the decompressed code, bytes.
    pub code_bomb_limit: u32,
    /// The session's executor parameters.
    pub executor_params: ExecutorParams,
    /// CPU time limit of the preparation; `None` means the limit of the executor parameters.
    pub prepare_timeout: Option<Duration>,
    /// How long the client waits for the verdict, counted from the coordinator's receipt of the message.
    pub answer_within: Duration,
    /// What the request asks for.
    pub work: Work,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Whether the code can be prepared, under the limits of pre-checking.
    Precheck,
    /// The code may be needed soon: prepare it in the background.
    HeadsUp {
        /// Whether the verdict waits for the artifact. Otherwise it comes as soon as a worker has the code.
        wait_prepared: bool,
    },
    /// Whether the candidate is valid.
    Execute(Box<ExecuteSubmission>),
}

/// A candidate to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteSubmission {
    /// Purpose of the execution; it sets the priority and the time-out class.
    pub kind: ExecuteKind,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data. The client holds it until the request ends, also if it travels inline: another request for the
    /// same validation may have come first.
    pub block_data: BlobRef,
    /// Limit of the decompressed PoV, bytes.
    pub pov_bomb_limit: u32,
    /// CPU time limit; `None` means the limit that the executor parameters have for the kind.
    pub exec_timeout: Option<Duration>,
    /// Relay leaf of a backing request: the request expires when the leaf is in no active fork.
    pub relay_leaf: Option<RelayHash>,
    /// Excludes the request from coalescing: it gets an execution of its own.
    pub fresh: bool,
}

impl Submission {
    /// Key for coalescing: code, parameters, limits, time-out, candidate and PoV. `None` if the request is not an
    /// execution. Hashes inline block data.
    pub fn validation_key(&self) -> Option<ValidationKey> {
        let Work::Execute(execute) = &self.work else { return None };
        let block_data = match &execute.block_data {
            BlobRef::Inline(bytes) => BlobHash::of(bytes),
            BlobRef::Held { hash, .. } => *hash,
        };
        let timeout = || self.executor_params.exec_timeout(execute.kind.exec_timeout_kind());
        let same = (
            (&self.code, &self.executor_params, self.code_bomb_limit, self.prepare_timeout),
            (&execute.context, block_data, execute.block_data.len(), execute.pov_bomb_limit),
            (execute.kind.exec_timeout_kind(), execute.exec_timeout.unwrap_or_else(timeout)),
        );
        Some(ValidationKey(BlobHash::of(&super::encode_part(&same)).0))
    }
}

/// Answer to a message of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubmitReply {
    /// The message was accepted; a submitted request gets a verdict. A verdict within
    /// [`hold_acceptance`](crate::config::ProtocolTimeouts::hold_acceptance) replaces this answer.
    Accepted,
    /// The message was refused and has no effect.
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// A field is outside its range, or [over the operator's limit](Refusal::over_operators_limit).
    #[error("{field}: {value} is outside {min}..={max} {unit}")]
    OutOfRange {
        /// The field.
        field: String,
        /// Its value.
        value: u64,
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
        /// Unit of the three values.
        unit: String,
    },
    /// The coordinator has reached an admission limit.
    #[error("overloaded: {what}; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// The limit that was reached.
        what: String,
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// The message cannot be decoded.
    #[error("{0}")]
    Malformed(String),
    /// The operator does not allow the user to ask for requests of this kind.
    #[error("kind: {kind} is not allowed for user {user} by the operator of the fleet")]
    NotAllowed {
        /// The user.
        user: String,
        /// The kind of request.
        kind: String,
    },
    /// There is no version of the protocol that both speak.
    #[error("protocol version: the client speaks {client}, the fleet speaks {fleet}; upgrade the one with the lower")]
    UnsupportedVersion {
        /// What the client speaks.
        client: VersionRange,
        /// What the fleet speaks.
        fleet: VersionRange,
    },
}

/// What [`Refusal::over_operators_limit`] says behind the unit. It is no variant of its own, which earlier receivers
/// could not decode.
const OVER_OPERATORS_LIMIT: &str = ", over the operator's limit";

impl Refusal {
    /// A field asks for more than the fleet's operator allows.
    pub fn over_operators_limit(field: &str, value: u64, limit: u64, unit: &str) -> Self {
        let unit = format!("{unit}{OVER_OPERATORS_LIMIT}");
        Self::OutOfRange { field: field.into(), value, min: 0, max: limit, unit }
    }

    /// Whether the request asks for more than the fleet's operator allows: another fleet may run it.
    pub fn is_over_operators_limit(&self) -> bool {
        matches!(self, Self::OutOfRange { unit, .. } if unit.ends_with(OVER_OPERATORS_LIMIT))
    }
}

/// Answer to [`FromClient::Ask`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskReply {
    /// Requests that the coordinator does not know; the client submits them again. The others are in progress, or their
    /// verdicts are on the way.
    pub unknown: Vec<RequestId>,
    /// Those whose code is being compiled at present, and how far, for people who wait. Sent only if there are
    /// some, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compiling: Vec<CompilingRequest>,
}

/// A request whose code is being compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilingRequest {
    /// The request.
    pub request: RequestId,
    /// The preparation, which several requests may wait for.
    pub job: JobId,
    /// How far the compiler has come.
    pub progress: CompileProgress,
}

/// A change of the relay chain's active leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveLeavesUpdate {
    /// The new leaf, if there is one.
    pub activated: Option<ActiveLeaf>,
    /// Leaves that are no longer in an active fork.
    pub deactivated: Vec<RelayHash>,
}

/// An active leaf with the ancestors whose requests are still wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveLeaf {
    /// The leaf's hash.
    pub hash: RelayHash,
    /// Hashes of its ancestors, nearest first.
    pub ancestors: Vec<RelayHash>,
}

/// Most workers that a status lists; the totals count all.
pub const MAX_WORKERS_LISTED: usize = 256;

/// State of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The coordinator's fencing token.
    pub token: FencingToken,
    /// The coordinator's version.
    pub version: String,
    /// Registered workers, the first [`MAX_WORKERS_LISTED`].
    pub workers: Vec<WorkerStatus>,
    /// Total of the prepare workers.
    pub prepare: Capacity,
    /// Total of the execute workers.
    pub execute: Capacity,
    /// Requests without a verdict.
    pub requests: u64,
    /// Bytes of these requests in the coordinator's memory.
    pub request_bytes: u64,
    /// Clients with a recent message.
    pub clients: u64,
    /// Preparations waiting for a slot: background, normal, critical.
    pub prepare_queue: [u64; 3],
    /// Executions waiting for a slot: dispute, approval, backing of a system parachain, other backing.
    pub execute_queue: [u64; 4],
    /// Known artifacts, kept failures included.
    pub artifacts: u64,
    /// Size of these artifacts in the store, bytes.
    pub artifact_bytes: u64,
    /// Preparation attempts dispatched since the coordinator started.
    pub prepared: u64,
    /// Execution attempts since the coordinator started, without those that were returned before they began.
    pub executed: u64,
    /// Requests that joined an execution of another request.
    pub coalesced: u64,
    /// Requests refused as [`Refusal::Overloaded`].
    pub overloaded: u64,
    /// Inconsistencies that the coordinator found in its own state. Each is a bug. The field is sent only if it is not
    /// zero, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub inconsistencies: u64,
    /// Engines of registered execute workers that no registered prepare worker compiles for: what is not in the store
    /// already cannot be executed there. Sent only if there are some, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_compiled_for: Vec<EngineId>,
    /// The keys that artifacts of this fleet may be signed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_keys: Vec<KeyFingerprint>,
    /// What the sandboxes of the workers miss, of those that are not listed as well. Earlier coordinators do not send
    /// it, and earlier receivers ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandboxes: Option<SandboxSummary>,
}

/// Most entries in each list of a [`SandboxSummary`].
pub const MAX_SANDBOX_ENTRIES: usize = 64;

/// What the sandboxes of a fleet's workers miss.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSummary {
    /// Each mechanism that a worker misses, with the machine of one of them: at most [`MAX_SANDBOX_ENTRIES`].
    pub missing: Vec<MissingMechanism>,
    /// Machines of workers that do not enforce every property of the sandbox: at most [`MAX_SANDBOX_ENTRIES`].
    pub insecure: Vec<String>,
}

/// A mechanism that a worker misses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingMechanism {
    /// Its name, as in [`SecurityStatus::missing`].
    pub mechanism: String,
    /// The worker's machine.
    pub host: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Number and capacity of the workers of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Number of workers.
    pub workers: u64,
    /// Sum of their slots.
    pub slots: u64,
}

impl From<(u64, u64)> for Capacity {
    fn from((workers, slots): (u64, u64)) -> Self {
        Self { workers, slots }
    }
}

/// State of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its id.
    pub id: WorkerId,
    /// Prepare or execute.
    pub kind: WorkerKind,
    /// Number of slots.
    pub slots: u32,
    /// Number of slots in use.
    pub running: u32,
    /// Engine that it compiles for or can map.
    pub engine: EngineId,
    /// Name of its machine.
    pub host: String,
    /// Version of its build.
    pub version: String,
    /// State of its sandbox.
    pub security: SecurityStatus,
    /// Whether it is draining: it finishes its jobs and takes no new ones.
    pub draining: bool,
    /// What is wrong with it, in words. Sent only if something is, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The key that a prepare worker signs artifacts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_with: Option<KeyFingerprint>,
    /// The keys whose artifacts an execute worker maps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusts: Vec<KeyFingerprint>,
}
