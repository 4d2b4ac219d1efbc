//! How a request can end, and who is to blame.
//!
//! The rule behind every type here: nothing that the code under test could have caused ever becomes
//! [`Outcome::Internal`], and nothing that only our side could have caused ever becomes [`Outcome::Invalid`].
//! Facts: `reference/pvf-semantics.md` section 5.

use crate::candidate::ValidationResult;
use serde::{Deserialize, Serialize};

/// Why a candidate is invalid. Nobody retries these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvalidReason {
    /// Trap, panic, missing export, bad signature, undecodable result, output out of bounds.
    #[error("worker reported invalid: {0}")]
    WorkerReported(String),
    /// CPU time over the limit, or wall clock over four times the limit.
    #[error("hard timeout: more than {limit_ms} ms")]
    HardTimeout {
        /// The limit that was passed, milliseconds (CPU time, or wall clock at four times the time-out).
        limit_ms: u64,
    },
    /// The PoV is a bomb or malformed.
    #[error("PoV failed to decompress")]
    PovDecompression,
}

/// Why a candidate may be invalid: it could as well be our fault. Retried once, elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AmbiguousReason {
    /// The worker vanished.
    #[error("ambiguous worker death")]
    WorkerDeath,
    /// The job process was killed (signal, seccomp, out of memory).
    #[error("ambiguous job death: {0}")]
    JobDeath(String),
    /// A panic of our own code in the job, a spawn failure, an odd exit status.
    #[error("job error: {0}")]
    JobError(String),
    /// The artifact loaded, but could not be linked or instantiated.
    #[error("runtime construction: {0}")]
    RuntimeConstruction(String),
    /// The artifact's MAC or checksum does not match.
    #[error("corrupted artifact: {0}")]
    CorruptedArtifact(String),
}

impl AmbiguousReason {
    /// Whether the artifact is dropped and prepared again before the retry.
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
    /// Not a wasm module of the accepted subset.
    #[error("prevalidation: {0}")]
    Prevalidation(String),
    /// Instrumentation or compilation failed.
    #[error("preparation: {0}")]
    Preparation(String),
    /// A panic of our own code in the job.
    #[error("job error: {0}")]
    JobError(String),
    /// Over the memory limit.
    #[error("out of memory")]
    OutOfMemory,
    /// Over the bomb limit or malformed.
    #[error("could not decompress code blob: {0}")]
    CouldNotDecompress(String),
    /// CPU time over the limit, or wall clock over four times the limit.
    #[error("timed out: more than {limit_ms} ms")]
    TimedOut {
        /// The limit that was passed, milliseconds.
        limit_ms: u64,
    },
    /// Reading or writing failed.
    #[error("i/o: {0}")]
    Io(String),
    /// The job process, or its worker, died.
    #[error("job died: {0}")]
    JobDied(String),
    /// The kernel refused something.
    #[error("kernel: {0}")]
    Kernel(String),
    /// Prechecking could not link the fresh artifact.
    #[error("runtime construction: {0}")]
    RuntimeConstruction(String),
}

impl PrepareError {
    /// Whether another request, with another bomb limit or memory limit, might fare better: neither limit is part of
    /// an artifact's name.
    pub fn depends_on_limits(&self) -> bool {
        matches!(self, Self::CouldNotDecompress(_) | Self::OutOfMemory)
    }

    /// Whether the same code fails the same way everywhere, so that it is never tried again.
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

/// What is ours for certain. The caller must not vote against the candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InternalError {
    /// The bus failed us.
    #[error("bus: {0}")]
    Bus(String),
    /// The object store failed us.
    #[error("store: {0}")]
    Store(String),
    /// The kernel refused something that does not depend on the code.
    #[error("kernel: {0}")]
    Kernel(String),
    /// The artifact is not where it should be.
    #[error("artifact is missing: {0}")]
    ArtifactMissing(String),
    /// The worker is going away and gave the job back.
    #[error("worker gave the job back: {0}")]
    WorkerDraining(String),
    /// An input blob is not in the store or not what its name says.
    #[error("input blob: {0}")]
    InputBlob(String),
}

/// How a request ended. `R` is the result of a valid candidate: parsed for whoever asked, SCALE bytes or the
/// name of a blob on the bus ([`WireOutcome`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<R = Box<ValidationResult>> {
    /// The candidate is valid.
    Valid(R),
    /// Pre-checking succeeded.
    PrecheckOk,
    /// A heads-up was taken: its code is prepared, or will be.
    HeadsUpTaken,
    /// The candidate is invalid.
    Invalid(InvalidReason),
    /// The candidate may be invalid; a second attempt elsewhere said the same.
    PossiblyInvalid(AmbiguousReason),
    /// The code could not be prepared.
    PreparationFailed(PrepareError),
    /// Our own failure.
    Internal(InternalError),
    /// Nobody needs the answer any more: the deadline passed or the relay leaf is gone.
    ExecutionDeadline,
}

/// Who is to blame for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Nobody: it went well, or it is merely late.
    Nobody,
    /// The candidate: its author loses money.
    Candidate,
    /// The candidate or us: asked once more, elsewhere.
    Ambiguous,
    /// The validation code.
    Code,
    /// The fleet.
    Ours,
}

/// An [`Outcome`] as it travels: the result is its SCALE encoding, or a blob that holds it.
pub type WireOutcome = Outcome<crate::job::BlobRef>;

impl<R> Outcome<R> {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Valid(_) | Self::PrecheckOk | Self::HeadsUpTaken | Self::ExecutionDeadline => Blame::Nobody,
            Self::Invalid(_) => Blame::Candidate,
            Self::PossiblyInvalid(_) => Blame::Ambiguous,
            Self::PreparationFailed(_) => Blame::Code,
            Self::Internal(_) => Blame::Ours,
        }
    }

    /// The verdict's name in `--json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::PrecheckOk | Self::HeadsUpTaken => "ok",
            Self::Invalid(_) => "invalid",
            Self::PossiblyInvalid(_) => "possibly_invalid",
            Self::PreparationFailed(_) => "preparation_failed",
            Self::Internal(_) => "internal",
            Self::ExecutionDeadline => "deadline",
        }
    }

    /// Why, in words; nothing for what went well.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Valid(_) | Self::PrecheckOk | Self::HeadsUpTaken => None,
            Self::Invalid(reason) => Some(reason.to_string()),
            Self::PossiblyInvalid(reason) => Some(reason.to_string()),
            Self::PreparationFailed(reason) => Some(reason.to_string()),
            Self::Internal(reason) => Some(reason.to_string()),
            Self::ExecutionDeadline => Some("nobody needs the answer any more".into()),
        }
    }
}

/// Longest text of a reason that is sent on, bytes: reasons come from code that nobody trusts.
pub const MAX_REASON_LEN: usize = 1024;

/// Cuts a text from an untrusted source to [`MAX_REASON_LEN`] and drops control characters.
pub fn clean_reason(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
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
    }

    #[test]
    fn blame_follows_the_table() {
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
