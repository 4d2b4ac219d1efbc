//! What the coordinator sends to a node.

use crate::{
    ids::{ArtifactId, CodeHash, RequestId, WorkerId},
    verdict::WireOutcome,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// To a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToNode {
    /// A request's verdict; the node ignores one that it has seen.
    Verdict(Box<Verdict>),
}

/// A verdict and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Of this request.
    pub request: RequestId,
    /// How it ended.
    pub outcome: WireOutcome,
    /// The validation code.
    pub code_hash: CodeHash,
    /// The artifact, once one was chosen.
    pub artifact: Option<ArtifactSummary>,
    /// How long each stage took.
    pub timings: Timings,
    /// The worker that said so, if one did.
    pub worker: Option<WorkerId>,
    /// Executions that were begun.
    pub attempts: u32,
}

/// The artifact that a request used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactSummary {
    /// Its id.
    pub id: ArtifactId,
    /// Size of its compiled code, bytes; 0 if there is none.
    pub bytes: u64,
    /// Whether it was there before the request came.
    pub cached: bool,
}

/// How long each stage of a request took, wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for a slot, both queues together.
    pub queued: Duration,
    /// Waiting for the artifact, once its preparation was dispatched.
    pub prepare: Duration,
    /// From dispatching the execution to its report, all attempts together.
    pub execute: Duration,
    /// From intake to verdict.
    pub total: Duration,
}
