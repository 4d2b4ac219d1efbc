//! The artifact table: which artifacts there are, which are being made, and who waits for them.

use super::{Scheduler, Stage, dispatch::Job, effect::Effect, fleet::Avoid, prepare_queue, timers::Moment};
use pvf_shared::{
    ids::{ArtifactId, JobId, RequestId},
    job::{ArtifactInfo, BlobRef},
    params::ExecutorParams,
    priority::PreparePriority,
    store::Found,
    verdict::{InternalError, Outcome, PrepareError},
    wire::Work,
};
use std::{collections::BTreeSet, time::Duration};

/// A preparation that failed for a reason that may pass is tried again when it is asked for after this.
pub(super) const FAILURE_COOL_DOWN: Duration = Duration::from_secs(15 * 60);
/// And at most this many times.
pub(super) const MAX_FAILURES: u32 = 5;

/// Where an artifact is in its life.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// The store was asked for it.
    LookingUp,
    /// It is being dropped from the store, to be prepared again.
    Dropping,
    /// It is being prepared.
    Preparing(JobId),
    /// It is there.
    Prepared(ArtifactInfo),
    /// It cannot be made.
    Failed { error: PrepareError, at: Moment, failures: u32 },
}

/// One artifact.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) state: State,
    /// Requests that go on when it is there.
    pub(super) waiters: BTreeSet<RequestId>,
    /// How to make it.
    pub(super) recipe: Recipe,
}

/// What a preparation needs.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) code: BlobRef,
    pub(super) executor_params: ExecutorParams,
    pub(super) code_bomb_limit: u32,
    pub(super) prepare_timeout: Option<Duration>,
    pub(super) priority: PreparePriority,
    /// Nobody but pre-checks asked for it so far.
    pub(super) precheck: bool,
    /// Earlier preparations that failed for a reason that may pass.
    pub(super) failures: u32,
}

/// A preparation in the queue or at a worker.
#[derive(Debug)]
pub(super) struct PrepareTask {
    pub(super) artifact: ArtifactId,
    pub(super) avoid: Avoid,
    /// Attempts that failed for our own reasons.
    pub(super) our_failures: u32,
    pub(super) last_attempt: u32,
    pub(super) dispatched: Option<Moment>,
}

impl Recipe {
    fn join(&mut self, other: &Self) {
        self.priority = self.priority.max(other.priority);
        self.precheck &= other.precheck;
    }
}

impl Scheduler {
    /// A request needs an artifact: it goes on at once, or waits.
    pub(super) fn need_artifact(&mut self, request: RequestId, now: Moment) {
        let Some(r) = self.requests.get_mut(&request) else { return };
        let Some(id) = r.artifact.clone() else { return };
        let recipe = r.recipe.clone();
        let precheck = matches!(r.work, Work::Precheck);
        r.stage = Stage::WaitingForArtifact { since: now };
        let artifact = self.artifacts.entry(id.clone()).or_insert_with(|| {
            self.effects.push_back(Effect::LookUp { artifact: id.clone() });
            Artifact { state: State::LookingUp, waiters: BTreeSet::new(), recipe: recipe.clone() }
        });
        match &artifact.state {
            State::LookingUp | State::Dropping => {
                artifact.recipe.join(&recipe);
                artifact.waiters.insert(request);
            }
            State::Preparing(job) => {
                artifact.recipe.join(&recipe);
                artifact.waiters.insert(request);
                self.prepare_queue.raise(*job, prepare_queue::urgency(artifact.recipe.priority));
            }
            State::Prepared(info) => {
                let info = *info;
                self.artifact_ready(request, info, true, now);
            }
            State::Failed { error, at, failures } => {
                let again = !error.is_deterministic()
                    && !precheck
                    && *failures < MAX_FAILURES
                    && now.since(*at) >= FAILURE_COOL_DOWN;
                if again {
                    artifact.recipe = Recipe { failures: *failures, ..recipe };
                    artifact.waiters.insert(request);
                    self.enqueue_preparation(&id);
                } else {
                    let error = error.clone();
                    self.finish(request, Outcome::PreparationFailed(error), None, now);
                }
            }
        }
    }

    /// The store answered.
    pub(super) fn on_looked_up(&mut self, id: ArtifactId, found: Result<Option<Found>, String>, now: Moment) {
        let Some(artifact) = self.artifacts.get_mut(&id) else { return };
        if !matches!(artifact.state, State::LookingUp) {
            return;
        }
        match found {
            Ok(Some(Found::Prepared(info))) => {
                artifact.state = State::Prepared(info);
                self.release(&id, |s, r| s.artifact_ready(r, info, true, now));
            }
            Ok(Some(Found::Failed(error))) => self.fail_artifact(&id, error, now),
            Ok(Some(Found::Damaged)) => self.drop_artifact(&id),
            Ok(None) => self.enqueue_preparation(&id),
            Err(why) => self.abandon_artifact(&id, InternalError::Store(why), now),
        }
    }

    /// Puts an artifact's preparation into the queue.
    pub(super) fn enqueue_preparation(&mut self, id: &ArtifactId) {
        let job = self.next_job();
        let Some(artifact) = self.artifacts.get_mut(id) else { return };
        artifact.state = State::Preparing(job);
        let urgency = prepare_queue::urgency(artifact.recipe.priority);
        self.jobs.insert(
            job,
            Job::Prepare(PrepareTask {
                artifact: id.clone(),
                avoid: Vec::new(),
                our_failures: 0,
                last_attempt: 0,
                dispatched: None,
            }),
        );
        self.counts.prepare_enqueued += 1;
        self.prepare_queue.push(&id.engine, urgency, job);
    }

    /// The artifact in the store is not to be trusted (or not there): drop it and prepare it again.
    pub(super) fn drop_artifact(&mut self, id: &ArtifactId) {
        if let Some(artifact) = self.artifacts.get_mut(id) {
            artifact.state = State::Dropping;
            self.effects.push_back(Effect::Drop { artifact: id.clone() });
            for worker in self.fleet.workers.values_mut() {
                worker.warm.remove(id);
            }
        }
    }

    /// An attempt found the artifact missing, damaged or unusable; `info` is what it was given.
    pub(super) fn suspect_artifact(&mut self, id: &ArtifactId, info: Option<ArtifactInfo>) {
        let Some(artifact) = self.artifacts.get(id) else { return };
        // Somebody else may have had it replaced meanwhile.
        if let State::Prepared(current) = artifact.state
            && info.is_none_or(|info| info == current)
        {
            self.drop_artifact(id);
        }
    }

    /// The store has dropped it.
    pub(super) fn on_dropped(&mut self, id: ArtifactId, now: Moment) {
        let Some(artifact) = self.artifacts.get(&id) else { return };
        if !matches!(artifact.state, State::Dropping) {
            return;
        }
        if artifact.waiters.is_empty() {
            self.artifacts.remove(&id);
        } else {
            self.enqueue_preparation(&id);
            self.pump(now);
        }
    }

    /// Preparation failed: everybody who waits is told, and the failure is kept.
    pub(super) fn fail_artifact(&mut self, id: &ArtifactId, error: PrepareError, now: Moment) {
        let Some(artifact) = self.artifacts.get_mut(id) else { return };
        let failures = artifact.recipe.failures + 1;
        artifact.state = State::Failed { error: error.clone(), at: now, failures };
        self.release(id, |s, r| s.finish(r, Outcome::PreparationFailed(error.clone()), None, now));
    }

    /// We could not even try: everybody who waits is told, and nothing is kept.
    pub(super) fn abandon_artifact(&mut self, id: &ArtifactId, error: InternalError, now: Moment) {
        self.release(id, |s, r| s.finish(r, Outcome::Internal(error.clone()), None, now));
        self.artifacts.remove(id);
    }

    /// Takes everybody who waits for an artifact and does something with each.
    pub(super) fn release(&mut self, id: &ArtifactId, mut each: impl FnMut(&mut Self, RequestId)) {
        let Some(artifact) = self.artifacts.get_mut(id) else { return };
        for request in std::mem::take(&mut artifact.waiters) {
            each(self, request);
        }
    }
}
