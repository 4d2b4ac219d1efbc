//! Outputs of the core.

use crate::{AttemptKey, FetchId, RunId};
use pvf_proto::{
    ids::FencingToken,
    subjects::Subject,
    wire::{CommandRefusal, Dispatch, DispatchReply, Heartbeat, JobReport, WorkerHello, WorkerRefusal},
};
use std::sync::Arc;

/// Something that the shell has to do. Actions are executed in the order in which they come.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Answer a command.
    Reply {
        /// Where.
        to: Subject,
        /// With what.
        reply: DispatchReply,
    },
    /// Send a registration as a request, and feed its answer, or its absence after `ProtocolTimeouts::ack`, as
    /// [`Event::Answered`](crate::Event::Answered). The shell fills in `holds` from its artifact cache.
    Register(Box<WorkerHello>),
    /// Send a heartbeat in the same way. The shell fills in `holdings`.
    Heartbeat(Box<Heartbeat>),
    /// Send a report in the same way.
    Report(Box<JobReport>),
    /// Fetch what a job needs, and feed [`Event::Fetched`](crate::Event::Fetched) or
    /// [`Event::FetchFailed`](crate::Event::FetchFailed). The shell keeps what it fetched as long as
    /// [`Agent::needs_inputs`](crate::Agent::needs_inputs).
    Fetch {
        /// The fetch.
        fetch: FetchId,
        /// The job.
        dispatch: Arc<Dispatch>,
    },
    /// End a fetch: its result is not wanted. The shell feeds nothing more about it.
    StopFetch {
        /// The fetch.
        fetch: FetchId,
    },
    /// Start a run: hand what was fetched for it to a process.
    Start {
        /// The run.
        run: RunId,
        /// Its job.
        dispatch: Arc<Dispatch>,
        /// The run has no slot: its process begins when the process of this run has ended. Without it the run has a
        /// slot and begins at once.
        behind: Option<RunId>,
    },
    /// A staged run has a slot now, although the run before it has not ended: its process begins at once.
    GrantSlot {
        /// The run.
        run: RunId,
    },
    /// End a run: kill its process and report nothing of it. The shell feeds no more facts about it.
    Stop {
        /// The run.
        run: RunId,
    },
    /// Deregister, then end. There are no more actions.
    Leave,
    /// Tell people: a log line and a counter.
    Notice(Notice),
}

/// A decision or an observation that people want to see. Carries no instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The coordinator accepted the registration.
    Registered {
        /// The coordinator's token.
        token: FencingToken,
    },
    /// Another coordinator announced itself: the worker registers with it.
    CoordinatorReplaced {
        /// Its token.
        token: FencingToken,
    },
    /// The coordinator does not know this worker: it registers again.
    RegistrationLost,
    /// The coordinator refuses this worker.
    RegistrationRefused {
        /// Why.
        why: WorkerRefusal,
    },
    /// A registration or heartbeat was not answered.
    CoordinatorSilent {
        /// What the bus said.
        why: String,
    },
    /// A dispatch was accepted as a new job.
    JobTaken {
        /// The attempt.
        attempt: AttemptKey,
    },
    /// A command was refused.
    CommandRefused {
        /// Why.
        why: CommandRefusal,
    },
    /// A staged job lost its place to a more urgent one and is queued again.
    JobDisplaced {
        /// The attempt.
        attempt: AttemptKey,
    },
    /// A report was not acknowledged in time and is sent again.
    ReportUnacknowledged {
        /// The attempt.
        attempt: AttemptKey,
        /// Why it counts as not acknowledged.
        why: String,
    },
    /// The coordinator refuses a report; it is not repeated.
    ReportRefused {
        /// The attempt.
        attempt: AttemptKey,
        /// Why.
        why: WorkerRefusal,
    },
    /// The worker drains: it takes no new jobs.
    Draining {
        /// Jobs that it still has, unacknowledged reports included.
        jobs: usize,
        /// Why.
        why: DrainReason,
    },
    /// Two facts contradict each other: a bug of the worker. The core went on as well as it could.
    Inconsistent {
        /// Which contradiction.
        what: String,
    },
}

/// Why a worker drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainReason {
    /// Its shell asks it to end ([`Event::Shutdown`](crate::Event::Shutdown)).
    Shutdown,
    /// The coordinator tells it to, because an operator asks for it.
    Asked,
}
