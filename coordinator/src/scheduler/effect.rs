//! What the scheduler wants done: by `egress.rs`, in order.

use pvf_shared::{
    ids::{ArtifactId, CodeHash, NodeId, RequestId, WorkerId},
    subjects::Subject,
    wire::{AskReply, FleetStatus, SubmitReply, ToWorker, Verdict, WorkerReply},
};
use std::{sync::Arc, time::Duration};

/// Something to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answer a bus request.
    Reply {
        /// Where.
        to: Subject,
        /// With what.
        answer: Answer,
    },
    /// Send a verdict to a node.
    Verdict {
        /// To this node.
        node: NodeId,
        /// The verdict.
        verdict: Arc<Verdict>,
    },
    /// Send a message to a worker; what became of it comes back as `Event::Delivered`.
    ToWorker {
        /// To this worker.
        worker: WorkerId,
        /// The message.
        message: ToWorker,
    },
    /// See whether the store has an artifact; comes back as `Event::LookedUp`.
    LookUp {
        /// The artifact.
        artifact: Arc<ArtifactId>,
    },
    /// Drop an artifact from the store; comes back as `Event::Dropped`.
    Drop {
        /// The artifact.
        artifact: Arc<ArtifactId>,
    },
    /// Say what artifacts the store has; comes back as `Event::Listed`, in pieces.
    ListArtifacts,
    /// Keep in the store for how long nobody needed each artifact, for the next coordinator.
    SaveNeeded {
        /// Each artifact and its idle time.
        idle: Vec<(Arc<ArtifactId>, Duration)>,
    },
    /// This code is not in the store after all: do not believe it next time.
    ForgetCode {
        /// The code.
        code: CodeHash,
    },
}

/// An answer to a bus request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To the submission of this request: a verdict will come. Not sent if that comes soon.
    Accepted(RequestId),
    /// To a submission that is refused, a cancellation or a leaf update.
    Submit(SubmitReply),
    /// To a question.
    Ask(AskReply),
    /// To a status request.
    Status(Box<FleetStatus>),
    /// To a worker.
    Worker(WorkerReply),
}
