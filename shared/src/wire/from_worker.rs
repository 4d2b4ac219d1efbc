//! What workers send to the coordinator, and its answer.

use crate::{
    ids::{ArtifactId, Attempt, EngineId, FencingToken, JobId, WorkerId},
    job::{JobOutcome, JobUsage},
};
use serde::{Deserialize, Serialize};

/// From a worker. Each is sent as a bus request and answered by [`WorkerReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// Here I am.
    Hello(WorkerHello),
    /// Still here.
    Heartbeat(Heartbeat),
    /// A job ended; repeated until it is acknowledged.
    Report(Box<JobReport>),
    /// I am going; what I still have is not done.
    Goodbye {
        /// Who.
        worker: WorkerId,
    },
}

/// What a worker can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerKind {
    /// Compile.
    Prepare,
    /// Execute.
    Execute,
}

impl std::fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Execute => "execute",
        })
    }
}

/// A worker presents itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHello {
    /// This run of the worker.
    pub worker: WorkerId,
    /// What it can do.
    pub kind: WorkerKind,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// What it compiles for or can map.
    pub engine: EngineId,
    /// Its machine: a second opinion is asked of another one.
    pub host: String,
    /// Its version, for people.
    pub version: String,
    /// What its compiled code may use, for people; part of the engine's name.
    pub cpu_baseline: String,
    /// How well its jobs are locked up.
    pub security: SecurityStatus,
    /// Artifacts that it has, at most 512.
    pub holds: Vec<Holding>,
    /// What it still works on (after the coordinator was replaced).
    pub running: Vec<RunningJob>,
}

/// How well a worker's jobs are locked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityStatus {
    /// Every mechanism is on.
    pub secure: bool,
    /// Those that are not.
    pub missing: Vec<String>,
}

/// What a worker has of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holding {
    /// Mapped and linked: it runs at once.
    Warm(ArtifactId),
    /// A copy on its disk.
    OnDisk(ArtifactId),
    /// Nothing any more.
    Gone(ArtifactId),
}

/// A job that a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningJob {
    /// Who dispatched it.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
}

/// A worker is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who.
    pub worker: WorkerId,
    /// What it works on, jobs that wait for a slot and jobs whose report is not acknowledged included.
    pub running: Vec<RunningJob>,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// What changed about the artifacts that it has since the heartbeat before, at most 512.
    pub holdings: Vec<Holding>,
}

/// A job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Who did it.
    pub worker: WorkerId,
    /// The token of its dispatch.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: JobOutcome,
    /// What it used.
    pub usage: JobUsage,
}

/// The coordinator's answer to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerReply {
    /// Answer to a hello: the coordinator's token.
    Welcome {
        /// Dispatches with a lower one are refused.
        token: FencingToken,
    },
    /// Taken note of.
    Ack,
    /// The coordinator does not know this worker: say hello first.
    SayHello,
    /// The message is not understood, and repeating it will not help.
    Refused(String),
}
