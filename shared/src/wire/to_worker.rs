//! What the coordinator sends to one worker, and its answer.

use crate::{
    ids::{Attempt, FencingToken, JobId, RequestId},
    job::JobSpec,
    wire::{JobReport, RunningJob},
};
use serde::{Deserialize, Serialize};

/// To a worker. Each but [`ToWorker::Acknowledge`] is sent as a bus request and answered by [`DispatchReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToWorker {
    /// Do this job.
    Dispatch(Box<Dispatch>),
    /// Give this attempt back if it waits for a slot still; refused if it has begun (or ended).
    Recall {
        /// The sender's token.
        token: FencingToken,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// These reports were taken note of. Not answered: a worker whose report is not acknowledged sends it again.
    Acknowledge {
        /// Attempts that this worker has reported.
        reports: Vec<RunningJob>,
    },
    /// Stop this attempt; no report is wanted.
    Cancel {
        /// The sender's token.
        token: FencingToken,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
}

/// A job for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The sender's token; a worker obeys only the highest it has seen.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// Which try it is, from 1.
    pub attempt: Attempt,
    /// Its place among the jobs that wait at the worker for a slot, most urgent first.
    pub urgency: u8,
    /// One of the requests it is for, for logs.
    pub request: Option<RequestId>,
    /// What is to be done.
    pub spec: JobSpec,
    /// Reports of this worker that were taken note of, as in [`ToWorker::Acknowledge`].
    pub acknowledged: Vec<RunningJob>,
}

/// A worker's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DispatchReply {
    /// It will report (or has stopped what it was to stop). Also the answer to a repeated dispatch.
    Taken,
    /// It has done the job already. It may hold its answer back for [`crate::config::Timing::hold_back`] to be able to
    /// say so.
    Done(Box<JobReport>),
    /// It will not: no free slot, going away, another engine, or an old token.
    Refused(String),
}
