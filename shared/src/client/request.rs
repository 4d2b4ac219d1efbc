//! Inputs and answers of a client's requests.

use crate::{
    blob::BlobRef,
    candidate::CandidateContext,
    identity::WorkerId,
    ids::{CodeHash, RelayHash, RequestId},
    params::ExecutorParams,
    priority::ExecuteKind,
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
    verdict::Outcome,
    wire::{ArtifactSummary, ExecuteSubmission, SecondOpinion, Timings, VerdictUsage},
};
use bytes::Bytes;
use std::time::Duration;

/// Validation code with its executor parameters and preparation limits.
#[derive(Clone)]
pub struct Pvf {
    pub(super) code: Bytes,
    pub(super) code_hash: CodeHash,
    pub(super) executor_params: ExecutorParams,
    pub(super) code_bomb_limit: u32,
    pub(super) prepare_timeout: Option<Duration>,
}

impl Pvf {
    /// Validation code, compressed or not, of at most [`MAX_PULLED`](crate::config::MAX_PULLED) bytes, with the
    /// executor parameters of the session.
    pub fn new(code: impl Into<Bytes>, executor_params: ExecutorParams) -> Self {
        let code = code.into();
        Self::with_known_hash(CodeHash::of(&code), code, executor_params)
    }

    /// As [`Pvf::new`], for code whose hash is known: to hash a code of some MiB takes milliseconds. Workers check what
    /// they pull, so requests with another hash than that of the code end as internal errors.
    pub fn with_known_hash(code_hash: CodeHash, code: impl Into<Bytes>, executor_params: ExecutorParams) -> Self {
        Self {
            code_hash,
            code: code.into(),
            executor_params,
            code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
            prepare_timeout: None,
        }
    }

    /// Sets the limit of the decompressed code, bytes (default 30 MiB).
    pub fn with_code_bomb_limit(mut self, limit: u32) -> Self {
        self.code_bomb_limit = limit;
        self
    }

    /// Sets the CPU time limit of the preparation (default: that of the executor parameters).
    pub fn with_prepare_timeout(mut self, timeout: Duration) -> Self {
        self.prepare_timeout = Some(timeout);
        self
    }

    /// Hash of the code.
    pub fn code_hash(&self) -> CodeHash {
        self.code_hash
    }
}

impl std::fmt::Debug for Pvf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pvf").field("code_hash", &self.code_hash).field("len", &self.code.len()).finish_non_exhaustive()
    }
}

/// A candidate to validate.
#[derive(Debug, Clone)]
pub struct ExecuteRequest {
    /// Purpose of the execution; it sets the priority and the time-out class.
    pub kind: ExecuteKind,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data, at most [`MAX_PULLED`](crate::config::MAX_PULLED) bytes.
    pub block_data: Bytes,
    /// Limit of the decompressed PoV, bytes.
    pub pov_bomb_limit: u32,
    /// CPU time limit; `None` means the limit that the executor parameters have for the kind.
    pub exec_timeout: Option<Duration>,
    /// Relay leaf of a backing request: the request expires when the leaf is in no active fork.
    pub relay_leaf: Option<RelayHash>,
    /// How long to wait for the verdict; `None` means the client's default.
    pub answer_within: Option<Duration>,
    /// Excludes the request from coalescing: it gets an execution of its own.
    pub fresh: bool,
}

impl ExecuteRequest {
    /// A request with the default limits.
    pub fn new(kind: ExecuteKind, context: CandidateContext, block_data: impl Into<Bytes>) -> Self {
        Self {
            kind,
            context,
            block_data: block_data.into(),
            pov_bomb_limit: POV_BOMB_LIMIT,
            exec_timeout: None,
            relay_leaf: None,
            answer_within: None,
            fresh: false,
        }
    }

    pub(super) fn into_wire(self) -> ExecuteSubmission {
        ExecuteSubmission {
            kind: self.kind,
            context: self.context,
            block_data: BlobRef::Inline(self.block_data),
            pov_bomb_limit: self.pov_bomb_limit,
            exec_timeout: self.exec_timeout,
            relay_leaf: self.relay_leaf,
            fresh: self.fresh,
        }
    }
}

/// The answer to a request: its outcome, and how it was obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Id of the request, as in the logs of all roles.
    pub request: RequestId,
    /// Outcome of the request.
    pub outcome: Outcome,
    /// The validation code.
    pub code_hash: CodeHash,
    /// The artifact; `None` if the request ended before one was chosen.
    pub artifact: Option<ArtifactSummary>,
    /// Duration of each stage.
    pub timings: Timings,
    /// The worker whose report decided the outcome, if there is one.
    pub worker: Option<WorkerId>,
    /// Number of execution attempts that began.
    pub attempts: u32,
    /// What its jobs used, as far as that is known. It is never a reason of the outcome.
    pub usage: VerdictUsage,
    /// What a second machine said of the candidate, if one was to be asked.
    pub second_opinion: Option<Box<SecondOpinion>>,
}
