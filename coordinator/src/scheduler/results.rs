//! How attempts end: reports, losses, retries by the blame table.

use super::{
    Answer, Effect, Moment, Scheduler,
    artifacts::{ArtifactKey, Waiter},
    executions::Stage,
};
use pvf_shared::{
    ids::{ArtifactId, Attempt, JobId, WorkerId},
    job::{ExecuteOutcome, JobOutcome, PrepareOutcome},
    subjects::Subject,
    verdict::{AmbiguousReason, InternalError, Outcome, PrepareError},
    wire::{JobReport, RunningJob, WorkerReply},
};

/// Attempts that may fail for our own reasons before the verdict says so.
const MAX_OUR_FAILURES: u32 = 3;
/// An ambiguous failure is asked once more.
const MAX_AMBIGUOUS: u32 = 1;

/// Where an attempt was: its worker, and that worker's machine.
pub(super) type Origin = (WorkerId, String);

/// How an attempt was lost without a report.
#[derive(Debug, Clone)]
pub(super) enum Loss {
    /// It never began.
    NotBegun,
    /// Its worker vanished while it waited there for a slot, as far as we know: it may just have begun.
    PerhapsBegun,
    /// Its worker gave it back, or we could not talk to it.
    GivenBack(String),
    /// Its worker vanished.
    WorkerDied,
}

impl Scheduler {
    pub(super) fn on_report(&mut self, report: JobReport, reply: Option<Subject>, now: Moment) {
        let (job, attempt) = (report.job, report.attempt);
        match reply {
            Some(_) => self.reply(reply, Answer::Worker(WorkerReply::Ack)),
            // It came as the answer to its dispatch.
            None => self.acknowledged = Some((report.worker, RunningJob { token: report.token, job, attempt })),
        }
        // The lease: only the attempt that holds a slot here, by this coordinator's word, has a say.
        if report.token != self.config.token || self.fleet.vacate(report.worker, job, attempt).is_none() {
            return;
        }
        let at = (job, attempt);
        match report.outcome {
            JobOutcome::Prepare(outcome) if self.current_execution(at).is_none() => {
                self.on_prepared(report.worker, at, outcome, now);
            }
            JobOutcome::Execute(outcome) if self.current_preparation(at).is_none() => {
                self.on_executed(report.worker, at, outcome, now);
            }
            // Whatever it did, it was not this job.
            JobOutcome::Prepare(_) | JobOutcome::Execute(_) => {
                let why = "the worker reported a job of the other kind".into();
                self.attempt_lost(self.origin(report.worker), at, Loss::GivenBack(why), now);
            }
        }
    }

    /// Where a worker is that is here.
    fn origin(&self, worker: WorkerId) -> Origin {
        (worker, self.host_of(&worker).unwrap_or_default())
    }

    fn on_prepared(&mut self, worker: WorkerId, at: (JobId, Attempt), outcome: PrepareOutcome, now: Moment) {
        let Some(key) = self.current_preparation(at) else { return };
        self.counts.prepare_concluded += 1;
        match outcome {
            PrepareOutcome::Prepared(info) => {
                self.note_prepare_times(at.0, key, now);
                self.preparations.remove(&at.0);
                self.artifact_is_there(key, info, true);
            }
            PrepareOutcome::Failed(error) => {
                self.note_prepare_times(at.0, key, now);
                self.preparations.remove(&at.0);
                self.fail_artifact(key, error, now);
            }
            PrepareOutcome::Internal(error) => self.preparation_failed_us(self.origin(worker), at.0, error),
        }
    }

    /// The artifact of a preparation, if this is its attempt that counts.
    fn current_preparation(&self, (job, attempt): (JobId, Attempt)) -> Option<ArtifactKey> {
        let task = self.preparations.get(&job)?;
        (task.last_attempt == attempt && task.turn.is_none()).then_some(task.artifact)
    }

    fn preparation_failed_us(&mut self, from: Origin, job: JobId, error: InternalError) {
        let Some(task) = self.preparations.get_mut(&job) else { return };
        task.our_failures += 1;
        task.avoid.push(from);
        if task.our_failures < MAX_OUR_FAILURES {
            self.requeue_preparation(job);
            return;
        }
        let key = task.artifact;
        self.preparations.remove(&job);
        if let (InternalError::InputBlob(_), Some(artifact)) = (&error, self.artifacts.get(key)) {
            self.effects.push_back(Effect::ForgetCode { code: artifact.id.code_hash });
        }
        self.abandon_artifact(key, error);
    }

    /// Preparing may be what killed the worker: not for ever.
    fn preparation_killed_worker(&mut self, from: Origin, job: JobId, key: ArtifactKey, now: Moment) {
        let max = self.config.policy.max_deaths;
        let Some(task) = self.preparations.get_mut(&job) else { return };
        task.deaths += 1;
        task.avoid.push(from);
        if task.deaths < max {
            self.requeue_preparation(job);
        } else {
            self.preparations.remove(&job);
            self.counts.quarantined += 1;
            self.fail_artifact(
                key,
                PrepareError::JobDied(format!("{max} workers died while preparing this code")),
                now,
            );
        }
    }

    fn on_executed(&mut self, worker: WorkerId, at: (JobId, Attempt), outcome: ExecuteOutcome, now: Moment) {
        let Some(job) = self.current_execution(at) else { return };
        self.counts.execute_finished += 1;
        if let Some(key) = self.executions.get(&job).and_then(|e| e.errand.artifact) {
            self.note_held(key, worker, true);
        }
        self.attempt_over(job, now);
        match outcome {
            ExecuteOutcome::Valid(result) => self.finish_execution(job, Outcome::Valid(result), Some(worker), now),
            ExecuteOutcome::Invalid(reason) => self.finish_execution(job, Outcome::Invalid(reason), Some(worker), now),
            ExecuteOutcome::Ambiguous(reason) => self.ambiguous(job, self.origin(worker), reason, now),
            ExecuteOutcome::Internal(error) => self.execution_failed_us(job, self.origin(worker), error, now),
        }
    }

    /// The execution of an attempt, if it is the one that counts.
    fn current_execution(&self, (job, attempt): (JobId, Attempt)) -> Option<JobId> {
        let execution = self.executions.get(&job)?;
        matches!(execution.stage, Stage::Running { attempt: current, .. } if current == attempt).then_some(job)
    }

    fn ambiguous(&mut self, job: JobId, from: Origin, reason: AmbiguousReason, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        if execution.ambiguous >= MAX_AMBIGUOUS {
            self.finish_execution(job, Outcome::PossiblyInvalid(reason), Some(from.0), now);
            return;
        }
        execution.ambiguous += 1;
        execution.avoid.push(from);
        self.counts.retried += 1;
        if reason.suspects_artifact() {
            self.prepare_again(job, now);
        } else {
            self.enqueue_execution(job, now);
        }
    }

    fn execution_failed_us(&mut self, job: JobId, from: Origin, error: InternalError, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.our_failures += 1;
        if execution.our_failures >= MAX_OUR_FAILURES {
            self.finish_execution(job, Outcome::Internal(error), Some(from.0), now);
            return;
        }
        self.counts.retried += 1;
        if let InternalError::ArtifactMissing(_) = error {
            // Not the worker's doing: any may try again once the artifact is back.
            self.prepare_again(job, now);
        } else {
            execution.avoid.push(from);
            self.enqueue_execution(job, now);
        }
    }

    /// Drops the artifact of an execution that is in no stage, and has it wait for a new one.
    fn prepare_again(&mut self, job: JobId, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        let Some(key) = execution.errand.artifact else { return };
        let (program, priority) = (execution.errand.program.clone(), execution.kind.prepare_priority());
        (execution.stage, execution.errand.since) = (Stage::Waiting, now);
        let used = execution.used;
        self.suspect_artifact(key, used);
        if self.artifacts.get(key).is_none() {
            self.house_execution(job, now);
            return;
        }
        self.need_artifact(key, Waiter::Execution(job), (program, priority, false), now);
    }

    /// An attempt ended without a report; it has no slot any more, or is being cancelled.
    pub(super) fn attempt_lost(&mut self, from: Origin, at: (JobId, Attempt), loss: Loss, now: Moment) {
        if let Some(key) = self.current_preparation(at) {
            match loss {
                Loss::NotBegun | Loss::PerhapsBegun => self.requeue_preparation(at.0),
                Loss::GivenBack(why) => self.preparation_failed_us(from, at.0, InternalError::WorkerDraining(why)),
                Loss::WorkerDied => self.preparation_killed_worker(from, at.0, key, now),
            }
        } else if let Some(job) = self.current_execution(at) {
            self.attempt_over(job, now);
            match loss {
                Loss::NotBegun => self.execution_came_back(job, now),
                Loss::PerhapsBegun if self.note_death(job, now) => {
                    let outcome = Outcome::PossiblyInvalid(AmbiguousReason::WorkerDeath);
                    self.finish_execution(job, outcome, Some(from.0), now);
                }
                Loss::PerhapsBegun => self.execution_came_back(job, now),
                Loss::GivenBack(why) => {
                    self.execution_failed_us(job, from, InternalError::WorkerDraining(why), now);
                }
                Loss::WorkerDied => {
                    self.note_death(job, now);
                    self.ambiguous(job, from, AmbiguousReason::WorkerDeath, now);
                }
            }
        }
    }

    /// A worker died that had this; whether that were as many as may.
    fn note_death(&mut self, job: JobId, now: Moment) -> bool {
        let Some(identity) = self.executions.get(&job).map(|e| e.identity) else { return false };
        self.quarantine.note_death(identity, now);
        self.quarantine.holds(&identity, self.config.policy.max_deaths, now)
    }

    /// A dispatched execution came back without having begun: it costs no attempt and no share.
    fn execution_came_back(&mut self, job: JobId, now: Moment) {
        let Some(execution) = self.executions.get_mut(&job) else { return };
        execution.not_begun += 1;
        self.counts.came_back += 1;
        let kind = execution.kind;
        if let Some(artifact) = execution.errand.artifact.and_then(|key| self.artifacts.get(key)) {
            let engine = artifact.engine;
            self.execute_queue.came_back(engine, kind);
        }
        self.enqueue_execution(job, now);
    }

    pub(super) fn host_of(&self, worker: &WorkerId) -> Option<String> {
        self.fleet.workers.get(worker).map(|w| w.hello.host.clone())
    }

    /// Notes when an artifact's preparation was dispatched and when it ended, for those who waited for it.
    fn note_prepare_times(&mut self, job: JobId, key: ArtifactKey, now: Moment) {
        let Some(dispatched) = self.preparations.get(&job).and_then(|task| task.dispatched) else { return };
        if let Some(artifact) = self.artifacts.get_mut(key) {
            artifact.prepare_times = Some((dispatched, now));
        }
    }

    /// A worker has an artifact linked (`warm`) or on its disk.
    pub(super) fn note_held(&mut self, key: ArtifactKey, worker: WorkerId, warm: bool) {
        if self.fleet.hold(worker, key, warm)
            && let Some(artifact) = self.artifacts.get_mut(key)
        {
            artifact.note_holder(worker);
        }
    }

    /// A worker does not have an artifact any more.
    pub(super) fn note_not_held(&mut self, id: &ArtifactId, worker: WorkerId) {
        if let Some(key) = self.artifact_key(id)
            && let Some(worker) = self.fleet.workers.get_mut(&worker)
        {
            worker.held.remove(key);
        }
    }
}
