//! Messages from the tasks of the agent to its loop.

use super::inputs::{FetchFailure, Fetched};
use pvf_shared::{
    job::{JobOutcome, JobUsage},
    wire::WorkerReply,
};
use pvf_worker_core::{FetchId, Request, RunId};

/// What tasks tell the loop.
pub(super) enum TaskMessage {
    /// What a job needs was fetched, or could not be.
    Fetched { fetch: FetchId, result: Result<Fetched, FetchFailure> },
    /// The progress of a run changed: the loop looks at all of them.
    Progress,
    /// The outcome of a run is known.
    Ended { run: RunId, outcome: JobOutcome, usage: JobUsage },
    /// The self-test passed, or why it failed.
    SelfTested(Result<(), String>),
    /// A request was answered, or not in time. `beat`: the number of the registration or heartbeat.
    Answered { request: Request, answer: Result<WorkerReply, String>, beat: Option<u64> },
}
