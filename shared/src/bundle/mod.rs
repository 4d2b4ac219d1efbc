//! Replay bundles: one file with everything that a request was, and what became of it, so that anybody can run it
//! again, anywhere.
//!
//! A bundle has two parts. The *case* is what was asked (code, parameters, limits, candidate, PoV) and the outcome; the
//! [id](Bundle::id) of the bundle is the hash of it, so the same case has the same id, and the file is named by it. The
//! *notes* are what varies from one run to the next (time, usage, workers, log); they have a checksum of their own and
//! do not count for the id.
//!
//! `format` is the file: [`Bundle::parts`] and [`Bundle::decode`]. It holds that whatever decodes has the id that it
//! claims, and code, PoV and result that are covered by it. `folder` keeps bundles within limits. A PoV may be
//! confidential, so only the user of the process can read what is written.

mod error;
mod folder;
mod format;
#[cfg(test)]
mod tests;

pub use error::BundleError;
pub use folder::{BundleFolder, EXTENSION, Kept, Retention, read_file, write_file};
pub use format::{FORMAT, MAX_FILE};

use crate::{
    candidate::CandidateContext,
    identity::WorkerId,
    ids::{Attempt, BlobHash, RequestId},
    params::ExecutorParams,
    priority::ExecuteKind,
    record::JobRecord,
    verdict::Outcome,
    wire::{ArtifactSummary, SecondOpinion, Timings, VerdictUsage},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A request with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Validation code as submitted.
    pub code: Bytes,
    /// Limit of the decompressed code, bytes.
    pub code_bomb_limit: u32,
    /// Executor parameters of the session.
    pub executor_params: ExecutorParams,
    /// CPU time limit of the preparation; `None` means the limit of the executor parameters.
    pub prepare_timeout: Option<Duration>,
    /// What was validated; `None` for a precheck.
    pub candidate: Option<Candidate>,
    /// The outcome.
    pub outcome: Outcome,
    /// How the outcome came about.
    pub notes: Notes,
}

/// A candidate that was validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Purpose of the execution.
    pub kind: ExecuteKind,
    /// The candidate without its block data.
    pub context: CandidateContext,
    /// Block data (the PoV) as submitted.
    pub block_data: Bytes,
    /// Limit of the decompressed PoV, bytes.
    pub pov_bomb_limit: u32,
    /// CPU time limit; `None` means the limit that the executor parameters have for the kind.
    pub exec_timeout: Option<Duration>,
}

/// How an outcome came about. Not part of what the id covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// When the bundle was made, milliseconds since 1970.
    pub recorded_ms: u64,
    /// Version of the client that made it.
    pub client_version: String,
    /// Id of the request, as in the logs of all roles.
    pub request: RequestId,
    /// The artifact; `None` if the request ended before one was chosen.
    pub artifact: Option<ArtifactSummary>,
    /// How long each stage took.
    pub timings: Timings,
    /// The worker whose report decided the outcome, if there is one.
    pub worker: Option<WorkerId>,
    /// Number of execution attempts that began.
    pub attempts: u32,
    /// What its jobs used.
    pub usage: VerdictUsage,
    /// What a second machine said of the candidate, if one was to be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_opinion: Option<Box<SecondOpinion>>,
    /// What the workers kept of its jobs: the preparation first, then the attempts of the execution.
    pub jobs: Vec<JobNote>,
}

/// What is known of one job behind an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobNote {
    /// The attempt of the execution; `None` for the preparation.
    pub attempt: Option<Attempt>,
    /// The worker that reported it.
    pub worker: WorkerId,
    /// What the worker kept of it.
    pub record: Option<JobRecord>,
    /// Why there is no record.
    pub missing: Option<String>,
}

/// Names a bundle: BLAKE3 of its case. Its text is the name of its file, without the extension.
pub type BundleId = BlobHash;

impl Bundle {
    /// The job that decided the outcome: the last one at the worker that decided it, or else the last one.
    pub fn deciding_job(&self) -> Option<&JobNote> {
        let jobs = &self.notes.jobs;
        jobs.iter().rfind(|job| Some(job.worker) == self.notes.worker).or(jobs.last())
    }

    /// In what the outcome of another run differs: the verdict, else its reason and result.
    pub fn differences(&self, other: &Outcome) -> Vec<&'static str> {
        let mut differences = Vec::new();
        if self.outcome.name() != other.name() {
            differences.push("verdict");
        }
        if self.outcome.reason() != other.reason() {
            differences.push("reason");
        }
        if result(&self.outcome) != result(other) {
            differences.push("result");
        }
        differences
    }
}

fn result(outcome: &Outcome) -> Option<&crate::candidate::ValidationResult> {
    match outcome {
        Outcome::Valid(result) => Some(result),
        Outcome::PrecheckOk
        | Outcome::HeadsUpTaken
        | Outcome::HeadsUpPrepared
        | Outcome::Invalid(_)
        | Outcome::PossiblyInvalid(_)
        | Outcome::PreparationFailed(_)
        | Outcome::Internal(_)
        | Outcome::Expired => None,
    }
}
