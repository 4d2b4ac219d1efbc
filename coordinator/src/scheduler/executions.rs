//! Executions: one for all requests that ask for the same validation at the same time.

use super::{
    Moment, Scheduler,
    artifacts::{ArtifactKey, State, Waiter},
    clients::ClientKey,
    fair::Spot,
    fleet::{Avoid, EngineKey},
    programs::Program,
    requests::Errand,
};
use pvf_shared::{
    ids::{Attempt, JobId, RequestId, ValidationKey, WorkerId},
    job::ArtifactInfo,
    priority::ExecuteKind,
    wire::{ExecuteSubmission, WorkerKind},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Where an execution is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stage {
    /// No worker is there that could say which engine to use.
    Homeless,
    /// Its artifact is looked up or prepared.
    Waiting,
    /// It waits for a slot.
    Queued(Spot),
    /// A worker has it.
    Running { attempt: Attempt, worker: WorkerId },
}

/// One validation.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) errand: Errand,
    /// The most urgent kind of those who wait.
    pub(super) kind: ExecuteKind,
    /// The earliest deadline of those who wait.
    pub(super) deadline: Moment,
    /// As it was submitted, but for `relay_leaf`: that of the first who waits, if it may be orphaned.
    pub(super) work: ExecuteSubmission,
    /// What makes two validations the same.
    pub(super) identity: ValidationKey,
    /// Others with the same identity join this one, which is among the scheduler's `identities`.
    pub(super) shared: bool,
    pub(super) waiters: SmallVec<[RequestId; 1]>,
    /// Whose turns it takes: the client of the first who waits.
    pub(super) client: ClientKey,
    /// Bytes that it holds inline, and for which client and kind they count.
    pub(super) bytes: u64,
    pub(super) charged: (ClientKey, ExecuteKind),
    pub(super) stage: Stage,
    /// Dispatches so far.
    pub(super) attempts: Attempt,
    /// Of them, those that came back without having begun.
    pub(super) not_begun: u32,
    /// What the last attempt was given.
    pub(super) used: Option<ArtifactInfo>,
    pub(super) avoid: Avoid,
    pub(super) ambiguous: u32,
    pub(super) our_failures: u32,
}

impl Execution {
    /// Attempts that began.
    pub(super) fn begun(&self) -> u32 {
        self.attempts - self.not_begun
    }
}

/// The short form under which an identity is looked up: whoever finds something compares the whole. Two that share
/// a tag, by an accident that nobody will see, just run twice.
pub(super) fn tag(identity: &ValidationKey) -> u64 {
    identity.0.iter().take(8).fold(0, |tag, byte| tag << 8 | u64::from(*byte))
}

impl Scheduler {
    /// The execution under way that is the same validation.
    pub(super) fn same_execution(&self, identity: &ValidationKey) -> Option<JobId> {
        let job = *self.identities.get(&tag(identity))?;
        self.executions.get(&job).is_some_and(|execution| execution.identity == *identity).then_some(job)
    }

    /// Chooses for which engine an execution's artifact is to be, and asks for the artifact.
    pub(super) fn house_execution(&mut self, job: JobId, now: Moment) {
        let Some(execution) = self.executions.get(&job) else { return };
        let (program, kind) = (execution.errand.program.clone(), execution.kind);
        let key =
            self.choose_engine(WorkerKind::Execute, &program).map(|engine| self.artifact_for(&program, engine, now));
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.errand.artifact = key;
        let Some(key) = key else {
            execution.stage = Stage::Homeless;
            self.homeless.insert(Waiter::Execution(job));
            return;
        };
        execution.stage = Stage::Waiting;
        self.need_artifact(key, Waiter::Execution(job), (program, kind.prepare_priority(), false), now);
    }

    /// The artifact of a program for an engine, added to the table if it is new there.
    pub(super) fn artifact_for(&mut self, program: &Arc<Program>, engine: EngineKey, now: Moment) -> ArtifactKey {
        if let Some(key) = program.found(engine)
            && self.artifacts.get(key).is_some()
        {
            return key;
        }
        let key = match self.artifacts.find(program.code.hash, program.prep_hash, engine) {
            Some(key) => key,
            None => {
                let id = program.artifact_id(self.fleet.engine(engine));
                self.artifacts.add(id, engine, State::Listed, now)
            }
        };
        program.note_found(engine, key);
        key
    }

    /// An execution's artifact is there: it is queued.
    pub(super) fn execution_ready(&mut self, job: JobId, times: Option<(Moment, Moment)>, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.errand.artifact_is_there(times, now);
        self.enqueue_execution(job, now);
    }

    /// Puts an execution into the queue; one that was dispatched before goes to the front of its kind.
    pub(super) fn enqueue_execution(&mut self, job: JobId, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        let Some(artifact) = execution.errand.artifact.and_then(|key| self.artifacts.get_mut(key)) else { return };
        artifact.users += 1;
        let client = (execution.attempts == 0).then_some(execution.client);
        let spot = Spot { place: (execution.deadline, job), client };
        execution.stage = Stage::Queued(spot);
        execution.errand.since = now;
        self.counts.execute_enqueued += 1;
        self.execute_queue.push(artifact.engine, execution.kind, spot);
    }

    /// A request joins an execution that is under way: it may make it more urgent.
    pub(super) fn join_execution(
        &mut self,
        job: JobId,
        request: RequestId,
        (kind, deadline): (ExecuteKind, Moment),
        now: Moment,
    ) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.waiters.push(request);
        if let Some(key) = execution.errand.artifact {
            self.artifacts.touch(key, now);
        }
        self.counts.coalesced += 1;
        self.rearrange(job, |execution| {
            execution.kind = execution.kind.min(kind);
            execution.deadline = execution.deadline.min(deadline);
        });
    }

    /// Changes what decides about an execution's turn, wherever it is.
    pub(super) fn rearrange(&mut self, job: JobId, change: impl FnOnce(&mut Execution)) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        let (kind, stage) = (execution.kind, execution.stage.clone());
        change(execution);
        let Some(key) = execution.errand.artifact else { return };
        match stage {
            Stage::Queued(old) => {
                let client = old.client.map(|_| execution.client);
                let spot = Spot { place: (execution.deadline, job), client };
                if (execution.kind, spot) != (kind, old)
                    && let Some(engine) = self.artifacts.get(key).map(|a| a.engine)
                {
                    self.execute_queue.remove(engine, kind, old);
                    self.execute_queue.push(engine, execution.kind, spot);
                    execution.stage = Stage::Queued(spot);
                }
            }
            Stage::Waiting if execution.kind != kind => {
                let priority = execution.kind.prepare_priority();
                self.raise_artifact(key, priority);
            }
            Stage::Homeless | Stage::Waiting | Stage::Running { .. } => {}
        }
    }

    /// Takes an execution out of wherever it is; stops it if it runs. It is in no stage afterwards: whoever calls
    /// this puts it into one, or removes it.
    pub(super) fn withdraw_execution(&mut self, job: JobId, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        let stage = execution.stage.clone();
        match &stage {
            Stage::Homeless => {
                self.homeless.remove(&Waiter::Execution(job));
            }
            Stage::Waiting => {
                if let Some(artifact) = execution.errand.artifact.and_then(|a| self.artifacts.get_mut(a)) {
                    artifact.waiters.remove(&Waiter::Execution(job));
                }
            }
            Stage::Queued(spot) => {
                execution.errand.timings.queued += now.since(execution.errand.since);
                let kind = execution.kind;
                if let Some(artifact) = execution.errand.artifact.and_then(|a| self.artifacts.get_mut(a)) {
                    artifact.users -= 1;
                    let engine = artifact.engine;
                    self.execute_queue.remove(engine, kind, *spot);
                }
            }
            Stage::Running { worker, attempt } => {
                if let Some(artifact) = execution.errand.artifact.and_then(|a| self.artifacts.get_mut(a)) {
                    artifact.users -= 1;
                }
                let (worker, attempt) = (*worker, *attempt);
                if self.fleet.workers.get_mut(&worker).is_some_and(|w| w.slot(job, attempt).is_some()) {
                    self.send_cancel(worker, (job, attempt));
                }
            }
        }
    }

    /// An attempt of an execution is over; the execution is in no stage afterwards.
    pub(super) fn attempt_over(&mut self, job: JobId, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.errand.timings.execute += now.since(execution.errand.since);
        if let Some(artifact) = execution.errand.artifact.and_then(|a| self.artifacts.get_mut(a)) {
            artifact.users -= 1;
        }
        execution.stage = Stage::Homeless;
    }

    /// Forgets an execution that was withdrawn or is over; gives who waited for it.
    pub(super) fn forget_execution(&mut self, job: JobId) -> Option<SmallVec<[RequestId; 1]>> {
        let execution = self.executions.remove(&job)?;
        if execution.shared {
            self.identities.remove(&tag(&execution.identity));
        }
        self.clients.release_bytes(execution.charged, execution.bytes);
        self.programs.release(execution.errand.program);
        Some(execution.waiters)
    }

    pub(super) fn raise_artifact(&mut self, key: ArtifactKey, priority: pvf_shared::priority::PreparePriority) {
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        artifact.priority = artifact.priority.max(priority);
        if let State::Preparing(job) = artifact.state {
            let priority = artifact.priority;
            self.raise(job, priority);
        }
    }
}
