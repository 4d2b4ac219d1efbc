//! Inputs of the core.

use crate::{AttemptKey, FetchId, RunId};
use pvf_proto::{
    ids::FencingToken,
    job::{JobOutcome, JobUsage},
    subjects::Subject,
    wire::{ToWorker, WorkerReply},
};

/// Something that happened at the worker. The shell hands over one event at a time.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A command of the coordinator arrived.
    Command {
        /// The command.
        message: ToWorker,
        /// Where the answer goes; a command without it is not answered.
        reply: Option<Subject>,
    },
    /// A message on the worker's subject could not be decoded.
    MalformedCommand {
        /// What is wrong with it.
        why: String,
        /// Where the refusal goes.
        reply: Option<Subject>,
    },
    /// A request of the worker was answered, or not in time. The shell sends exactly one for each
    /// [`Action::Register`](crate::Action::Register), [`Action::Heartbeat`](crate::Action::Heartbeat) and
    /// [`Action::Report`](crate::Action::Report).
    Answered {
        /// Which request.
        request: Request,
        /// The answer, or why there is none.
        answer: Result<WorkerReply, String>,
    },
    /// Another coordinator is active. The shell has given up the registration or heartbeat that was under way, and has
    /// answered it.
    Announced {
        /// Its fencing token.
        token: FencingToken,
    },
    /// What a job needs is on this machine.
    Fetched {
        /// The fetch.
        fetch: FetchId,
    },
    /// What a job needs could not be fetched: the job has ended.
    FetchFailed {
        /// The fetch.
        fetch: FetchId,
        /// How the job ended.
        outcome: JobOutcome,
        /// What the job used.
        usage: JobUsage,
    },
    /// The process of a staged run has begun its job: the process before it has ended, or the run was granted a slot.
    Began {
        /// The run.
        run: RunId,
    },
    /// The process of a run has ended, or the run failed before it got one: it needs no slot any more. Its outcome
    /// follows as [`Event::Ended`].
    SlotReleased {
        /// The run.
        run: RunId,
    },
    /// The outcome of a run is known.
    Ended {
        /// The run.
        run: RunId,
        /// How the job ended.
        outcome: JobOutcome,
        /// What the job used.
        usage: JobUsage,
    },
    /// The machine can run jobs, or cannot, by the worker's self-test. While it cannot, the worker refuses new jobs,
    /// and its heartbeats say that it takes none.
    Fit(bool),
    /// The worker is asked to end: it takes no new jobs, finishes those that it has, and deregisters. It does the same
    /// when a request of it is answered by [`WorkerReply::Drain`].
    Shutdown,
    /// The bus ended: no more commands can arrive. The worker leaves without waiting for its jobs.
    BusClosed,
}

/// A request of the worker to the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Registration.
    Register,
    /// Heartbeat.
    Heartbeat,
    /// Report of this attempt.
    Report(AttemptKey),
}
