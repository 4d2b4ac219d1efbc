//! What can happen to the scheduler: one event at a time, made by the shell (`ingress.rs`, `egress.rs`).

use pvf_shared::{
    ids::{ArtifactId, Attempt, JobId, NodeId, RequestId, ValidationKey, WorkerId},
    store::Found,
    subjects::Subject,
    wire::{ActiveLeavesUpdate, Heartbeat, JobReport, Submission, WorkerHello},
};
use std::{sync::Arc, time::Duration};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node submits a request. Its code is in the store already and is what its hash says.
    Submit {
        /// The request.
        submission: Box<Submission>,
        /// What makes it the same as another execution ([`Submission::validation_key`]).
        identity: Option<ValidationKey>,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A node asks where its verdicts are; it is alive.
    Ask {
        /// Which node.
        node: NodeId,
        /// Of these requests.
        requests: Vec<RequestId>,
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
        /// And wants to see only this machine's workers.
        host: Option<String>,
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
        /// Where the acknowledgement goes; absent: to the worker's own subject, because the report was the answer to
        /// the dispatch.
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
        /// Which message.
        command: Command,
        /// What became of it.
        delivery: Delivery,
    },
    /// What the store has for an artifact.
    LookedUp {
        /// The artifact.
        artifact: Arc<ArtifactId>,
        /// What there is, or why that is not known.
        found: Result<Option<Found>, String>,
    },
    /// An artifact was dropped from the store (or could not be; then it will be written over).
    Dropped {
        /// The artifact.
        artifact: Arc<ArtifactId>,
    },
    /// Some of the artifacts that the store has.
    Listed(Vec<Listed>),
    /// The link to the bus came up or went down.
    Link {
        /// Whether it is up.
        up: bool,
    },
}

/// A message to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Do this.
    Dispatch,
    /// Stop this.
    Cancel,
    /// Give this back if it has not begun.
    Recall,
}

/// An artifact that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub artifact: ArtifactId,
    /// Its size.
    pub bytes: u64,
    /// For how long nobody needed it.
    pub idle: Duration,
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
