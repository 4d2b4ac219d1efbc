//! How attempts end: reports, losses, retries by the blame table, verdicts.

use super::{Answer, Effect, Moment, Scheduler, Stage, artifacts::State, dispatch::Job, timers::Timer};
use pvf_shared::{
    ids::{ArtifactId, Attempt, JobId, RequestId, WorkerId},
    job::{ArtifactInfo, ExecuteOutcome, JobOutcome, PrepareOutcome},
    subjects::Subject,
    verdict::{AmbiguousReason, InternalError, Outcome, PrepareError, WireOutcome},
    wire::{ArtifactSummary, JobReport, Verdict, Work, WorkerReply},
};

/// Attempts that may fail for our own reasons before the verdict says so.
const MAX_OUR_FAILURES: u32 = 3;
/// An ambiguous failure is asked once more.
const MAX_AMBIGUOUS: u32 = 1;

/// How an attempt was lost without a report.
#[derive(Debug, Clone)]
pub(super) enum Loss {
    /// It never began.
    NotBegun,
    /// Its worker gave it back, or we could not talk to it.
    GivenBack(String),
    /// Its worker vanished.
    WorkerDied,
}

impl Scheduler {
    pub(super) fn on_report(&mut self, report: JobReport, reply: Option<Subject>, now: Moment) {
        self.reply(reply, Answer::Worker(WorkerReply::Ack));
        let (job, attempt) = (report.job, report.attempt);
        if report.token != self.config.token {
            return;
        }
        let Some(worker) = self.fleet.workers.get_mut(&report.worker) else { return };
        if worker.jobs.get(&job).is_none_or(|slot| slot.attempt != attempt) {
            return;
        }
        worker.jobs.remove(&job);
        match report.outcome {
            JobOutcome::Prepare(outcome) => self.on_prepared(report.worker, (job, attempt), outcome, now),
            JobOutcome::Execute(outcome) => self.on_executed(report.worker, (job, attempt), outcome, now),
        }
    }

    fn on_prepared(&mut self, worker: WorkerId, at: (JobId, Attempt), outcome: PrepareOutcome, now: Moment) {
        let Some(id) = self.current_preparation(at) else { return };
        self.counts.prepare_concluded += 1;
        match outcome {
            PrepareOutcome::Prepared(info) => {
                self.add_prepare_times(at.0, &id, now);
                self.jobs.remove(&at.0);
                if let Some(artifact) = self.artifacts.get_mut(&id) {
                    artifact.state = State::Prepared(info);
                }
                self.release(&id, |s, r| s.artifact_ready(r, info, false, now));
            }
            PrepareOutcome::Failed(error) => {
                self.add_prepare_times(at.0, &id, now);
                self.jobs.remove(&at.0);
                self.fail_artifact(&id, error, now);
            }
            PrepareOutcome::Internal(error) => self.preparation_failed_us(worker, at.0, error, now),
        }
    }

    /// The artifact of a preparation, if this is its attempt that counts.
    fn current_preparation(&self, (job, attempt): (JobId, Attempt)) -> Option<ArtifactId> {
        let Some(Job::Prepare(task)) = self.jobs.get(&job) else { return None };
        let waiting = self.prepare_queue.contains(job);
        (task.last_attempt == attempt && !waiting).then(|| task.artifact.clone())
    }

    fn preparation_failed_us(&mut self, worker: WorkerId, job: JobId, error: InternalError, now: Moment) {
        let host = self.host_of(worker);
        let Some(Job::Prepare(task)) = self.jobs.get_mut(&job) else { return };
        task.our_failures += 1;
        task.avoid.push((worker, host));
        if task.our_failures < MAX_OUR_FAILURES {
            self.requeue_preparation(job);
            return;
        }
        let id = task.artifact.clone();
        self.jobs.remove(&job);
        if let InternalError::InputBlob(_) = error {
            self.effects.push_back(Effect::ForgetCode { code: id.code_hash });
        }
        self.abandon_artifact(&id, error, now);
    }

    fn on_executed(&mut self, worker: WorkerId, at: (JobId, Attempt), outcome: ExecuteOutcome, now: Moment) {
        let Some(id) = self.current_execution(at, now) else { return };
        self.counts.execute_finished += 1;
        let artifact = self.requests.get(&id).and_then(|r| r.artifact.clone());
        if let (Some(w), Some(artifact)) = (self.fleet.workers.get_mut(&worker), artifact) {
            w.warm.insert(artifact);
        }
        match outcome {
            ExecuteOutcome::Valid(result) => self.finish(id, Outcome::Valid(result), Some(worker), now),
            ExecuteOutcome::Invalid(reason) => self.finish(id, Outcome::Invalid(reason), Some(worker), now),
            ExecuteOutcome::Ambiguous(reason) => self.ambiguous(id, (worker, at.0), reason, now),
            ExecuteOutcome::Internal(error) => self.execution_failed_us(id, (worker, at.0), error, now),
        }
    }

    /// The request of an execution, if this is its attempt that counts; its time is added up.
    fn current_execution(&mut self, (job, attempt): (JobId, Attempt), now: Moment) -> Option<RequestId> {
        let Some(Job::Execute(id)) = self.jobs.get(&job) else { return None };
        let id = *id;
        let r = self.requests.get_mut(&id)?;
        let Stage::Executing { since, attempt: current, .. } = r.stage else { return None };
        if current != attempt {
            return None;
        }
        r.timings.execute += now.since(since);
        Some(id)
    }

    fn ambiguous(&mut self, id: RequestId, (worker, job): (WorkerId, JobId), reason: AmbiguousReason, now: Moment) {
        let host = self.host_of(worker);
        let Some(r) = self.requests.get_mut(&id) else { return };
        if r.ambiguous >= MAX_AMBIGUOUS {
            self.finish(id, Outcome::PossiblyInvalid(reason), Some(worker), now);
            return;
        }
        r.ambiguous += 1;
        r.avoid.push((worker, host));
        if reason.suspects_artifact() {
            self.prepare_again(id, job, now);
        } else {
            self.enqueue_execution(id, Some(job), now);
        }
    }

    fn execution_failed_us(
        &mut self,
        id: RequestId,
        (worker, job): (WorkerId, JobId),
        error: InternalError,
        now: Moment,
    ) {
        let host = self.host_of(worker);
        let Some(r) = self.requests.get_mut(&id) else { return };
        r.our_failures += 1;
        if r.our_failures >= MAX_OUR_FAILURES {
            self.finish(id, Outcome::Internal(error), Some(worker), now);
            return;
        }
        if let InternalError::ArtifactMissing(_) = error {
            // Not the worker's doing: any may try again once the artifact is back.
            self.prepare_again(id, job, now);
        } else {
            r.avoid.push((worker, host));
            self.enqueue_execution(id, Some(job), now);
        }
    }

    /// Drops the artifact of a request and has it wait for a new one.
    fn prepare_again(&mut self, id: RequestId, job: JobId, now: Moment) {
        self.jobs.remove(&job);
        let Some(r) = self.requests.get(&id) else { return };
        let Some(artifact) = r.artifact.clone() else { return };
        self.suspect_artifact(&artifact, r.info);
        self.need_artifact(id, now);
    }

    /// An attempt ended without a report.
    pub(super) fn attempt_lost(&mut self, worker: WorkerId, at: (JobId, Attempt), loss: Loss, now: Moment) {
        if let Some(id) = self.current_preparation(at) {
            match loss {
                Loss::NotBegun => self.requeue_preparation(at.0),
                Loss::GivenBack(why) => {
                    self.preparation_failed_us(worker, at.0, InternalError::WorkerDraining(why), now);
                }
                Loss::WorkerDied => self.preparation_killed_worker(worker, at.0, &id, now),
            }
        } else if let Some(id) = self.current_execution(at, now) {
            match loss {
                Loss::NotBegun => self.enqueue_execution(id, Some(at.0), now),
                Loss::GivenBack(why) => {
                    self.execution_failed_us(id, (worker, at.0), InternalError::WorkerDraining(why), now);
                }
                Loss::WorkerDied => self.ambiguous(id, (worker, at.0), AmbiguousReason::WorkerDeath, now),
            }
        }
    }

    /// Preparing may be what killed the worker: not for ever.
    fn preparation_killed_worker(&mut self, worker: WorkerId, job: JobId, id: &ArtifactId, now: Moment) {
        let host = self.host_of(worker);
        let Some(Job::Prepare(task)) = self.jobs.get_mut(&job) else { return };
        task.our_failures += 1;
        task.avoid.push((worker, host));
        if task.our_failures < MAX_OUR_FAILURES {
            self.requeue_preparation(job);
        } else {
            self.jobs.remove(&job);
            let why = format!("{MAX_OUR_FAILURES} workers died while preparing this code");
            self.fail_artifact(id, PrepareError::JobDied(why), now);
        }
    }

    fn host_of(&self, worker: WorkerId) -> String {
        self.fleet.workers.get(&worker).map(|w| w.hello.host.clone()).unwrap_or_default()
    }

    /// Splits what the waiters of a preparation waited into queueing and preparing.
    fn add_prepare_times(&mut self, job: JobId, id: &ArtifactId, now: Moment) {
        let Some(Job::Prepare(task)) = self.jobs.get(&job) else { return };
        let dispatched = task.dispatched.unwrap_or(now);
        let Some(artifact) = self.artifacts.get(id) else { return };
        for request in &artifact.waiters {
            if let Some(r) = self.requests.get_mut(request)
                && let Stage::WaitingForArtifact { since } = r.stage
            {
                r.timings.queued += dispatched.since(since);
                r.timings.prepare += now.since(dispatched.max(since));
            }
        }
    }

    /// A request's artifact is there.
    pub(super) fn artifact_ready(&mut self, id: RequestId, info: ArtifactInfo, cached: bool, now: Moment) {
        let Some(r) = self.requests.get_mut(&id) else { return };
        let Some(artifact) = r.artifact.clone() else { return };
        let cached = cached && r.summary.as_ref().is_none_or(|s| s.cached);
        r.info = Some(info);
        r.summary = Some(ArtifactSummary { id: artifact, bytes: info.bytes, cached });
        match r.work {
            Work::Precheck => self.finish(id, Outcome::PrecheckOk, None, now),
            Work::HeadsUp => {}
            Work::Execute(_) => self.enqueue_execution(id, None, now),
        }
    }

    /// Gives the verdict; the request is done with.
    pub(super) fn finish(&mut self, id: RequestId, outcome: WireOutcome, worker: Option<WorkerId>, now: Moment) {
        self.withdraw(id, now);
        let Some(r) = self.requests.remove(&id) else { return };
        let mut timings = r.timings;
        timings.total = now.since(r.arrived);
        let summary = r.summary.or_else(|| r.artifact.map(|id| ArtifactSummary { id, bytes: 0, cached: false }));
        let verdict = Verdict {
            request: id,
            outcome,
            code_hash: r.code_hash,
            artifact: summary,
            timings,
            worker,
            attempts: r.attempts,
        };
        self.effects.push_back(Effect::Verdict { node: r.node, verdict: Box::new(verdict.clone()) });
        self.verdicts.keep(verdict);
    }

    /// Takes a request out of wherever it is; stops its execution if there is one.
    pub(super) fn withdraw(&mut self, id: RequestId, now: Moment) {
        self.timers.clear(Timer::Deadline(id));
        self.withdraw_from_stage(id, now);
    }

    pub(super) fn withdraw_from_stage(&mut self, id: RequestId, now: Moment) {
        self.waiting_for_fleet.remove(&id);
        let Some(r) = self.requests.get_mut(&id) else { return };
        match r.stage.clone() {
            Stage::WaitingForFleet { since } => r.timings.queued += now.since(since),
            Stage::WaitingForArtifact { .. } => {
                if let Some(artifact) = r.artifact.as_ref().and_then(|a| self.artifacts.get_mut(a)) {
                    artifact.waiters.remove(&id);
                }
            }
            Stage::Queued { since, job } => {
                r.timings.queued += now.since(since);
                self.execute_queue.remove(job);
                self.jobs.remove(&job);
            }
            Stage::Executing { job, attempt, worker, .. } => {
                self.jobs.remove(&job);
                let holds = self.fleet.workers.get(&worker).and_then(|w| w.jobs.get(&job));
                if holds.is_some_and(|slot| slot.attempt == attempt) {
                    self.send_cancel(worker, (job, attempt));
                }
            }
        }
    }
}
