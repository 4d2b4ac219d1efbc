//! What a node asks and what it gets.

use crate::{
    candidate::CandidateContext,
    ids::{CodeHash, RequestId, WorkerId},
    job::BlobRef,
    params::ExecutorParams,
    priority::ExecuteKind,
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
    verdict::Outcome,
    wire::{ArtifactSummary, CodeRef, ExecuteSubmission, Timings},
};
use bytes::Bytes;
use std::time::Duration;

/// Validation code and how it is to be prepared.
#[derive(Debug, Clone)]
pub struct Pvf {
    pub(super) code: CodeRef,
    pub(super) executor_params: ExecutorParams,
    pub(super) code_bomb_limit: u32,
    pub(super) prepare_timeout: Option<Duration>,
}

impl Pvf {
    /// This code, as submitted (compressed or not), with the session's executor parameters.
    pub fn new(code: impl Into<Bytes>, executor_params: ExecutorParams) -> Self {
        let code = code.into();
        Self {
            code: CodeRef { hash: CodeHash::of(&code), blob: BlobRef::Inline(code) },
            executor_params,
            code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
            prepare_timeout: None,
        }
    }

    /// Another limit for the decompressed code, bytes (default 30 MiB).
    pub fn with_code_bomb_limit(mut self, limit: u32) -> Self {
        self.code_bomb_limit = limit;
        self
    }

    /// Another CPU time limit than the executor parameters say.
    pub fn with_prepare_timeout(mut self, timeout: Duration) -> Self {
        self.prepare_timeout = Some(timeout);
        self
    }

    /// The code's hash.
    pub fn code_hash(&self) -> CodeHash {
        self.code.hash
    }
}

/// A candidate to be executed.
#[derive(Debug, Clone)]
pub struct ExecuteRequest {
    /// Why.
    pub kind: ExecuteKind,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// The block data.
    pub block_data: Bytes,
    /// Decompressed PoV may not be larger, bytes.
    pub pov_bomb_limit: u32,
    /// CPU time limit; absent: what the executor parameters say for the kind.
    pub exec_timeout: Option<Duration>,
    /// The relay leaf that backing work belongs to.
    pub relay_leaf: Option<[u8; 32]>,
    /// How long to wait for the verdict; absent: the client's default.
    pub answer_within: Option<Duration>,
    /// Run it for this request alone, even if the same validation is under way for somebody else.
    pub fresh: bool,
}

impl ExecuteRequest {
    /// A request with default limits.
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

/// A verdict and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request's id, as it stands in every log.
    pub request: RequestId,
    /// How it ended.
    pub outcome: Outcome,
    /// The validation code.
    pub code_hash: CodeHash,
    /// The artifact that was used.
    pub artifact: Option<ArtifactSummary>,
    /// How long each stage took.
    pub timings: Timings,
    /// The worker that said so.
    pub worker: Option<WorkerId>,
    /// Executions that were begun.
    pub attempts: u32,
}
