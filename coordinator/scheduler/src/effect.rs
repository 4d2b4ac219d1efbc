//! Effects: what the shell has to do for the scheduler. Effects on one receiver (a client, a worker, a reply subject)
//! must take place in the order in which they come; others may overtake each other.

use crate::{notice::Notice, time::Timestamp};
use pvf_proto::{
    identity::{ClientId, WorkerId},
    ids::{ArtifactId, CodeHash, JobId, RequestId},
    priority::ExecuteKind,
    subjects::Subject,
    wire::{AskReply, FleetStatus, OperatorReply, SubmitReply, ToWorker, Verdict, WorkerReply},
};
use std::{sync::Arc, time::Duration};

/// Something that the shell has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answer a bus request.
    Reply {
        /// The reply subject.
        to: Subject,
        /// The answer.
        answer: Answer,
    },
    /// Send a verdict to a client.
    Verdict {
        /// The client.
        client: ClientId,
        /// The verdict.
        verdict: Arc<Verdict>,
        /// What it answers; `None` if it was sent before and is sent again.
        about: Option<Answered>,
    },
    /// Send a message to a worker. The result comes back as [`Event::Delivered`](crate::event::Event::Delivered), or as
    /// a [report](crate::event::Event::Report).
    ToWorker {
        /// The worker.
        worker: WorkerId,
        /// The message.
        message: ToWorker,
    },
    /// Look an artifact up in the store. The result comes back as [`Event::LookedUp`](crate::event::Event::LookedUp).
    LookUp {
        /// The artifact.
        artifact: Arc<ArtifactId>,
    },
    /// Remove an artifact from the store. The result comes back as [`Event::Dropped`](crate::event::Event::Dropped).
    Drop {
        /// The artifact.
        artifact: Arc<ArtifactId>,
    },
    /// List the artifacts of the store. They come back as [`Event::Listed`](crate::event::Event::Listed), in pieces.
    ListArtifacts,
    /// Save in the store how long each artifact was not needed, for the next coordinator.
    SaveNeeded {
        /// Each artifact and its idle time.
        idle: Vec<(Arc<ArtifactId>, Duration)>,
    },
    /// Read from the store which codes are pinned, however often it fails. They come back as
    /// [`Event::PinsRead`](crate::event::Event::PinsRead).
    ReadPins,
    /// Save in the store which codes are pinned. The result comes back as
    /// [`Event::PinsSaved`](crate::event::Event::PinsSaved); until then there is no other such effect.
    SavePins {
        /// All of them.
        codes: Vec<CodeHash>,
    },
    /// Log and count a decision.
    Notice(Notice),
}

/// A request that has its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// What it asked for.
    pub work: WorkKind,
    /// The execution that it waited for; `None` for a precheck or a heads-up.
    pub job: Option<JobId>,
    /// When it arrived.
    pub arrived: Timestamp,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// An execution of this kind.
    Execute(ExecuteKind),
    /// Whether the code can be prepared.
    Precheck,
    /// To prepare the code ahead of time.
    HeadsUp,
}

impl WorkKind {
    /// Its name in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Execute(_) => "execute",
            Self::Precheck => "precheck",
            Self::HeadsUp => "heads-up",
        }
    }

    /// The kind of an execution.
    pub fn kind(self) -> Option<ExecuteKind> {
        match self {
            Self::Execute(kind) => Some(kind),
            Self::Precheck | Self::HeadsUp => None,
        }
    }
}

/// An answer to a bus request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To an accepted submission. The shell may hold it back: a verdict that comes soon stands for it.
    Accepted {
        /// The client that submitted it.
        client: ClientId,
        /// The id that the client has given it.
        request: RequestId,
    },
    /// To a refused submission, a cancellation or a leaf update.
    Submit(SubmitReply),
    /// To a client that asked for verdicts.
    Ask(AskReply),
    /// To a status request.
    Status(Box<FleetStatus>),
    /// To an operator.
    Operator(OperatorReply),
    /// To a worker.
    Worker(WorkerReply),
}
