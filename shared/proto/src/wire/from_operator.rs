//! Messages of operators to the coordinator, and its answer. The operator is named by the subject, not by the message.

use crate::{
    identity::{ClientId, WorkerId},
    ids::{ArtifactId, CodeHash, RequestId},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most workers in one request of an operator; the coordinator ignores more.
pub const MAX_DRAINED: usize = 256;

/// Most artifacts that one request of an operator removes, and that its answer lists.
pub const MAX_REMOVED: usize = 256;

/// Most codes that are pinned at a time.
pub const MAX_PINNED: usize = 1024;

/// Most clients that an answer to [`FromOperator::Cancel`] names.
pub const MAX_SAME_ID: usize = 16;

/// A request of an operator, sent as a bus request and answered by [`OperatorReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromOperator {
    /// These workers are to drain: each takes no new jobs, finishes what it runs, deregisters and ends. Repeated until
    /// they are gone: that does no harm, is how the operator learns what has become of them, and tells a coordinator
    /// that has taken over meanwhile.
    Drain {
        /// The workers, at most [`MAX_DRAINED`].
        workers: Vec<WorkerId>,
    },
    /// This request is to end. Its client is answered, with the operator's name as the reason, and what runs for it is
    /// stopped unless other requests wait for the same.
    Cancel {
        /// The request.
        request: RequestId,
        /// Its client; needed only if several clients have chosen the same id.
        client: Option<ClientId>,
    },
    /// The artifacts of this code are not removed when they are not needed for long, nor to make room.
    Pin {
        /// The code. It need not have been prepared yet.
        code: CodeHash,
    },
    /// The artifacts of this code may be removed again.
    Unpin {
        /// The code.
        code: CodeHash,
    },
    /// These artifacts are to be removed from the store, so that the next request that needs one has it prepared anew.
    /// Jobs that run on one go on. At most [`MAX_REMOVED`] at a time.
    Remove {
        /// Which.
        artifacts: ArtifactChoice,
    },
    /// The artifacts that were not needed for long are to be removed now: the least recently needed first, at most
    /// [`MAX_REMOVED`] at a time. Those of pinned codes stay, and those that executions use.
    Prune {
        /// Those that were needed last longer ago than this; without it, than the coordinator's `artifact_ttl`.
        older_than: Option<Duration>,
        /// Nothing is removed: the answer says what would be.
        dry_run: bool,
    },
}

/// Artifacts that an operator means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactChoice {
    /// All of this code: for every engine and all parameters.
    Code(CodeHash),
    /// This one.
    One(ArtifactId),
}

impl ArtifactChoice {
    /// The code.
    pub fn code(&self) -> CodeHash {
        match self {
            Self::Code(code) => *code,
            Self::One(artifact) => artifact.code_hash,
        }
    }
}

/// The coordinator's answer to an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorReply {
    /// What has become of each worker that is to drain, in the order of the request.
    Drains(Vec<WorkerDrain>),
    /// The answer to [`FromOperator::Cancel`].
    Cancel(Cancellation),
    /// The answer to [`FromOperator::Pin`] and [`FromOperator::Unpin`].
    Pin(Pinning),
    /// The answer to [`FromOperator::Remove`] and [`FromOperator::Prune`], once the store has answered.
    Removal(Removal),
}

/// What has become of a request that is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cancellation {
    /// It has ended, and its client is told.
    Done {
        /// Its client.
        client: ClientId,
        /// Other requests that wait for the same execution, which therefore goes on.
        others: u32,
    },
    /// No open request has this id: it has ended, or was never here.
    NotOpen,
    /// These clients have chosen this id; the first [`MAX_SAME_ID`]. Nothing has ended.
    Several(Vec<ClientId>),
}

/// What has become of a code that is to be pinned, or not to be pinned any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pinning {
    /// It is in force, and in the store for the next coordinator.
    Saved {
        /// Whether the code was not so before.
        changed: bool,
        /// Artifacts of the code that the coordinator knows.
        artifacts: u32,
        /// Their size in the store, bytes.
        bytes: u64,
    },
    /// It is in force for as long as this coordinator is active, and could not be saved, for this reason.
    NotSaved(String),
    /// So many codes are pinned already, and no more may be.
    TooMany(u32),
    /// Nothing was done, for this reason, which passes.
    NotNow(String),
}

/// What has become of artifacts that are to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// What was found.
    Done(Removed),
    /// Nothing was done: the code is pinned.
    Pinned,
    /// Nothing was done, for this reason, which passes.
    NotNow(String),
}

/// Artifacts that were to be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Each, at most [`MAX_REMOVED`].
    pub artifacts: Vec<RemovedArtifact>,
    /// There are more: the request may be repeated.
    pub more: bool,
    /// Of [`FromOperator::Prune`], the least age of what is removed.
    pub older_than: Option<Duration>,
}

/// An artifact that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedArtifact {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Its size in the store, bytes; 0 if that is not known, or if it could not be made.
    pub bytes: u64,
    /// How long it was not needed.
    pub idle: Duration,
    /// What has become of it.
    pub fate: Fate,
}

/// What has become of an artifact that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is not in the store any more.
    Removed,
    /// It would have been removed.
    Kept,
    /// It is being prepared, so what will be there is new.
    Preparing,
    /// The store has not removed it, for this reason.
    Failed(String),
}

/// A worker that is to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDrain {
    /// The worker.
    pub worker: WorkerId,
    /// What has become of it.
    pub state: DrainState,
}

/// What has become of a worker that is to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainState {
    /// It gets no more jobs, and every answer to its heartbeats tells it to drain. No heartbeat says yet that it does.
    Told {
        /// Jobs that it has.
        jobs: u32,
    },
    /// Its last heartbeat says that it takes no new jobs.
    Draining {
        /// Jobs that it has.
        jobs: u32,
    },
    /// It has deregistered: it has ended, or is about to.
    Left,
    /// It was silent for too long and is removed. What it had is done elsewhere.
    Lost,
    /// It is not registered, and was not told to drain by this coordinator.
    Unknown,
}
