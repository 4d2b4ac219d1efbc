//! Executions: one for all requests that ask for the same validation at the same time.

use crate::{
    collections::ShardedMap,
    keys::{AttemptSite, ExcludedWorkers, RequestKey, Spot, UserKey},
    notice::JobSubject,
    tables::{lifecycle::IllegalTransition, opinions::Opinions, reported::ReportedAttempts, requests::JobContext},
    time::Timestamp,
};
use pvf_proto::{
    artifact::ArtifactInfo,
    identity::WorkerId,
    ids::{Attempt, JobId, ValidationKey},
    priority::ExecuteKind,
    wire::ExecuteSubmission,
};
use smallvec::SmallVec;
use std::time::Duration;

/// Where an execution is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExecutionState {
    /// Between stages: new, withdrawn from one, or after an attempt. Never so at the end of an event.
    Unplaced,
    /// No worker is registered that could tell which engine to use.
    AwaitingEngine,
    /// Its artifact is looked up or prepared.
    AwaitingArtifact,
    /// It waits for a slot.
    Queued(Spot),
    /// An attempt came back without having begun; the next one waits until then.
    BackingOff(Timestamp),
    /// A worker has it.
    Running { attempt: Attempt, worker: WorkerId },
}

/// What can happen to an execution.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExecutionEvent {
    /// No engine can be chosen.
    NoEngine,
    /// Its artifact was asked for.
    ArtifactRequested,
    /// It entered the queue.
    Enqueued(Spot),
    /// It changed its place in the queue.
    Moved(Spot),
    /// The next attempt has to wait until then.
    Delayed(Timestamp),
    /// It was dispatched.
    Dispatched { attempt: Attempt, worker: WorkerId },
    /// An attempt of an earlier coordinator, which a worker has, is its attempt.
    Adopted { attempt: Attempt, worker: WorkerId },
    /// It was taken out of the stage that it was in.
    Withdrawn,
    /// Its attempt is over.
    AttemptOver,
}

impl ExecutionState {
    /// The only place where an execution changes its state. Returns the state before.
    pub(crate) fn transition(&mut self, event: ExecutionEvent) -> Result<Self, IllegalTransition> {
        use ExecutionEvent as E;
        use ExecutionState as S;
        let next = match (&*self, event) {
            (S::Unplaced, E::NoEngine) => S::AwaitingEngine,
            (S::Unplaced, E::ArtifactRequested) => S::AwaitingArtifact,
            (S::Unplaced | S::AwaitingArtifact, E::Enqueued(spot)) | (S::Queued(_), E::Moved(spot)) => S::Queued(spot),
            (S::Unplaced, E::Delayed(until)) => S::BackingOff(until),
            (S::Queued(_), E::Dispatched { attempt, worker }) | (S::Unplaced, E::Adopted { attempt, worker }) => {
                S::Running { attempt, worker }
            }
            (
                S::AwaitingEngine | S::AwaitingArtifact | S::Queued(_) | S::BackingOff(_) | S::Running { .. },
                E::Withdrawn,
            )
            | (S::Running { .. }, E::AttemptOver) => S::Unplaced,
            (state, event) => return Err(IllegalTransition::new("execution", state, &event)),
        };
        Ok(std::mem::replace(self, next))
    }
}

/// One validation.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) context: JobContext,
    /// The most urgent kind that any of its requests has had.
    pub(crate) kind: ExecuteKind,
    /// The earliest deadline that any of its requests has had. Each request expires by its own.
    pub(crate) deadline: Timestamp,
    /// As submitted, except `relay_leaf`: the leaf of the first request, if that one has one.
    pub(crate) work: ExecuteSubmission,
    /// Equal for two validations that are the same.
    pub(crate) identity: ValidationKey,
    /// Later requests with the same identity join this execution.
    pub(crate) shared: bool,
    /// The requests that wait for it, the first one first.
    pub(crate) waiters: SmallVec<[RequestKey; 1]>,
    /// The user of the first request, whose fair share it uses.
    pub(crate) user: UserKey,
    /// Bytes of input that it holds in memory, and of the result of a first opinion.
    pub(crate) bytes: u64,
    /// For which user and kind these bytes are counted.
    pub(crate) charged: (UserKey, ExecuteKind),
    state: ExecutionState,
    /// Dispatches so far.
    pub(crate) attempts: Attempt,
    /// Attempts that came back without having begun.
    pub(crate) not_begun: u32,
    /// Attempts that count for the bound: refused, not sent, no worker there, or given back.
    pub(crate) not_begun_failures: u32,
    /// The artifact that the last attempt was given.
    pub(crate) used: Option<ArtifactInfo>,
    pub(crate) excluded: ExcludedWorkers,
    /// Attempts that were lost without a report, and where: a late report of one may still decide.
    pub(crate) lost: Vec<(Attempt, AttemptSite)>,
    pub(crate) ambiguous: u32,
    /// Where the last ambiguous attempt was.
    pub(crate) ambiguous_at: Option<Box<AttemptSite>>,
    pub(crate) infra_failures: u32,
    pub(crate) reported: ReportedAttempts,
    pub(crate) opinions: Opinions,
}

/// What an execution is made of.
pub(crate) struct NewExecution {
    pub(crate) context: JobContext,
    pub(crate) deadline: Timestamp,
    pub(crate) work: ExecuteSubmission,
    pub(crate) identity: ValidationKey,
    pub(crate) request: RequestKey,
    pub(crate) user: UserKey,
    pub(crate) bytes: u64,
}

impl Execution {
    pub(crate) fn new(new: NewExecution) -> Self {
        Self {
            kind: new.work.kind,
            charged: (new.user, new.work.kind),
            shared: !new.work.fresh,
            context: new.context,
            deadline: new.deadline,
            work: new.work,
            identity: new.identity,
            waiters: std::iter::once(new.request).collect(),
            user: new.user,
            bytes: new.bytes,
            state: ExecutionState::Unplaced,
            attempts: 0,
            not_begun: 0,
            not_begun_failures: 0,
            used: None,
            excluded: Vec::new(),
            lost: Vec::new(),
            ambiguous: 0,
            ambiguous_at: None,
            infra_failures: 0,
            reported: ReportedAttempts::default(),
            opinions: Opinions::None,
        }
    }

    pub(crate) fn state(&self) -> &ExecutionState {
        &self.state
    }

    /// See [`ExecutionState::transition`].
    pub(crate) fn transition(&mut self, event: ExecutionEvent) -> Result<ExecutionState, IllegalTransition> {
        self.state.transition(event)
    }

    /// Its context with the time so far in the stage that it is in, unless that is the way to its artifact.
    pub(crate) fn context_at(&self, now: Timestamp) -> JobContext {
        let mut context = self.context.clone();
        match self.state {
            ExecutionState::AwaitingEngine | ExecutionState::Queued(_) | ExecutionState::BackingOff(_) => {
                context.note_queued(now);
            }
            ExecutionState::Running { .. } => context.timings.execute += now.since(context.since),
            ExecutionState::Unplaced | ExecutionState::AwaitingArtifact => {}
        }
        context
    }

    /// CPU time limit of its attempts.
    pub(crate) fn cpu_limit(&self) -> Duration {
        let of_kind = || self.context.spec.executor_params.exec_timeout(self.kind.exec_timeout_kind());
        self.work.exec_timeout.unwrap_or_else(of_kind)
    }

    /// Attempts that began.
    pub(crate) fn begun(&self) -> u32 {
        self.attempts - self.not_begun
    }

    /// Where an attempt was that was lost at this worker.
    pub(crate) fn lost_at(&self, attempt: Attempt, worker: WorkerId) -> Option<&AttemptSite> {
        self.lost.iter().find(|(lost, site)| (*lost, site.worker) == (attempt, worker)).map(|(_, site)| site)
    }

    pub(crate) fn subject(&self) -> JobSubject {
        JobSubject::Execution(self.waiters.first().map(|request| request.id))
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, ExecutionState::Running { .. })
    }

    /// Whether this is the attempt that a worker has now.
    pub(crate) fn is_current(&self, attempt: Attempt) -> bool {
        matches!(self.state, ExecutionState::Running { attempt: current, .. } if current == attempt)
    }
}

/// The executions, by job and by identity.
#[derive(Debug, Default)]
pub(crate) struct Executions {
    by_job: ShardedMap<JobId, Box<Execution>>,
    /// Executions that later requests may join, by a tag of their identity.
    by_tag: ShardedMap<u64, JobId>,
}

/// The first eight bytes of an identity: the index is smaller with them, and a found execution is compared in full.
/// When two identities share a tag (once in 2^64), the later execution is not shared.
fn tag(identity: &ValidationKey) -> u64 {
    identity.0.iter().take(8).fold(0, |tag, byte| tag << 8 | u64::from(*byte))
}

impl Executions {
    pub(crate) fn get(&self, job: JobId) -> Option<&Execution> {
        self.by_job.get(&job).map(|execution| &**execution)
    }

    pub(crate) fn get_mut(&mut self, job: JobId) -> Option<&mut Execution> {
        self.by_job.get_mut(&job).map(|execution| &mut **execution)
    }

    pub(crate) fn contains(&self, job: JobId) -> bool {
        self.by_job.contains_key(&job)
    }

    /// The execution that a request with this identity joins.
    pub(crate) fn find_same(&self, identity: &ValidationKey) -> Option<JobId> {
        let job = *self.by_tag.get(&tag(identity))?;
        self.get(job).is_some_and(|execution| execution.identity == *identity).then_some(job)
    }

    pub(crate) fn insert(&mut self, job: JobId, mut execution: Execution) {
        let tag = tag(&execution.identity);
        execution.shared &= !self.by_tag.contains_key(&tag);
        if execution.shared {
            self.by_tag.insert(tag, job);
        }
        self.by_job.insert(job, Box::new(execution));
    }

    pub(crate) fn remove(&mut self, job: JobId) -> Option<Execution> {
        let execution = self.by_job.remove(&job)?;
        if execution.shared {
            self.by_tag.remove(&tag(&execution.identity));
        }
        Some(*execution)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_job.len()
    }

    /// How many may be joined: for checks.
    pub(crate) fn shared(&self) -> usize {
        self.by_tag.len()
    }

    /// Every execution, in no particular order: for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Execution)> {
        self.by_job.iter().map(|(job, execution)| (*job, &**execution))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::lifecycle::assert_lifecycle;
    use pvf_proto::identity::{UserName, WorkerKind};
    use pvf_proto::ids::JobId;

    #[test]
    fn the_lifecycle_has_these_transitions_and_no_others() {
        use ExecutionEvent as E;
        use ExecutionState as S;
        let at = Timestamp::default();
        let worker = WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::nil() };
        let spot = |job| Spot { place: (at, JobId(job)), user: None };
        let states = [
            S::Unplaced,
            S::AwaitingEngine,
            S::AwaitingArtifact,
            S::Queued(spot(1)),
            S::Queued(spot(2)),
            S::BackingOff(at),
            S::Running { attempt: 1, worker },
        ];
        let events = [
            E::NoEngine,
            E::ArtifactRequested,
            E::Enqueued(spot(1)),
            E::Moved(spot(2)),
            E::Delayed(at),
            E::Dispatched { attempt: 1, worker },
            E::Adopted { attempt: 1, worker },
            E::Withdrawn,
            E::AttemptOver,
        ];
        let legal = [
            (S::Unplaced, E::NoEngine, S::AwaitingEngine),
            (S::Unplaced, E::ArtifactRequested, S::AwaitingArtifact),
            (S::Unplaced, E::Enqueued(spot(1)), S::Queued(spot(1))),
            (S::Unplaced, E::Delayed(at), S::BackingOff(at)),
            (S::Unplaced, E::Adopted { attempt: 1, worker }, S::Running { attempt: 1, worker }),
            (S::AwaitingEngine, E::Withdrawn, S::Unplaced),
            (S::AwaitingArtifact, E::Enqueued(spot(1)), S::Queued(spot(1))),
            (S::AwaitingArtifact, E::Withdrawn, S::Unplaced),
            (S::Queued(spot(1)), E::Moved(spot(2)), S::Queued(spot(2))),
            (S::Queued(spot(1)), E::Dispatched { attempt: 1, worker }, S::Running { attempt: 1, worker }),
            (S::Queued(spot(1)), E::Withdrawn, S::Unplaced),
            (S::Queued(spot(2)), E::Moved(spot(2)), S::Queued(spot(2))),
            (S::Queued(spot(2)), E::Dispatched { attempt: 1, worker }, S::Running { attempt: 1, worker }),
            (S::Queued(spot(2)), E::Withdrawn, S::Unplaced),
            (S::BackingOff(at), E::Withdrawn, S::Unplaced),
            (S::Running { attempt: 1, worker }, E::Withdrawn, S::Unplaced),
            (S::Running { attempt: 1, worker }, E::AttemptOver, S::Unplaced),
        ];
        assert_lifecycle((&states, &events), &legal, |mut state, event| (state.transition(event), state));
    }

    #[test]
    fn an_illegal_transition_states_what_was_to_happen() {
        let error = ExecutionState::Unplaced.transition(ExecutionEvent::AttemptOver).unwrap_err();
        assert_eq!(error.to_string(), "execution in state Unplaced cannot take AttemptOver");
    }
}
