//! Names of attempts and of their runs.

use pvf_proto::{
    ids::{Attempt, FencingToken, JobId},
    wire::{Dispatch, JobReport, RunningJob},
};
use std::fmt;

/// One attempt of a job. The token is part of it: coordinators of versions before adoption may give the same job id and
/// attempt number to another job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey {
    /// Token of the coordinator that dispatched it.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// Number of the attempt, from 1.
    pub attempt: Attempt,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} attempt {} (token {})", self.job, self.attempt, self.token.0)
    }
}

impl From<&Dispatch> for AttemptKey {
    fn from(dispatch: &Dispatch) -> Self {
        Self { token: dispatch.token, job: dispatch.job, attempt: dispatch.attempt }
    }
}

impl From<&JobReport> for AttemptKey {
    fn from(report: &JobReport) -> Self {
        Self { token: report.token, job: report.job, attempt: report.attempt }
    }
}

impl From<RunningJob> for AttemptKey {
    fn from(RunningJob { token, job, attempt }: RunningJob) -> Self {
        Self { token, job, attempt }
    }
}

impl From<AttemptKey> for RunningJob {
    fn from(AttemptKey { token, job, attempt }: AttemptKey) -> Self {
        Self { token, job, attempt }
    }
}

/// One run of an attempt. An attempt that was displaced runs again under another number; numbers never repeat at one
/// worker, so that a late fact about an earlier run cannot be taken for one about the current run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// One fetch of what an attempt needs. Numbers never repeat at one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub u64);
