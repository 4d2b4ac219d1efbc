//! Commands of the coordinator to one worker, and its answer.

use crate::{
    identity::ClientId,
    ids::{Attempt, FencingToken, JobId, RequestId, ValidationKey},
    job::JobSpec,
    wire::{CommandRefusal, JobReport, RunningJob},
};
use serde::{Deserialize, Serialize};

/// A command to a worker, sent as a bus request and answered by [`DispatchReply`]; [`ToWorker::Acknowledge`] is
/// published and not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// Dispatches an attempt.
    Dispatch(Box<Dispatch>),
    /// Recalls a staged attempt; refused if the attempt has begun or ended.
    Recall {
        /// The fencing token of the coordinator that recalls it. An earlier one may have dispatched it.
        token: FencingToken,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// Acknowledges reports. A worker repeats a report that is not acknowledged.
    Acknowledge {
        /// The reported attempts.
        reports: Vec<RunningJob>,
    },
    /// Cancels an attempt, which is then not reported.
    Cancel {
        /// The fencing token of the coordinator that cancels it. An earlier one may have dispatched it.
        token: FencingToken,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
}

/// Most holders in a dispatch.
pub const MAX_HOLDERS: usize = 8;

/// An attempt for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The coordinator's fencing token; a worker obeys only the highest that it has seen.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// Number of the attempt, from 1.
    pub attempt: Attempt,
    /// Order among the staged jobs of the worker; the lowest value starts first.
    pub urgency: u8,
    /// One of the requests that the job is for, for logs.
    pub request: Option<RequestId>,
    /// The job's specification.
    pub spec: JobSpec,
    /// Sessions that hold the input that the job has to pull, in the order in which to ask them, at most
    /// [`MAX_HOLDERS`]; none if it has everything. They may end meanwhile: then the worker reports
    /// [`InternalError::InputBlob`](crate::verdict::InternalError::InputBlob).
    pub holders: Vec<ClientId>,
    /// Reports of this worker that are acknowledged, as in [`ToWorker::Acknowledge`].
    pub acknowledged: Vec<RunningJob>,
    /// What an execution validates: the worker says it to a coordinator that takes over, which adopts the attempt by
    /// it. Sent only for executions, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationKey>,
}

/// A worker's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DispatchReply {
    /// The command was accepted: the attempt will be reported, or is stopped. Also the answer to a repeated dispatch.
    Taken,
    /// The attempt has ended already. A worker may delay its answer for
    /// [`hold_back`](crate::config::ProtocolTimeouts::hold_back) in order to send this one.
    Done(Box<JobReport>),
    /// The command was refused and has no effect.
    Refused(CommandRefusal),
}
