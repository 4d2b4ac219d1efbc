//! Messages of the coordinator to one client.

use crate::{
    identity::WorkerId,
    ids::{ArtifactId, Attempt, CodeHash, RequestId},
    job::{AttemptEnd, JobUsage},
    verdict::WireOutcome,
    wire::SecondOpinion,
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
    /// What the jobs behind it used. Sent only if something is known.
    #[serde(default, skip_serializing_if = "VerdictUsage::is_empty")]
    pub usage: VerdictUsage,
    /// What a second machine said of the candidate. Sent only if one was to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_opinion: Option<Box<SecondOpinion>>,
}

/// What the jobs behind a verdict used. It is never a reason of the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictUsage {
    /// The preparation that the request waited for, or else the one that made its artifact; `None` if the artifact was
    /// found in the store, or the preparation ended without a report about the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparation: Option<PreparationUsage>,
    /// The execution attempts that were reported, by their numbers: the last [`MAX_ATTEMPTS_SHOWN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executions: Vec<AttemptUsage>,
}

/// Most execution attempts of which a verdict has the usage.
pub const MAX_ATTEMPTS_SHOWN: usize = 8;

impl VerdictUsage {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.preparation.is_none() && self.executions.is_empty()
    }
}

/// What a preparation used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparationUsage {
    /// The worker that reported it.
    pub worker: WorkerId,
    /// As that worker says.
    pub usage: JobUsage,
}

/// What an execution attempt used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptUsage {
    /// The attempt. Those that were never reported are missing.
    pub attempt: Attempt,
    /// The worker that reported it.
    pub worker: WorkerId,
    /// How it ended.
    pub end: AttemptEnd,
    /// As that worker says.
    pub usage: JobUsage,
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
