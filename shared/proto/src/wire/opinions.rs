//! Second opinions: what two machines said about one candidate, as verdicts carry it.

use crate::{
    identity::WorkerId,
    ids::{Attempt, BlobHash, EngineId},
    job::AttemptEnd,
};
use serde::{Deserialize, Serialize};

/// What asking another machine came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondOpinion {
    /// Whether there is a second opinion, and the two agree.
    pub result: OpinionResult,
    /// The first opinion, and the second one if there is one.
    pub opinions: Vec<Opinion>,
}

/// Whether there is a second opinion, and the two agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpinionResult {
    /// Both found the candidate invalid, or valid with the same result. The outcome is the first one's.
    Agreed,
    /// The outcome is [`InternalError::Disagreement`](crate::verdict::InternalError::Disagreement).
    Disagreed,
    /// There is none, for this reason. The outcome is that of the first opinion; but where that one is valid and the
    /// candidate may have killed the attempts on other machines, it is
    /// [`InternalError::Disagreement`](crate::verdict::InternalError::Disagreement).
    Missing(String),
}

impl OpinionResult {
    /// Name in the output of `--json`, in events and in labels of metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Disagreed => "disagreed",
            Self::Missing(_) => "missing",
        }
    }
}

/// What one attempt found, where, and with which versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    /// The attempt.
    pub attempt: Attempt,
    /// Its worker.
    pub worker: WorkerId,
    /// The name of the worker's machine.
    pub host: String,
    /// The engine that ran the candidate.
    pub engine: EngineId,
    /// The worker's host functions.
    pub host_functions: String,
    /// The version of the worker's build.
    pub version: String,
    /// What it found: valid or invalid.
    pub end: AttemptEnd,
    /// Why, if invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hash of the result, if valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<BlobHash>,
}

impl Opinion {
    /// Whether both say the same. Reasons are texts for people: two machines may word them differently.
    pub fn agrees_with(&self, other: &Self) -> bool {
        (self.end, self.result) == (other.end, other.result)
    }
}

/// One opinion, for logs: `invalid (trap) at host1, worker execute.u.0, engine e, host functions f, version v`.
impl std::fmt::Display for Opinion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { worker, host, engine, host_functions, version, .. } = self;
        f.write_str(self.end.name())?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if let Some(result) = &self.result {
            write!(f, " (result {result})")?;
        }
        write!(f, " at {host}, worker {worker}, engine {engine}, host functions {host_functions}, version {version}")
    }
}
