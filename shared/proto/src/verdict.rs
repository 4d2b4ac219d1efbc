//! Outcomes of requests and the attribution of blame.
//!
//! Every type here keeps this invariant: a failure that a guest inside wasmtime could have caused never becomes
//! [`Outcome::Internal`], and a failure that only the infrastructure could have caused never becomes
//! [`Outcome::Invalid`]. The blame table is in `docs/design/consensus.md`.

use crate::candidate::ValidationResult;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// Why a candidate is invalid. These outcomes are final and not retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvalidReason {
    /// Trap, panic, missing export, wrong signature, undecodable result, or output out of bounds.
    #[error("worker reported invalid: {0}")]
    WorkerReported(String),
    /// The job exceeded its CPU time limit. (A wall clock that runs out before the CPU time is
    /// [`InternalError::Kernel`].)
    #[error("hard timeout: more than {limit_ms} ms")]
    HardTimeout {
        /// The limit that was exceeded, milliseconds of CPU time.
        limit_ms: u64,
    },
    /// The PoV is over the bomb limit or malformed.
    #[error("PoV failed to decompress")]
    PovDecompression,
}

/// Why a candidate may be invalid: the infrastructure could be at fault as well. Such an execution is retried once, on
/// another worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AmbiguousReason {
    /// The worker was lost.
    #[error("ambiguous worker death")]
    WorkerDeath,
    /// The job process was killed (signal, seccomp, out of memory).
    #[error("ambiguous job death: {0}")]
    JobDeath(String),
    /// A panic of the job's own code (not of the guest), or an unexpected or unknown exit status.
    #[error("job error: {0}")]
    JobError(String),
    /// The artifact was loaded, but could not be linked or instantiated.
    #[error("runtime construction: {0}")]
    RuntimeConstruction(String),
    /// The artifact's signature or checksum does not match. A worker reports it; as a verdict it is an
    /// [`InternalError::Store`].
    #[error("corrupted artifact: {0}")]
    CorruptedArtifact(String),
}

impl AmbiguousReason {
    /// Whether the artifact is deleted and prepared again before the retry.
    pub fn suspects_artifact(&self) -> bool {
        match self {
            Self::RuntimeConstruction(_) | Self::CorruptedArtifact(_) => true,
            Self::WorkerDeath | Self::JobDeath(_) | Self::JobError(_) => false,
        }
    }
}

/// Why validation code cannot be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrepareError {
    /// The code is not a wasm module of the accepted subset.
    #[error("prevalidation: {0}")]
    Prevalidation(String),
    /// Instrumentation or compilation failed.
    #[error("preparation: {0}")]
    Preparation(String),
    /// A panic of the job's own code.
    #[error("job error: {0}")]
    JobError(String),
    /// The job exceeded its memory limit.
    #[error("out of memory")]
    OutOfMemory,
    /// The code is over the bomb limit or malformed.
    #[error("could not decompress code blob: {0}")]
    CouldNotDecompress(String),
    /// The job exceeded its CPU time limit.
    #[error("timed out: more than {limit_ms} ms")]
    TimedOut {
        /// The limit that was exceeded, milliseconds of CPU time.
        limit_ms: u64,
    },
    /// A read or write of the job failed.
    #[error("i/o: {0}")]
    Io(String),
    /// The job process or its worker died.
    #[error("job died: {0}")]
    JobDied(String),
    /// The kernel refused a system call.
    #[error("kernel: {0}")]
    Kernel(String),
    /// Pre-checking could not link the new artifact.
    #[error("runtime construction: {0}")]
    RuntimeConstruction(String),
}

impl PrepareError {
    /// Whether a request with a higher bomb limit or memory limit could succeed. Neither limit is part of the artifact
    /// id, so such a failure does not hold for every request with the same id.
    pub fn depends_on_limits(&self) -> bool {
        matches!(self, Self::CouldNotDecompress(_) | Self::OutOfMemory)
    }

    /// Whether the machine or the worker may be the reason, so that the failure says little about the code.
    pub fn may_be_the_machines(&self) -> bool {
        match self {
            Self::Io(_) | Self::JobDied(_) | Self::Kernel(_) => true,
            Self::Prevalidation(_)
            | Self::Preparation(_)
            | Self::JobError(_)
            | Self::OutOfMemory
            | Self::CouldNotDecompress(_)
            | Self::TimedOut { .. }
            | Self::RuntimeConstruction(_) => false,
        }
    }

    /// Whether the code fails in the same way on every worker, so that the preparation is not retried.
    pub fn is_deterministic(&self) -> bool {
        match self {
            Self::Prevalidation(_)
            | Self::Preparation(_)
            | Self::JobError(_)
            | Self::OutOfMemory
            | Self::CouldNotDecompress(_) => true,
            Self::TimedOut { .. } | Self::Io(_) | Self::JobDied(_) | Self::Kernel(_) | Self::RuntimeConstruction(_) => {
                false
            }
        }
    }
}

/// Infrastructure failures. They say nothing about the candidate: the caller must not vote against it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InternalError {
    /// The bus failed. Reserved: no component of wire version 3 reports it, but it decodes.
    #[error("bus: {0}")]
    Bus(String),
    /// The object store failed.
    #[error("store: {0}")]
    Store(String),
    /// The kernel refused an operation that does not depend on the code, or kept the job from its CPU time until the
    /// wall clock ran out.
    #[error("kernel: {0}")]
    Kernel(String),
    /// The artifact is not in the store.
    #[error("artifact is missing: {0}")]
    ArtifactMissing(String),
    /// No worker ran the job to its end: workers returned it, were lost before it began, or did not take it, or an
    /// operator has cancelled the request.
    #[error("worker: {0}")]
    WorkerDraining(String),
    /// No holder delivered an input of the job, which therefore did not begin.
    #[error("input: {0}")]
    InputBlob(String),
    /// Two machines judged the candidate differently, so neither is believed.
    #[error("machines disagree: {0}")]
    Disagreement(String),
}

/// Outcome of a request. `R` is the result of a valid candidate: decoded for the caller, or SCALE bytes or a blob
/// reference on the bus ([`WireOutcome`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<R = Box<ValidationResult>> {
    /// The candidate is valid.
    Valid(R),
    /// Pre-checking succeeded.
    PrecheckOk,
    /// A prepare worker has the code of the heads-up, so its client need not hold it any more.
    HeadsUpTaken,
    /// The artifact of the heads-up is there.
    HeadsUpPrepared,
    /// The candidate is invalid.
    Invalid(InvalidReason),
    /// The candidate may be invalid; a second attempt on another worker had the same result.
    PossiblyInvalid(AmbiguousReason),
    /// The code could not be prepared.
    PreparationFailed(PrepareError),
    /// Infrastructure failure.
    Internal(InternalError),
    /// The request expired: its deadline passed, or its relay leaf is in no active fork.
    #[serde(rename = "execution-deadline")]
    Expired,
}

/// The party that is to blame for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// No party: the request succeeded or expired.
    NoParty,
    /// The candidate.
    Candidate,
    /// The candidate or the infrastructure: executed once more, on another worker.
    Ambiguous,
    /// The validation code.
    Code,
    /// The infrastructure.
    Ours,
}

/// An [`Outcome`] on the bus: the result is its SCALE encoding, inline or held by the worker.
pub type WireOutcome = Outcome<crate::blob::BlobRef>;

impl<R> Outcome<R> {
    /// The party that is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Valid(_) | Self::PrecheckOk | Self::HeadsUpTaken | Self::HeadsUpPrepared | Self::Expired => {
                Blame::NoParty
            }
            Self::Invalid(_) => Blame::Candidate,
            Self::PossiblyInvalid(_) => Blame::Ambiguous,
            Self::PreparationFailed(_) => Blame::Code,
            Self::Internal(_) => Blame::Ours,
        }
    }

    /// The same outcome with another form of the result.
    ///
    /// # Errors
    /// That of `map`.
    pub fn try_map_result<S, E>(self, map: impl FnOnce(R) -> Result<S, E>) -> Result<Outcome<S>, E> {
        Ok(match self {
            Self::Valid(result) => Outcome::Valid(map(result)?),
            Self::PrecheckOk => Outcome::PrecheckOk,
            Self::HeadsUpTaken => Outcome::HeadsUpTaken,
            Self::HeadsUpPrepared => Outcome::HeadsUpPrepared,
            Self::Invalid(reason) => Outcome::Invalid(reason),
            Self::PossiblyInvalid(reason) => Outcome::PossiblyInvalid(reason),
            Self::PreparationFailed(reason) => Outcome::PreparationFailed(reason),
            Self::Internal(reason) => Outcome::Internal(reason),
            Self::Expired => Outcome::Expired,
        })
    }

    /// The same outcome with another form of the result.
    pub fn map_result<S>(self, map: impl FnOnce(R) -> S) -> Outcome<S> {
        match self.try_map_result(|result| Ok::<S, Infallible>(map(result))) {
            Ok(outcome) => outcome,
            Err(never) => match never {},
        }
    }

    /// Name in the output of `--json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::PrecheckOk | Self::HeadsUpTaken | Self::HeadsUpPrepared => "ok",
            Self::Invalid(_) => "invalid",
            Self::PossiblyInvalid(_) => "possibly_invalid",
            Self::PreparationFailed(_) => "preparation_failed",
            Self::Internal(_) => "internal",
            Self::Expired => "deadline",
        }
    }

    /// The reason for users; `None` for a success.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Valid(_) | Self::PrecheckOk | Self::HeadsUpTaken | Self::HeadsUpPrepared => None,
            Self::Invalid(reason) => Some(reason.to_string()),
            Self::PossiblyInvalid(reason) => Some(reason.to_string()),
            Self::PreparationFailed(reason) => Some(reason.to_string()),
            Self::Internal(reason) => Some(reason.to_string()),
            Self::Expired => {
                Some("the request expired: its deadline passed or its relay leaf is no longer active".into())
            }
        }
    }
}

/// Longest reason that is sent on, bytes. Reasons come from untrusted code.
pub const MAX_REASON_LEN: usize = 1024;

/// Truncates text from an untrusted source to [`MAX_REASON_LEN`] and replaces control characters by spaces. A text that
/// was cleaned stays as it is.
pub fn clean_reason(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim_matches(|c: char| c.is_whitespace() || c.is_control()).chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > MAX_REASON_LEN {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_bounded_and_clean() {
        assert_eq!(clean_reason("a\nb\x1b[31m"), "a b [31m");
        assert!(clean_reason(&"é".repeat(5000)).len() <= MAX_REASON_LEN + 3);
        let cut = |before: usize, c: &str| format!("{}{}", "a".repeat(before), c.repeat(2000));
        let texts = (1020..1026).flat_map(|n| ["b", "é", "…", "🦀", " "].map(|c| cut(n, c)));
        for text in texts.chain(["\0\0\0".into(), " \0 a \n".into(), "\u{85}a\u{85}".into()]) {
            let clean = clean_reason(&text);
            assert_eq!(clean_reason(&clean), clean);
        }
    }

    #[test]
    fn outcomes_are_blamed_as_in_the_table() {
        let timeout: Outcome = Outcome::Invalid(InvalidReason::HardTimeout { limit_ms: 1 });
        assert_eq!(timeout.blame(), Blame::Candidate);
        let internal: Outcome = Outcome::Internal(InternalError::Bus("x".into()));
        assert_eq!(internal.blame(), Blame::Ours);
        assert!(!PrepareError::TimedOut { limit_ms: 1 }.is_deterministic());
        assert!(PrepareError::OutOfMemory.is_deterministic());
        assert!(AmbiguousReason::CorruptedArtifact(String::new()).suspects_artifact());
        assert!(!AmbiguousReason::WorkerDeath.suspects_artifact());
    }
}
