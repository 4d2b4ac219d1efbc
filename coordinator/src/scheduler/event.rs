//! What can happen to the scheduler: one event at a time, made by the shell (`ingress.rs`, `egress.rs`).

use pvf_shared::{
    ids::{ArtifactId, Attempt, JobId, NodeId, RequestId, WorkerId},
    store::Found,
    subjects::Subject,
    wire::{ActiveLeavesUpdate, Heartbeat, JobReport, Submission, WorkerHello},
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node submits a request. Its code is in the store already and is what its hash says.
    Submit {
        /// The request.
        submission: Box<Submission>,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A node asks where its verdict is.
    Ask {
        /// Of this request.
        request: RequestId,
        /// Where the answer goes.
        reply: Option<Subject>,
    },
    /// A node does not wait any more.
    Cancel {
        /// For this request.
        request: RequestId,
        /// Only the node that submitted it may say so.
        node: NodeId,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// The relay chain's forks moved.
    Leaves {
        /// As this node sees them.
        node: NodeId,
        /// What changed.
        update: ActiveLeavesUpdate,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// Somebody asks how the fleet is.
    Status {
        /// Where the answer goes.
        reply: Option<Subject>,
    },
    /// A worker presents itself.
    Hello {
        /// What it can do.
        hello: WorkerHello,
        /// Where the welcome goes.
        reply: Option<Subject>,
    },
    /// A worker is alive.
    Heartbeat {
        /// What it works on.
        heartbeat: Heartbeat,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A job ended.
    Report {
        /// How.
        report: Box<JobReport>,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A worker goes.
    Goodbye {
        /// Which.
        worker: WorkerId,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// What became of a message to a worker.
    Delivered {
        /// To this worker.
        worker: WorkerId,
        /// About this job.
        job: JobId,
        /// And attempt.
        attempt: Attempt,
        /// Whether it was a cancellation.
        cancel: bool,
        /// What became of it.
        delivery: Delivery,
    },
    /// What the store has for an artifact.
    LookedUp {
        /// The artifact.
        artifact: ArtifactId,
        /// What there is, or why that is not known.
        found: Result<Option<Found>, String>,
    },
    /// An artifact was dropped from the store (or could not be; then it will be written over).
    Dropped {
        /// The artifact.
        artifact: ArtifactId,
    },
    /// The link to the bus came up or went down.
    Link {
        /// Whether it is up.
        up: bool,
    },
}

/// What became of a message to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The worker has it.
    Taken,
    /// The worker will not do it.
    Refused(String),
    /// The worker is not there.
    Nobody,
    /// It is not known whether the worker has it.
    Unknown(String),
}
