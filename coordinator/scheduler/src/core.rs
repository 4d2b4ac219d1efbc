//! The scheduler's state and what a step leaves behind: effects, follow-ups, background tasks, counts.
//!
//! A step (`steps`) never calls another one: what follows is pushed as a [`FollowUp`] and runs right after it, before
//! anything that was pending already. So every step sees tables that agree with each other.

use crate::{
    counts::Counts,
    effect::{Answer, Effect},
    keys::{ArtifactKey, AttemptKey, ClientKey, EndedAttempt, EngineKey, RequestKey, Waiter},
    notice::{JobSubject, Notice, RetryReason},
    policies::{ExecuteQueue, PrepareQueue},
    settings::SchedulerConfig,
    tables::{
        Artifacts, Clients, Departures, EarlyCancellations, Execution, ExecutionState, Executions, IllegalTransition,
        Made, Pins, PreparationState, Preparations, PvfSpec, PvfSpecs, Quarantine, Removals, RequestTarget, Requests,
        Timer, Timers, Unclaimed, UnheardVerdicts, Workers,
    },
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    ids::{CodeHash, FencingToken, JobId, RelayHash},
    priority::PreparePriority,
    subjects::Subject,
    verdict::WireOutcome,
    wire::{ArtifactSummary, CompileProgress, JobReport, RunningJob, SecondOpinion, Timings, ToWorker, VerdictUsage},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

/// The tables and queues.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: SchedulerConfig,
    pub(crate) requests: Requests,
    pub(crate) executions: Executions,
    pub(crate) preparations: Preparations,
    pub(crate) artifacts: Artifacts,
    /// Codes whose artifacts are not pruned.
    pub(crate) pins: Pins,
    /// Operators that wait until artifacts are removed.
    pub(crate) removals: Removals,
    pub(crate) specs: PvfSpecs,
    pub(crate) clients: Clients,
    pub(crate) workers: Workers,
    /// Workers that were told to drain and are gone.
    pub(crate) departures: Departures,
    pub(crate) prepare_queue: PrepareQueue,
    pub(crate) execute_queue: ExecuteQueue,
    /// Jobs without an engine: no worker of the kind that they need is registered.
    pub(crate) unassigned: BTreeSet<Waiter>,
    /// Engines with preparations that no prepare worker compiles for, each with the time when these are given up.
    pub(crate) without_prepare_worker: BTreeMap<EngineKey, Timestamp>,
    pub(crate) quarantine: Quarantine,
    /// Attempts of earlier coordinators that no job has adopted.
    pub(crate) unclaimed: Unclaimed,
    pub(crate) timers: Timers,
    pub(crate) verdicts: UnheardVerdicts,
    pub(crate) cancellations: EarlyCancellations,
    /// Since when the coordinator hears over the bus; `None` while it does not.
    pub(crate) link_up_since: Option<Timestamp>,
    /// When this coordinator begins to dispatch jobs.
    pub(crate) dispatch_begins: Timestamp,
    last_job: u64,
}

impl Core {
    pub(crate) fn new(config: SchedulerConfig, now: Timestamp) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Prune, now.after(config.policy.prune_interval));
        let dispatch_begins = now.after(config.policy.dispatch_delay);
        if dispatch_begins > now {
            timers.set(Timer::DispatchBegins, dispatch_begins);
        }
        Self {
            requests: Requests::default(),
            executions: Executions::default(),
            preparations: Preparations::default(),
            artifacts: Artifacts::default(),
            pins: Pins::default(),
            removals: Removals::default(),
            specs: PvfSpecs::default(),
            clients: Clients::default(),
            workers: Workers::new(config.policy.ahead),
            departures: Departures::default(),
            prepare_queue: PrepareQueue::default(),
            execute_queue: ExecuteQueue::new(config.policy.shares),
            unassigned: BTreeSet::new(),
            without_prepare_worker: BTreeMap::new(),
            quarantine: Quarantine::default(),
            unclaimed: Unclaimed::default(),
            timers,
            verdicts: UnheardVerdicts::new(config.policy.unheard_verdict_bytes),
            cancellations: EarlyCancellations::default(),
            link_up_since: Some(now),
            dispatch_begins,
            last_job: first_job(config.token),
            config,
        }
    }

    /// The preparation that a request waits for.
    pub(crate) fn preparation_of(&self, request: &RequestKey) -> Option<JobId> {
        let artifact = match &self.requests.get(request)?.target {
            RequestTarget::Execution { job, .. } => {
                let execution = self.executions.get(*job)?;
                let waits = matches!(execution.state(), ExecutionState::AwaitingArtifact);
                execution.context.artifact.filter(|_| waits)
            }
            RequestTarget::Preparation(context) => context.artifact,
        };
        self.artifacts.get(artifact?)?.preparing()
    }

    /// How far a preparation has come, if a worker has said so.
    pub(crate) fn compile_progress(&self, job: JobId) -> Option<CompileProgress> {
        match self.preparations.get(&job)?.state() {
            PreparationState::Dispatched { attempt, worker, .. } => {
                self.workers.get(worker)?.slot(AttemptKey { job, attempt: *attempt })?.compiled
            }
            PreparationState::Queued(_) | PreparationState::BackingOff(_) => None,
        }
    }

    /// A job id that was not given before, by this coordinator or an earlier one.
    pub(crate) fn next_job(&mut self) -> JobId {
        loop {
            self.last_job = self.last_job.wrapping_add(1);
            let job = JobId(self.last_job);
            if !self.executions.contains(job) && self.preparations.get(&job).is_none() {
                return job;
            }
        }
    }
}

/// The job id before the first one of the coordinator with this token. Ids do not repeat between coordinators, so that
/// a job id and an attempt number name one attempt, whichever coordinator dispatched it.
///
/// The lower 40 bits of the token are above 24 bits of the coordinator's own counter. With a lease these are the
/// revision of its key, and the last bits of the bucket's epoch. The next coordinator's revision is higher by one at
/// least for each renewal of this one: its ids could be reached only with more than 16 million jobs between two
/// renewals (a third of the lease, 0.7 s). A bucket that is made anew has revisions from 1 and another epoch, with
/// other last bits unless it is 256 later. Tokens without a lease are milliseconds, or one more than the last one: then
/// a coordinator reaches the next one's ids with 16 million jobs. Those are long over that an id of the next one could
/// be taken for; an id that is in use is left out in any case.
fn first_job(token: FencingToken) -> u64 {
    token.0 << OWN_BITS
}

/// The bits of a job id that a coordinator counts in.
const OWN_BITS: u32 = 24;

/// Whether the coordinator with this token may give a job this id.
pub(crate) fn is_own(token: FencingToken, job: JobId) -> bool {
    job.0 >> OWN_BITS == first_job(token) >> OWN_BITS
}

/// A need for an artifact.
#[derive(Debug)]
pub(crate) struct ArtifactNeed {
    pub(crate) key: ArtifactKey,
    pub(crate) waiter: Waiter,
    pub(crate) spec: Arc<PvfSpec>,
    pub(crate) priority: PreparePriority,
    pub(crate) precheck: bool,
}

impl ArtifactNeed {
    /// What an execution needs before it is queued.
    pub(crate) fn of_execution(job: JobId, key: ArtifactKey, execution: &Execution) -> Self {
        let (spec, priority) = (execution.context.spec.clone(), execution.kind.prepare_priority());
        Self { key, waiter: Waiter::Execution(job), spec, priority, precheck: false }
    }
}

/// How an attempt was lost without a report.
#[derive(Debug, Clone)]
pub(crate) enum AttemptLoss {
    /// The scheduler recalled it, or its worker deregistered while it was staged there: not a failure.
    Returned,
    /// It did not begin: refused, not sent, or no worker there. These are bounded.
    NotBegun(String),
    /// The worker could not pull its input: it did not begin, and that says nothing about the worker. Bounded as well.
    NotFetched(String),
    /// Its worker was lost while the job was staged or being fetched there, as far as is known: it may just have begun.
    PerhapsBegun,
    /// Its worker deregistered while it ran. Bounded like an attempt that did not begin: workers that restart in turn
    /// are no failure of anything.
    GivenBack(String),
    /// Its worker does not have it any more, kept it for longer than any job takes, or reported something else.
    Failed(String),
    /// Its worker was lost.
    WorkerLost,
}

impl AttemptLoss {
    /// Whether a report of the attempt may come nevertheless.
    pub(crate) fn may_report(&self) -> bool {
        match self {
            Self::Returned | Self::NotFetched(_) | Self::GivenBack(_) => false,
            Self::NotBegun(_) | Self::PerhapsBegun | Self::Failed(_) | Self::WorkerLost => true,
        }
    }
}

/// How something ended that requests waited for.
#[derive(Debug, Clone)]
pub(crate) struct Completion {
    pub(crate) outcome: WireOutcome,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) code_hash: CodeHash,
    pub(crate) artifact: Option<ArtifactSummary>,
    pub(crate) timings: Timings,
    pub(crate) attempts: u32,
    pub(crate) usage: VerdictUsage,
    pub(crate) second_opinion: Option<Box<SecondOpinion>>,
}

/// What a step leaves to be done next.
#[derive(Debug)]
pub(crate) enum FollowUp {
    /// An execution needs an engine and then its artifact.
    PlaceExecution(JobId),
    /// A request for a preparation needs an engine and then its artifact.
    PlacePreparation(RequestKey),
    /// An artifact is needed.
    NeedArtifact(ArtifactNeed),
    /// An artifact is settled: something that waited for it goes on.
    ServeWaiter { waiter: Waiter, artifact: ArtifactKey },
    /// An execution ends for all its requests.
    FinishExecution { job: JobId, outcome: WireOutcome, worker: Option<WorkerId> },
    /// A request for a preparation ends. `prepared`: the preparation, if the request waited for it.
    FinishPreparation { request: RequestKey, outcome: WireOutcome, prepared: Option<Arc<Made>> },
    /// A single request ends before what it waits for; without an outcome there is no verdict.
    EndRequest { request: RequestKey, outcome: Option<WireOutcome> },
    /// Queues of engines without workers may be worked on by another engine.
    ReassignStranded,
    /// An adopted attempt has ended already, with this report.
    AdoptedReport { worker: WorkerId, report: Box<JobReport> },
    /// An attempt was lost without a report. If it still has a slot, it has been cancelled.
    AttemptLost { ended: EndedAttempt, loss: AttemptLoss },
}

/// Work that may be long: it is done piece by piece after each event, so that no event waits for all of it.
#[derive(Debug)]
pub(crate) enum BackgroundTask {
    /// The waiters of a settled artifact go on.
    Release(ArtifactKey),
    /// The requests of a retired leaf expire.
    ExpireOrphans(ClientKey, RelayHash),
    /// These requests get their verdict.
    Answer(Vec<RequestKey>, Box<Completion>),
    /// Unassigned jobs look for an engine.
    AssignEngines,
    /// The queues of an engine without workers: other engines may do the work.
    Reassign(EngineKey),
    /// Unused artifacts are dropped, from this one on.
    Prune(Option<(Timestamp, ArtifactKey)>),
}

/// What steps leave behind.
#[derive(Debug, Default)]
pub(crate) struct Out {
    effects: VecDeque<Effect>,
    /// Follow-ups of the step that runs.
    new: Vec<FollowUp>,
    /// Follow-ups to run, the next one at the end.
    pending: Vec<FollowUp>,
    pub(crate) background: VecDeque<BackgroundTask>,
    pub(crate) counts: Counts,
    /// The report that the current event brought as the answer to a dispatch. Its acknowledgement travels with the next
    /// dispatch to that worker, or as a message of its own at the end of the event.
    unacknowledged: Option<(WorkerId, RunningJob)>,
}

impl Out {
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn pop_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    /// An attempt is over without a verdict, and the job is tried again.
    pub(crate) fn notice_retry(&mut self, ended: &EndedAttempt, about: JobSubject, why: RetryReason) {
        let EndedAttempt { at, site } = ended;
        let kind = about.worker_kind();
        self.notice(Notice::JobRetried { job: at.job, attempt: at.attempt, kind, worker: site.worker, about, why });
    }

    /// Answers a bus request, if an answer is expected.
    pub(crate) fn reply(&mut self, to: Option<Subject>, answer: Answer) {
        if let Some(to) = to {
            self.effect(Effect::Reply { to, answer });
        }
    }

    /// Leaves something to be done right after this step.
    pub(crate) fn follow_up(&mut self, follow_up: FollowUp) {
        self.new.push(follow_up);
    }

    /// The next follow-up: those of the last step come first, in their order.
    pub(crate) fn next_follow_up(&mut self) -> Option<FollowUp> {
        self.pending.extend(self.new.drain(..).rev());
        self.pending.pop()
    }

    /// Notes a report whose acknowledgement may travel with a dispatch.
    pub(crate) fn acknowledge_later(&mut self, worker: WorkerId, report: RunningJob) {
        self.unacknowledged = Some((worker, report));
    }

    /// The reports that a dispatch to this worker acknowledges.
    pub(crate) fn acknowledgements_for(&mut self, worker: WorkerId) -> Vec<RunningJob> {
        self.unacknowledged.take_if(|(of, _)| *of == worker).into_iter().map(|(_, report)| report).collect()
    }

    /// Acknowledges a report with a message of its own, if no dispatch did.
    pub(crate) fn flush_acknowledgement(&mut self) {
        if let Some((worker, report)) = self.unacknowledged.take() {
            let message = ToWorker::Acknowledge { reports: vec![report] };
            self.effect(Effect::ToWorker { worker, message });
        }
    }

    /// Two parts of the scheduler contradict each other. This is counted and logged, and fails tests and the
    /// simulation; the caller goes on as well as it can.
    pub(crate) fn inconsistent(&mut self, what: impl fmt::Display) {
        self.counts.inconsistencies += 1;
        self.notice(Notice::Inconsistent { what: what.to_string() });
    }

    /// The state before a transition; an illegal one is an inconsistency.
    pub(crate) fn checked<S>(&mut self, transition: Result<S, IllegalTransition>) -> Option<S> {
        transition.map_err(|error| self.inconsistent(error)).ok()
    }
}
