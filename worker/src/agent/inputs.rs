//! What a job needs from the store and from clients, once it is on this machine, and how a job ends that cannot get it.

use super::cache::UsedCopy;
use crate::supervise::BlockData;
use pvf_shared::{
    Bytes,
    job::{ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareOutcome},
    verdict::InternalError,
};
use std::time::Duration;

/// What a job needs, on this machine.
#[derive(Debug, Clone)]
pub(super) enum Inputs {
    /// The code of a preparation.
    Prepare { code: Bytes },
    /// The block data of an execution, and its artifact.
    Execute { block_data: BlockData, artifact: UsedCopy },
}

/// What was fetched for a job, and how long that took.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) inputs: Inputs,
    pub(super) took: Duration,
}

/// Why a job ends that cannot get what it needs: never its own doing.
pub(super) type FetchFailure = (JobOutcome, JobUsage);

/// An infrastructure failure as the outcome of this job.
pub(super) fn internal(spec: &JobSpec, error: InternalError) -> JobOutcome {
    match spec {
        JobSpec::Prepare(_) => JobOutcome::Prepare(PrepareOutcome::Internal(error)),
        JobSpec::Execute(_) => JobOutcome::Execute(ExecuteOutcome::Internal(error)),
    }
}
