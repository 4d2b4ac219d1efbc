//! From the queues to the workers: a job leaves its queue only when a worker has a free slot for it.

use super::{
    Effect, Moment, Scheduler, Stage,
    artifacts::PrepareTask,
    event::Delivery,
    execute_queue::ExecuteQueue,
    fleet::{Pick, Slot},
    prepare_queue,
    results::Loss,
};
use pvf_shared::{
    ids::{Attempt, EngineId, JobId, RequestId, WorkerId},
    job::{ExecuteJob, JobSpec, PrepareJob},
    params::PvfPrepKind,
    priority::PreparePriority,
    wire::{Dispatch, ToWorker, Work, WorkerKind},
};

/// A job that must not go to the only free worker lets this many others pass at the most.
const LOOK_AHEAD: usize = 16;

/// What a job id stands for.
#[derive(Debug)]
pub(super) enum Job {
    Prepare(PrepareTask),
    Execute(RequestId),
}

impl Scheduler {
    /// Dispatches whatever can be.
    pub(super) fn pump(&mut self, now: Moment) {
        for engine in self.prepare_queue.engines() {
            while let Some((job, worker)) = self.next_for(WorkerKind::Prepare, &engine) {
                self.prepare_queue.remove(job);
                self.dispatch_preparation(job, worker, now);
            }
        }
        for engine in self.execute_queue.engines() {
            while let Some((job, worker)) = self.next_for(WorkerKind::Execute, &engine) {
                self.execute_queue.remove(job);
                self.dispatch_execution(job, worker, now);
            }
        }
    }

    /// The most urgent job that can go to a worker now, and which.
    fn next_for(&self, kind: WorkerKind, engine: &EngineId) -> Option<(JobId, WorkerId)> {
        let jobs: &mut dyn Iterator<Item = JobId> = match kind {
            WorkerKind::Prepare => &mut self.prepare_queue.in_order(engine),
            WorkerKind::Execute => &mut self.execute_queue.in_order(engine),
        };
        for job in jobs.take(LOOK_AHEAD) {
            let pick = match self.jobs.get(&job)? {
                Job::Prepare(task) => self.fleet.pick(kind, &task.artifact, &task.avoid),
                Job::Execute(request) => {
                    let r = self.requests.get(request)?;
                    self.fleet.pick(kind, r.artifact.as_ref()?, &r.avoid)
                }
            };
            match pick {
                Pick::Worker(worker) => return Some((job, worker)),
                Pick::NoSlot => return None,
                Pick::OnlyAvoided => {}
            }
        }
        None
    }

    fn dispatch_preparation(&mut self, job: JobId, worker: WorkerId, now: Moment) {
        let Some(Job::Prepare(task)) = self.jobs.get_mut(&job) else { return };
        let Some(artifact) = self.artifacts.get(&task.artifact) else { return };
        let recipe = &artifact.recipe;
        let kind = if recipe.precheck { PvfPrepKind::Precheck } else { PvfPrepKind::Prepare };
        let spec = PrepareJob {
            artifact: task.artifact.clone(),
            code: recipe.code.clone(),
            executor_params: recipe.executor_params.clone(),
            cpu_limit: recipe.prepare_timeout.unwrap_or_else(|| recipe.executor_params.prep_timeout(kind)),
            code_bomb_limit: recipe.code_bomb_limit,
            precheck: recipe.precheck,
            threads: if recipe.priority == PreparePriority::Background { 1 } else { 0 },
        };
        task.last_attempt += 1;
        task.dispatched = Some(now);
        let (attempt, request) = (task.last_attempt, artifact.waiters.first().copied());
        self.counts.prepare_dispatched += 1;
        self.send_job(worker, (job, attempt), request, JobSpec::Prepare(Box::new(spec)));
    }

    fn dispatch_execution(&mut self, job: JobId, worker: WorkerId, now: Moment) {
        let Some(Job::Execute(id)) = self.jobs.get(&job) else { return };
        let id = *id;
        let Some(r) = self.requests.get_mut(&id) else { return };
        let (Work::Execute(execute), Some(artifact)) = (&r.work, r.artifact.clone()) else { return };
        let params = &r.recipe.executor_params;
        let spec = ExecuteJob {
            artifact,
            mac: r.info.map(|info| info.mac),
            context: execute.context.clone(),
            block_data: execute.block_data.clone(),
            executor_params: params.clone(),
            cpu_limit: execute.exec_timeout.unwrap_or_else(|| params.exec_timeout(execute.kind.exec_timeout_kind())),
            pov_bomb_limit: execute.pov_bomb_limit,
        };
        r.attempts += 1;
        let attempt = r.attempts;
        if let Stage::Queued { since, .. } = r.stage {
            r.timings.queued += now.since(since);
        }
        r.stage = Stage::Executing { since: now, job, attempt, worker };
        self.counts.execute_dispatched += 1;
        self.send_job(worker, (job, attempt), Some(id), JobSpec::Execute(Box::new(spec)));
    }

    fn send_job(&mut self, to: WorkerId, (job, attempt): (JobId, Attempt), request: Option<RequestId>, spec: JobSpec) {
        if let Some(worker) = self.fleet.workers.get_mut(&to) {
            worker.jobs.insert(job, Slot { attempt, taken: None });
        }
        let dispatch = Dispatch { token: self.config.token, job, attempt, request, spec };
        let message = ToWorker::Dispatch(Box::new(dispatch));
        self.effects.push_back(Effect::ToWorker { worker: to, message });
    }

    /// Stops an attempt. Its slot stays taken until the worker has said so.
    pub(super) fn send_cancel(&mut self, worker: WorkerId, (job, attempt): (JobId, Attempt)) {
        let message = ToWorker::Cancel { token: self.config.token, job, attempt };
        self.effects.push_back(Effect::ToWorker { worker, message });
    }

    pub(super) fn on_dispatch_delivered(
        &mut self,
        id: WorkerId,
        (job, attempt): (JobId, Attempt),
        delivery: Delivery,
        now: Moment,
    ) {
        let Some(worker) = self.fleet.workers.get_mut(&id) else { return };
        let Some(slot) = worker.jobs.get_mut(&job).filter(|slot| slot.attempt == attempt) else { return };
        match delivery {
            Delivery::Taken => slot.taken = Some(now),
            Delivery::Refused(_) | Delivery::Nobody => {
                worker.jobs.remove(&job);
                worker.suspect = true;
                self.attempt_lost(id, (job, attempt), Loss::NotBegun, now);
            }
            Delivery::Unknown(why) => {
                worker.suspect = true;
                self.send_cancel(id, (job, attempt));
                self.attempt_lost(id, (job, attempt), Loss::GivenBack(why), now);
            }
        }
    }

    pub(super) fn on_cancel_delivered(&mut self, worker: WorkerId, (job, attempt): (JobId, Attempt)) {
        if let Some(worker) = self.fleet.workers.get_mut(&worker)
            && worker.jobs.get(&job).is_some_and(|slot| slot.attempt == attempt)
        {
            worker.jobs.remove(&job);
        }
    }

    /// Puts a request's execution into the queue.
    pub(super) fn enqueue_execution(&mut self, id: RequestId, job: Option<JobId>, now: Moment) {
        let new = self.next_job();
        let Some(r) = self.requests.get_mut(&id) else { return };
        let (Work::Execute(execute), Some(artifact)) = (&r.work, &r.artifact) else { return };
        let queue: &mut ExecuteQueue = &mut self.execute_queue;
        let job = match job {
            Some(job) => {
                queue.push_front(&artifact.engine, execute.kind, job);
                job
            }
            None => {
                queue.push(&artifact.engine, execute.kind, new);
                self.jobs.insert(new, Job::Execute(id));
                new
            }
        };
        r.stage = Stage::Queued { since: now, job };
        self.counts.execute_enqueued += 1;
    }

    /// Puts a preparation that came back into the queue again.
    pub(super) fn requeue_preparation(&mut self, job: JobId) {
        let Some(Job::Prepare(task)) = self.jobs.get_mut(&job) else { return };
        task.dispatched = None;
        if let Some(artifact) = self.artifacts.get(&task.artifact) {
            let urgency = prepare_queue::urgency(artifact.recipe.priority);
            self.prepare_queue.push_front(&task.artifact.engine, urgency, job);
        }
    }
}
