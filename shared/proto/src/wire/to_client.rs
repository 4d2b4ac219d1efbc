//! Messages of the coordinator to one client.

use crate::{
    identity::WorkerId,
    ids::{ArtifactId, CodeHash, RequestId},
    verdict::WireOutcome,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A message to a client, published without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToClient {
    /// The verdict of a request. The client ignores duplicates.
    Verdict(Box<Verdict>),
}

/// A verdict and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The request.
    pub request: RequestId,
    /// Outcome of the request.
    pub outcome: WireOutcome,
    /// The validation code.
    pub code_hash: CodeHash,
    /// The artifact; `None` if the request ended before one was chosen.
    pub artifact: Option<ArtifactSummary>,
    /// How long each stage took.
    pub timings: Timings,
    /// The worker whose report decided the outcome, if there is one.
    pub worker: Option<WorkerId>,
    /// Number of execution attempts that began.
    pub attempts: u32,
}

/// Summary of the artifact that a request used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactSummary {
    /// Its id.
    pub id: ArtifactId,
    /// Size of the compiled code, bytes; 0 if the preparation failed.
    pub bytes: u64,
    /// Whether it was prepared before the request arrived.
    pub cached: bool,
}

/// Wall-clock duration of each stage of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting for a slot, in both queues together.
    pub queued: Duration,
    /// Waiting for the artifact after its preparation was dispatched.
    pub prepare: Duration,
    /// From dispatching the execution to its report, all attempts together.
    pub execute: Duration,
    /// From submission to verdict.
    pub total: Duration,
}
