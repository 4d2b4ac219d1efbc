//! What a worker says of the attempts that it holds when it registers, so that a coordinator that did not dispatch them
//! knows them: it adopts those that are wanted and cancels the others.

use crate::{
    artifact::ArtifactDigest,
    ids::{ArtifactId, ParamsHash, ValidationKey},
    job::{JobSpec, PrepareJob},
    wire::{Dispatch, RunningJob},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most attempts that one registration describes. A worker with more of them describes those that run, then those that
/// have ended or are staged; the others are among
/// [`WorkerHello::running`](crate::wire::WorkerHello::running) only, and are not adopted.
pub const MAX_HELD: usize = 512;

/// An attempt that a worker holds from before its registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAttempt {
    /// Which attempt. Its token is that of the coordinator that dispatched it.
    pub attempt: RunningJob,
    /// Order among the staged jobs of the worker, as dispatched.
    pub urgency: u8,
    /// How far it has come.
    pub stage: HeldStage,
    /// What it works on.
    pub work: HeldWork,
}

/// How far an attempt has come at its worker, in the order in which a coordinator that is told of several counts slots
/// for them: the last one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldStage {
    /// What it needs is being fetched.
    Fetching,
    /// It waits for a slot, perhaps with a process.
    Staged,
    /// It has ended, and its report is not acknowledged.
    Ended,
    /// It has a slot, or its outcome is not known yet.
    Running,
}

/// What an attempt works on: as much of its specification as tells whether it is the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldWork {
    /// The execution of a candidate.
    Execute {
        /// The artifact that it runs.
        artifact: ArtifactId,
        /// The version of the artifact, as dispatched.
        digest: Option<ArtifactDigest>,
        /// What it validates, as dispatched; `None` if the dispatch did not say.
        validation: Option<ValidationKey>,
    },
    /// The preparation of an artifact.
    Prepare(Box<HeldPreparation>),
}

/// A preparation, with the limits that its outcome depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPreparation {
    /// The artifact to produce.
    pub artifact: ArtifactId,
    /// Hash of the executor parameters of the session.
    pub params: ParamsHash,
    /// CPU time limit.
    pub cpu_limit: Duration,
    /// Limit of the decompressed code, bytes.
    pub code_bomb_limit: u32,
    /// Whether the new artifact is linked as well.
    pub precheck: bool,
}

impl From<&PrepareJob> for HeldPreparation {
    fn from(job: &PrepareJob) -> Self {
        Self {
            artifact: job.artifact.clone(),
            params: job.executor_params.hash(),
            cpu_limit: job.cpu_limit,
            code_bomb_limit: job.code_bomb_limit,
            precheck: job.precheck,
        }
    }
}

impl From<&Dispatch> for HeldWork {
    fn from(dispatch: &Dispatch) -> Self {
        match &dispatch.spec {
            JobSpec::Prepare(job) => Self::Prepare(Box::new((&**job).into())),
            JobSpec::Execute(job) => {
                Self::Execute { artifact: job.artifact.clone(), digest: job.digest, validation: dispatch.validation }
            }
        }
    }
}
