//! Decisions of the scheduler that people want to see: the shell turns each into a log line and a counter.

use pvf_proto::{
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, Attempt, CodeHash, EngineId, JobId, RequestId},
    job::JobUsage,
    priority::ExecuteKind,
    verdict::PrepareError,
    wire::{Opinion, WorkerHello, WorkerKind},
};
use std::{sync::Arc, time::Duration};

/// Something that the scheduler noticed or decided. Carries no instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A worker registered. `hello.running` are attempts of an earlier coordinator that it still has.
    WorkerJoined {
        /// The worker.
        worker: WorkerId,
        /// Its registration.
        hello: Box<WorkerHello>,
    },
    /// A worker deregistered.
    WorkerLeft {
        /// The worker.
        worker: WorkerId,
        /// Its machine.
        host: String,
        /// Jobs that it had: they are tried again, or answered if they have failed too often.
        jobs: u32,
    },
    /// A worker was silent for too long and is removed.
    WorkerLost {
        /// The worker.
        worker: WorkerId,
        /// Its machine.
        host: String,
        /// Jobs that it had.
        jobs: u32,
        /// How long it was silent.
        silent: Duration,
    },
    /// A worker refused or missed a command: it gets no jobs until it is heard from.
    WorkerSuspect {
        /// The worker.
        worker: WorkerId,
        /// Its machine.
        host: String,
        /// What happened.
        why: String,
    },
    /// A suspect worker was heard from and gets jobs again.
    WorkerRecovered {
        /// The worker.
        worker: WorkerId,
    },
    /// Jobs failed at a worker that had no success in between: it gets no jobs for a while.
    WorkerPaused {
        /// The worker.
        worker: WorkerId,
        /// Its machine.
        host: String,
        /// For how long.
        pause: Duration,
        /// Why the last job failed there.
        why: String,
    },
    /// The pause of a worker is over: it gets jobs again.
    WorkerResumed {
        /// The worker.
        worker: WorkerId,
    },
    /// An operator asks a worker to drain: it gets no more jobs, and is told.
    WorkerToldToDrain {
        /// The worker.
        worker: WorkerId,
        /// Its machine.
        host: String,
        /// The operator.
        operator: UserName,
        /// Jobs that it has.
        jobs: u32,
    },
    /// An operator ends a request.
    RequestCancelled {
        /// The request.
        request: RequestId,
        /// Its client.
        client: ClientId,
        /// The operator.
        operator: UserName,
    },
    /// An operator pins a code, or unpins it.
    CodePinned {
        /// The code.
        code: CodeHash,
        /// Whether it is pinned now.
        pinned: bool,
        /// The operator.
        operator: UserName,
    },
    /// An attempt is over without a verdict, and the job is tried again. Jobs that were recalled, or staged at a
    /// worker that deregistered, have not had an attempt.
    JobRetried {
        /// The job.
        job: JobId,
        /// The attempt that is over.
        attempt: Attempt,
        /// Preparation or execution.
        kind: WorkerKind,
        /// Where the attempt was.
        worker: WorkerId,
        /// What the job is for.
        about: JobSubject,
        /// Why there is another one.
        why: RetryReason,
    },
    /// A job goes on with an attempt that an earlier coordinator dispatched.
    JobAdopted {
        /// The job, by the id that the earlier coordinator has given it.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Preparation or execution.
        kind: WorkerKind,
        /// Where it is.
        worker: WorkerId,
    },
    /// An attempt that an earlier coordinator dispatched is cancelled: no client requested it in time, or another one
    /// does the same.
    AttemptNotAdopted {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Where it is.
        worker: WorkerId,
    },
    /// An attempt ended with a report.
    JobReported {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Where it ran.
        worker: WorkerId,
        /// What the job is for.
        about: JobSubject,
        /// [How](pvf_proto::job::JobOutcome::name) it ended.
        end: &'static str,
        /// The kind of execution; `None` for a preparation.
        kind: Option<ExecuteKind>,
        /// Of a preparation, the time from its first queueing to this dispatch; of an execution, the time that it has
        /// spent in both queues so far.
        queued: Duration,
        /// What the job process used.
        usage: Box<JobUsage>,
    },
    /// A validation lost workers on as many machines as it may: it is answered without another attempt.
    ExecutionQuarantined {
        /// The machines.
        hosts: Vec<String>,
        /// The request for it.
        request: RequestId,
        /// The client of that request.
        client: ClientId,
        /// Its code.
        code: CodeHash,
    },
    /// Two machines judged one candidate differently: at least one of them is broken, or lies. Neither is believed.
    OpinionsDiffer {
        /// The job.
        job: JobId,
        /// The first request that waits for it.
        request: Option<RequestId>,
        /// The client of that request.
        client: Option<ClientId>,
        /// Its code.
        code: CodeHash,
        /// What each has said, with its versions.
        opinions: Vec<Opinion>,
    },
    /// An execution should have had a second opinion, and has none. The first one stands, but for a `valid` whose candidate may
    /// have killed the attempts on other machines.
    NoSecondOpinion {
        /// The job.
        job: JobId,
        /// Its code.
        code: CodeHash,
        /// Why.
        why: String,
    },
    /// Preparing a code lost as many workers as it may: the failure is kept.
    PreparationQuarantined {
        /// The artifact that was to be made.
        artifact: Arc<ArtifactId>,
    },
    /// An artifact cannot be made.
    PreparationFailed {
        /// The artifact.
        artifact: Arc<ArtifactId>,
        /// Why.
        error: PrepareError,
    },
    /// An artifact is removed from the store.
    ArtifactDropped {
        /// The artifact.
        artifact: Arc<ArtifactId>,
        /// Why.
        why: DropReason,
    },
    /// A submission was turned away because a limit was reached.
    RequestShed {
        /// The request.
        request: RequestId,
        /// Its client.
        client: ClientId,
        /// Which limit.
        limit: String,
    },
    /// A client was silent for too long: its queued work is not begun.
    ClientGone {
        /// The client.
        client: ClientId,
        /// How long it was silent.
        silent: Duration,
    },
    /// A worker, or an artifact in the store, is of an engine that was not seen before.
    EngineSeen {
        /// The engine.
        engine: EngineId,
    },
    /// Something is to be prepared for an engine that no registered prepare worker compiles for.
    NoPrepareWorker {
        /// The engine.
        engine: EngineId,
    },
    /// Two parts of the scheduler contradict each other: a bug. The scheduler went on as well as it could.
    Inconsistent {
        /// Which contradiction.
        what: String,
    },
}

/// What a job is for: a job has an id of its own, which its clients do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobSubject {
    /// An execution: the first of the requests that wait for it.
    Execution(Option<RequestId>),
    /// A preparation: the artifact that is to be made.
    Preparation(Option<Arc<ArtifactId>>),
}

impl JobSubject {
    /// The kind of worker that does it.
    pub fn worker_kind(&self) -> WorkerKind {
        match self {
            Self::Execution(_) => WorkerKind::Execute,
            Self::Preparation(_) => WorkerKind::Prepare,
        }
    }

    /// The first request that waits for an execution.
    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Execution(request) => request.as_ref(),
            Self::Preparation(_) => None,
        }
    }

    /// The artifact that a preparation makes.
    pub fn artifact(&self) -> Option<&ArtifactId> {
        match self {
            Self::Execution(_) => None,
            Self::Preparation(artifact) => artifact.as_deref(),
        }
    }
}

/// Why a job gets another attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryReason {
    /// The attempt did not begin, or its worker gave it back when it deregistered.
    NotBegun(String),
    /// The outcome may be the machine's doing: another one is asked.
    Ambiguous(String),
    /// An infrastructure failure.
    Internal(String),
    /// The worker was lost while it had the job.
    WorkerLost,
}

impl RetryReason {
    /// More about it, for people.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::NotBegun(why) | Self::Ambiguous(why) | Self::Internal(why) => Some(why),
            Self::WorkerLost => None,
        }
    }

    /// A short name, for metric labels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotBegun(_) => "not-begun",
            Self::Ambiguous(_) => "ambiguous",
            Self::Internal(_) => "internal",
            Self::WorkerLost => "worker-lost",
        }
    }
}

/// Why an artifact is removed from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// A worker or the store found it missing, damaged or unusable.
    Damaged,
    /// No request needed it for long.
    Unused,
    /// This operator has it removed.
    Operator(UserName),
}

impl DropReason {
    /// A short name, for metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Unused => "unused",
            Self::Operator(_) => "operator",
        }
    }
}
