//! Events: what can happen to the scheduler. The shell makes them from messages of the bus, results of effects, and its
//! connection state.

use pvf_proto::{
    artifact::StoredArtifact,
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, Attempt, CodeHash, JobId, RequestId, ValidationKey},
    subjects::Subject,
    wire::{ActiveLeavesUpdate, CommandRefusal, FromOperator, Heartbeat, JobReport, Submission, WorkerHello},
};
use std::{sync::Arc, time::Duration};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client submits a request. It passed [`check`](crate::check). The client holds its code and block data.
    Submit {
        /// The client that submits it.
        client: ClientId,
        /// The request.
        submission: Box<Submission>,
        /// Equal for two validations that are the same ([`Submission::validation_key`]); `None` for a preparation.
        identity: Option<ValidationKey>,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A client asks for verdicts that it misses.
    Ask {
        /// The client.
        client: ClientId,
        /// Its requests without a verdict.
        requests: Vec<RequestId>,
        /// Its requests whose verdicts have come.
        heard: Vec<RequestId>,
        /// Where the answer goes.
        reply: Option<Subject>,
    },
    /// A client cancels a request.
    Cancel {
        /// The request.
        request: RequestId,
        /// The client; only the one that submitted the request may cancel it.
        client: ClientId,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A client's view of the relay chain changed.
    Leaves {
        /// The client.
        client: ClientId,
        /// What changed.
        update: ActiveLeavesUpdate,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// The fleet's status is asked for.
    Status {
        /// List only the workers of this machine.
        host: Option<String>,
        /// Where the answer goes.
        reply: Option<Subject>,
    },
    /// An operator asks for something.
    Operator {
        /// The operator.
        operator: UserName,
        /// What it asks for.
        message: FromOperator,
        /// Where the answer goes.
        reply: Option<Subject>,
    },
    /// A worker registers.
    Hello {
        /// The worker.
        worker: WorkerId,
        /// Its registration.
        hello: Box<WorkerHello>,
        /// Where the answer goes.
        reply: Option<Subject>,
    },
    /// A worker sends a heartbeat.
    Heartbeat {
        /// The worker.
        worker: WorkerId,
        /// The heartbeat.
        heartbeat: Heartbeat,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A worker reports an attempt.
    Report {
        /// The worker.
        worker: WorkerId,
        /// The report.
        report: Box<JobReport>,
        /// Where the acknowledgement goes. Without it the report was the answer to the dispatch, and the
        /// acknowledgement goes to the worker's own subject.
        reply: Option<Subject>,
    },
    /// A worker deregisters.
    Goodbye {
        /// The worker.
        worker: WorkerId,
        /// Where the acknowledgement goes.
        reply: Option<Subject>,
    },
    /// A command to a worker was answered, or was not.
    Delivered {
        /// The worker.
        worker: WorkerId,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// The command.
        command: Command,
        /// The result.
        delivery: Delivery,
    },
    /// The store answered a look-up.
    LookedUp {
        /// The artifact.
        artifact: Arc<ArtifactId>,
        /// What the store has, or why that is not known.
        found: Result<Option<StoredArtifact>, String>,
    },
    /// An artifact was removed from the store, or could not be; then preparing it writes over it.
    Dropped {
        /// The artifact.
        artifact: Arc<ArtifactId>,
        /// Why it could not be removed.
        error: Option<String>,
    },
    /// The store said which codes are pinned.
    PinsRead {
        /// The codes.
        codes: Vec<CodeHash>,
    },
    /// The store has the codes that are pinned, or does not.
    PinsSaved {
        /// Why it does not.
        error: Option<String>,
    },
    /// The store listed artifacts; a long list comes in several events.
    Listed(Vec<Listed>),
    /// The coordinator begins or ceases to hear over the bus.
    Link {
        /// Whether it hears.
        up: bool,
    },
}

/// A command to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take a job.
    Dispatch,
    /// Stop an attempt.
    Cancel,
    /// Give an attempt back if it has not begun.
    Recall,
}

/// An artifact that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub artifact: ArtifactId,
    /// Its size, bytes.
    pub bytes: u64,
    /// How long it was not needed.
    pub idle: Duration,
}

/// The result of a command to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The worker has it.
    Taken,
    /// The worker does not do it.
    Refused(CommandRefusal),
    /// No worker listens on the subject.
    NoSubscriber,
    /// The coordinator could not send the message, for instance because it is too long. Not the worker's doing.
    NotSent(String),
    /// No answer came: the worker may or may not have the message.
    Unknown(String),
}
