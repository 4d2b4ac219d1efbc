//! Messages of workers to the coordinator, and its answer. The worker is named by the subject, not by the message.

use crate::{
    host::HostIdentity,
    ids::{ArtifactId, Attempt, EngineId, FencingToken, JobId},
    job::{JobOutcome, JobUsage},
    keys::KeyFingerprint,
    wire::{HeldAttempt, VersionRange, WorkerRefusal},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A message of a worker, sent as a bus request and answered by [`WorkerReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromWorker {
    /// Registration.
    Hello(Box<WorkerHello>),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// Report of an attempt; repeated until it is acknowledged.
    Report(Box<JobReport>),
    /// Deregistration; the coordinator takes back unfinished jobs.
    Goodbye,
}

/// Registration of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHello {
    /// Versions of the protocol that the worker speaks.
    pub speaks: VersionRange,
    /// Number of slots: jobs that it runs at the same time.
    pub slots: u32,
    /// Engine that it compiles for or can map.
    pub engine: EngineId,
    /// Name of its machine, for people.
    pub host: String,
    /// What tells its machine from others: a retry after an ambiguous outcome prefers another one, and a second opinion
    /// comes from another one. Without it the name does.
    #[serde(default, skip_serializing_if = "HostIdentity::is_unknown")]
    pub identity: HostIdentity,
    /// Version of its build, for logs, status and the records of verdicts.
    pub version: String,
    /// Names the host functions of its build and their version, for the records of verdicts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_functions: String,
    /// CPU baseline of its compiled code, for logs. The engine id contains it as well.
    pub cpu_baseline: String,
    /// State of its sandbox.
    pub security: SecurityStatus,
    /// Artifacts in its cache, at most 512.
    pub holds: Vec<Holding>,
    /// Attempts that it holds from before this registration.
    pub running: Vec<RunningJob>,
    /// Other engines that a prepare worker compiles for: lower CPU baselines of the same build. At most
    /// [`MAX_OTHER_ENGINES`] count. Sent only if there are some, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_compiles_for: Vec<EngineId>,
    /// The key that a prepare worker signs artifacts with. Must be one that the coordinator trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_with: Option<KeyFingerprint>,
    /// The keys whose artifacts an execute worker maps, at most [`MAX_TRUSTED_KEYS`]. Must have each that the
    /// coordinator trusts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusts: Vec<KeyFingerprint>,
    /// What those of [`Self::running`] are that an earlier coordinator may have dispatched, at most
    /// [`MAX_HELD`](crate::wire::MAX_HELD). Sent only if there are some, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldAttempt>,
}

/// Most keys that a role trusts at once. Two are enough to change the key.
pub const MAX_TRUSTED_KEYS: usize = 8;

/// Most other engines that a prepare worker compiles for.
pub const MAX_OTHER_ENGINES: usize = 8;

/// State of a worker's sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityStatus {
    /// Whether every property of the sandbox is enforced, and no mechanism is missing without consent.
    pub secure: bool,
    /// Mechanisms that are not active.
    pub missing: Vec<String>,
}

/// State of an artifact in a worker's cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holding {
    /// Mapped and linked in a template, so that a job starts without loading it. Reserved: see [`crate::wire`].
    Warm(ArtifactId),
    /// On the worker's disk.
    OnDisk(ArtifactId),
    /// No longer in the cache.
    Gone(ArtifactId),
}

/// An attempt that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningJob {
    /// Fencing token of the dispatch.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
}

/// Heartbeat of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Attempts that it holds, including staged ones and those whose report is not acknowledged yet.
    pub running: Vec<RunningJob>,
    /// Whether it is draining: it finishes its jobs and takes no new ones.
    pub draining: bool,
    /// Changes of its artifact cache since the previous heartbeat, at most 512.
    pub holdings: Vec<Holding>,
    /// Those of [`Self::running`] whose artifact or input is still being fetched: nothing of them was handed to any
    /// process when this was sent. One that was listed without being here is fetched, and is here never again. Sent
    /// only if there are some, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetching: Vec<RunningJob>,
    /// How far the preparations among [`Self::running`] have come, of those whose compiler has begun. It is shown to
    /// people, and nothing depends on it. Sent only if there are some, and older receivers ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compiling: Vec<Compiling>,
}

/// How far a preparation has come that a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiling {
    /// The preparation.
    pub attempt: RunningJob,
    /// How far it has come.
    pub progress: CompileProgress,
}

/// How many functions of a code are compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileProgress {
    /// Functions that are compiled.
    pub compiled: u32,
    /// Functions that the instrumented code has.
    pub functions: u32,
}

impl CompileProgress {
    /// As far as it can be true: the process that counts compiles untrusted code.
    pub fn plausible(self) -> Self {
        Self { compiled: self.compiled.min(self.functions), ..self }
    }

    /// Of this code and another one.
    pub fn and(self, other: Self) -> Self {
        Self {
            compiled: self.compiled.saturating_add(other.compiled),
            functions: self.functions.saturating_add(other.functions),
        }
    }
}

impl fmt::Display for CompileProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} functions compiled", self.compiled, self.functions)
    }
}

/// Report of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Fencing token of the dispatch.
    pub token: FencingToken,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// Outcome of the attempt.
    pub outcome: JobOutcome,
    /// Resources that the attempt used.
    pub usage: JobUsage,
}

/// The coordinator's answer to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerReply {
    /// Answer to a registration.
    Welcome {
        /// The coordinator's fencing token. The worker refuses commands with a lower one.
        token: FencingToken,
    },
    /// The message was received.
    Ack,
    /// The heartbeat was received, and an operator asks the worker to drain. Every heartbeat of the worker is answered
    /// so from then on, also those that say that it drains: a worker whose machine cannot run jobs says that as well.
    /// A worker of an earlier version takes it for an answer that it cannot decode, and goes on.
    Drain,
    /// The coordinator does not know the worker, which must register first.
    SayHello,
    /// The coordinator does not accept the message, and repeating it does not help.
    Refused(WorkerRefusal),
}
