//! What becomes of an artifact: looked up, prepared, dropped, and everybody who waits for it told.

use super::{
    Effect, Moment, Scheduler,
    artifacts::{Artifact, ArtifactKey, State, Waiter},
    chores::Chore,
    fleet::Avoid,
    prepare_queue::Turn,
    programs::Program,
    requests::Wants,
};
use pvf_shared::{
    ids::{ArtifactId, Attempt, JobId},
    job::ArtifactInfo,
    priority::PreparePriority,
    store::Found,
    verdict::{InternalError, Outcome, PrepareError},
};
use std::sync::Arc;

/// Whether an artifact could not be made because of limits that are not those of this program.
fn failed_by_limits(artifact: &Artifact, program: &Program) -> bool {
    let made = artifact.program.as_deref();
    matches!(&artifact.state, State::Failed { error, .. } if error.depends_on_limits())
        && made.is_some_and(|made| !made.same_limits(program))
}

/// A preparation in the queue or at a worker.
#[derive(Debug)]
pub(super) struct Preparation {
    pub(super) artifact: ArtifactKey,
    /// Its place in the queue, as long as it waits there.
    pub(super) turn: Option<Turn>,
    /// When it came into the queue first.
    pub(super) enqueued: Moment,
    pub(super) avoid: Avoid,
    pub(super) our_failures: u32,
    pub(super) deaths: u32,
    pub(super) last_attempt: Attempt,
    pub(super) dispatched: Option<Moment>,
}

impl Scheduler {
    /// Somebody needs an artifact: goes on at once, or waits. The program comes by value: whoever goes on may end,
    /// and then nobody else may seem to use it.
    pub(super) fn need_artifact(
        &mut self,
        key: ArtifactKey,
        waiter: Waiter,
        (program, priority, precheck): (Arc<Program>, PreparePriority, bool),
        now: Moment,
    ) {
        self.artifacts.touch(key, now);
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        if artifact.program.is_none() || artifact.is_idle() {
            // Whoever asks first after a pause says how it is to be made, should it have to be made again.
            (artifact.priority, artifact.precheck) = (priority, precheck);
            if !failed_by_limits(artifact, &program) {
                self.set_program(key, &program);
            }
        }
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        artifact.priority = artifact.priority.max(priority);
        artifact.precheck &= precheck;
        match &artifact.state {
            State::LookingUp | State::Dropping | State::Abandoned(_) => drop(artifact.waiters.insert(waiter)),
            State::Listed => {
                artifact.state = State::LookingUp;
                artifact.waiters.insert(waiter);
                self.effects.push_back(Effect::LookUp { artifact: artifact.id.clone() });
            }
            State::Preparing(job) => {
                artifact.waiters.insert(waiter);
                let (job, priority) = (*job, artifact.priority);
                self.raise(job, priority);
            }
            State::Prepared(_) => {
                drop(program);
                self.waiter_served(waiter, key, true, now);
            }
            State::Failed { .. } if failed_by_limits(artifact, &program) => {
                artifact.waiters.insert(waiter);
                self.set_program(key, &program);
                self.enqueue_preparation(key, now);
            }
            State::Failed { error, at, failures } => {
                let policy = &self.config.policy;
                let again = !error.is_deterministic()
                    && !precheck
                    && *failures < policy.max_preparations
                    && now.since(*at) >= policy.failure_cool_down;
                if again {
                    artifact.failures = *failures;
                    artifact.waiters.insert(waiter);
                    self.enqueue_preparation(key, now);
                } else {
                    drop(program);
                    self.waiter_served(waiter, key, true, now);
                }
            }
        }
    }

    fn set_program(&mut self, key: ArtifactKey, program: &Arc<Program>) {
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        if let Some(old) = artifact.program.replace(program.clone()) {
            self.programs.release(old);
        }
    }

    /// The program that a waiter asked for.
    fn program_of(&self, waiter: Waiter) -> Option<Arc<Program>> {
        match waiter {
            Waiter::Execution(job) => self.executions.get(&job).map(|e| e.errand.program.clone()),
            Waiter::Preparation(request) => match &self.requests.get(&request)?.wants {
                Wants::Preparation(errand) => Some(errand.program.clone()),
                Wants::Execution(..) => None,
            },
        }
    }

    /// Makes a preparation that waits in the queue more urgent; it keeps its arrival.
    pub(super) fn raise(&mut self, job: JobId, priority: PreparePriority) {
        let Some(task) = self.preparations.get_mut(&job) else { return };
        let Some(engine) = self.artifacts.get(task.artifact).map(|a| a.engine) else { return };
        if let Some(turn) = &mut task.turn
            && turn.priority < priority
            && self.prepare_queue.remove(engine, *turn)
        {
            turn.priority = priority;
            self.prepare_queue.push(engine, *turn);
        }
    }

    /// The store answered.
    pub(super) fn on_looked_up(&mut self, id: &ArtifactId, found: Result<Option<Found>, String>, now: Moment) {
        let Some(key) = self.artifact_key(id) else { return };
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        if !matches!(artifact.state, State::LookingUp) {
            return;
        }
        match found {
            Ok(Some(Found::Prepared(info))) => self.artifact_is_there(key, info, false),
            Ok(Some(Found::Failed(error))) => self.fail_artifact(key, error, now),
            Ok(Some(Found::Damaged)) => self.drop_artifact(key),
            Ok(None) => self.enqueue_preparation(key, now),
            Err(why) => self.abandon_artifact(key, InternalError::Store(why)),
        }
    }

    /// The number of an artifact that is in the table.
    pub(super) fn artifact_key(&self, id: &ArtifactId) -> Option<ArtifactKey> {
        let engine = self.fleet.find_engine(&id.engine)?;
        self.artifacts.find(id.code_hash, id.prep_hash, engine)
    }

    /// It is in the store, and `fresh` if it was prepared just now.
    pub(super) fn artifact_is_there(&mut self, key: ArtifactKey, info: ArtifactInfo, fresh: bool) {
        self.artifacts.set_bytes(key, info.bytes);
        if let Some(artifact) = self.artifacts.get_mut(key) {
            artifact.failures = 0;
            if !fresh {
                artifact.prepare_times = None;
            }
        }
        self.settle(key, State::Prepared(info));
    }

    fn settle(&mut self, key: ArtifactKey, state: State) {
        if let Some(artifact) = self.artifacts.get_mut(key) {
            artifact.state = state;
            self.chores.push_back(Chore::Release(key));
        }
    }

    /// Puts an artifact's preparation into the queue.
    fn enqueue_preparation(&mut self, key: ArtifactKey, now: Moment) {
        let job = self.next_job();
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        artifact.state = State::Preparing(job);
        artifact.prepare_times = None;
        let turn = Turn { priority: artifact.priority, place: (now, job) };
        self.prepare_queue.push(artifact.engine, turn);
        let task = Preparation {
            artifact: key,
            turn: Some(turn),
            enqueued: now,
            avoid: Vec::new(),
            our_failures: 0,
            deaths: 0,
            last_attempt: 0,
            dispatched: None,
        };
        self.preparations.insert(job, task);
        self.counts.prepare_enqueued += 1;
    }

    /// Puts a preparation that came back into the queue again, where it was.
    pub(super) fn requeue_preparation(&mut self, job: JobId) {
        let Some(task) = self.preparations.get_mut(&job) else { return };
        let Some(artifact) = self.artifacts.get(task.artifact) else { return };
        let turn = Turn { priority: artifact.priority, place: (task.enqueued, job) };
        (task.turn, task.dispatched) = (Some(turn), None);
        self.prepare_queue.push(artifact.engine, turn);
    }

    /// The artifact in the store is not to be trusted (or not there): drop it and prepare it again if somebody
    /// needs it.
    pub(super) fn drop_artifact(&mut self, key: ArtifactKey) {
        self.artifacts.set_bytes(key, 0);
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        artifact.state = State::Dropping;
        artifact.holders.clear();
        self.effects.push_back(Effect::Drop { artifact: artifact.id.clone() });
    }

    /// An attempt found the artifact missing, damaged or unusable; `used` is what it was given.
    pub(super) fn suspect_artifact(&mut self, key: ArtifactKey, used: Option<ArtifactInfo>) {
        let Some(artifact) = self.artifacts.get(key) else { return };
        // Somebody else may have had it replaced meanwhile.
        if let State::Prepared(current) = artifact.state
            && used.is_none_or(|used| used == current)
        {
            self.drop_artifact(key);
        }
    }

    /// The store has dropped it.
    pub(super) fn on_dropped(&mut self, id: &ArtifactId, now: Moment) {
        let Some(key) = self.artifact_key(id) else { return };
        let Some(artifact) = self.artifacts.get(key) else { return };
        if !matches!(artifact.state, State::Dropping) {
            return;
        }
        if !artifact.waiters.is_empty() {
            self.enqueue_preparation(key, now);
        } else if artifact.users == 0 {
            self.forget_artifact(key);
        } else {
            // Queued executions mean to use it: when their turn comes they ask for it again.
            self.settle(key, State::Listed);
        }
    }

    fn forget_artifact(&mut self, key: ArtifactKey) {
        if let Some(program) = self.artifacts.remove(key).and_then(|a| a.program) {
            self.programs.release(program);
        }
    }

    /// Preparation failed: everybody who waits is told, and the failure is kept.
    pub(super) fn fail_artifact(&mut self, key: ArtifactKey, error: PrepareError, now: Moment) {
        let Some(artifact) = self.artifacts.get_mut(key) else { return };
        artifact.failures += 1;
        let failures = artifact.failures;
        self.settle(key, State::Failed { error, at: now, failures });
    }

    /// We could not even try: everybody who waits is told, and nothing is kept.
    pub(super) fn abandon_artifact(&mut self, key: ArtifactKey, error: InternalError) {
        self.settle(key, State::Abandoned(error));
    }

    /// Lets some of those go on who wait for an artifact; whether there are more.
    pub(super) fn release_some(&mut self, key: ArtifactKey, most: usize, now: Moment) -> bool {
        for _ in 0..most {
            let Some(artifact) = self.artifacts.get_mut(key) else { return false };
            match artifact.state {
                State::Prepared(_) | State::Failed { .. } | State::Abandoned(_) => {}
                // It is being made again: they wait on.
                State::Listed | State::LookingUp | State::Dropping | State::Preparing(_) => return false,
            }
            let Some(waiter) = artifact.waiters.pop_first() else {
                if matches!(artifact.state, State::Abandoned(_)) {
                    if artifact.users == 0 {
                        self.forget_artifact(key);
                    } else {
                        // Queued executions mean to use it: when their turn comes they ask for it again.
                        artifact.state = State::Listed;
                    }
                }
                return false;
            };
            let cached = artifact.prepare_times.is_none();
            self.waiter_served(waiter, key, cached, now);
        }
        true
    }

    /// Somebody goes on, with an artifact whose state is settled. `cached`: it did not have to wait for it.
    fn waiter_served(&mut self, waiter: Waiter, key: ArtifactKey, cached: bool, now: Moment) {
        let failed = self.artifacts.get(key).is_some_and(|artifact| matches!(artifact.state, State::Failed { .. }));
        if failed
            && let (Some(program), Some(artifact)) = (self.program_of(waiter), self.artifacts.get_mut(key))
            && failed_by_limits(artifact, &program)
        {
            // It was made with somebody else's limits: now with this one's.
            artifact.waiters.insert(waiter);
            self.set_program(key, &program);
            self.enqueue_preparation(key, now);
            return;
        }
        let Some(artifact) = self.artifacts.get(key) else { return };
        let times = artifact.prepare_times.filter(|_| !cached);
        let outcome = match &artifact.state {
            State::Failed { error, .. } => Outcome::PreparationFailed(error.clone()),
            State::Abandoned(error) => Outcome::Internal(error.clone()),
            _ => {
                match waiter {
                    Waiter::Preparation(request) => {
                        self.finish_preparation(request, Outcome::PrecheckOk, times, now);
                    }
                    Waiter::Execution(job) => self.execution_ready(job, times, now),
                }
                return;
            }
        };
        match waiter {
            Waiter::Preparation(request) => self.finish_preparation(request, outcome, times, now),
            Waiter::Execution(job) => {
                if let Some(execution) = self.executions.get_mut(&job) {
                    execution.errand.artifact_is_there(times, now);
                }
                self.finish_execution(job, outcome, None, now);
            }
        }
    }
}
