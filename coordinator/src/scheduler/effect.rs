//! What the scheduler wants done: by `egress.rs`, in order.

use pvf_shared::{
    ids::{ArtifactId, CodeHash, NodeId, WorkerId},
    subjects::Subject,
    wire::{AskReply, FleetStatus, SubmitReply, ToWorker, Verdict, WorkerReply},
};

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
        verdict: Box<Verdict>,
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
        artifact: ArtifactId,
    },
    /// Drop an artifact from the store; comes back as `Event::Dropped`.
    Drop {
        /// The artifact.
        artifact: ArtifactId,
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
    /// To a submission, a cancellation or a leaf update.
    Submit(SubmitReply),
    /// To a question.
    Ask(AskReply),
    /// To a status request.
    Status(FleetStatus),
    /// To a worker.
    Worker(WorkerReply),
}
