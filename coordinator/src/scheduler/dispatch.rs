//! From the queues to the workers: a job leaves its queue only when a worker has room for it.

use super::{
    Effect, Moment, Scheduler,
    artifacts::{ArtifactKey, State, Waiter},
    clients::ClientKey,
    event::{Command, Delivery},
    executions::Stage,
    fleet::EngineKey,
    results::Loss,
};
use pvf_shared::{
    ids::{Attempt, JobId, RequestId, WorkerId},
    job::{ExecuteJob, JobSpec, PrepareJob},
    params::PvfPrepKind,
    priority::{ExecuteKind, PreparePriority},
    verdict::{Outcome, WireOutcome},
    wire::{Dispatch, ToWorker, WorkerKind},
};

/// Jobs that are looked at for one that may go to a free worker.
const LOOK_AHEAD: usize = 16;
/// Dispatches after one event; more follow after the next.
const DISPATCHES: usize = 32;

/// A kind's rank among the jobs that wait at workers: from 1, most urgent first. Rank 0 is never given up for a
/// more urgent one: its dispatch was a share that it has to get.
fn rank_of(kind: ExecuteKind) -> u8 {
    kind as u8 + 1
}

impl Scheduler {
    /// Dispatches what can be; a long backlog in several goes.
    pub(super) fn pump(&mut self, now: Moment) {
        let mut left = DISPATCHES;
        for engine in self.fleet.engines() {
            self.pump_preparations(engine, &mut left, now);
            self.pump_executions(engine, &mut left, now);
            if left > 0 {
                self.ask_back(engine);
            }
        }
        self.more_to_dispatch = left == 0;
    }

    fn pump_preparations(&mut self, engine: EngineKey, left: &mut usize, now: Moment) {
        while *left > 0 && self.fleet.pool(WorkerKind::Prepare, engine).has_free() {
            let Some((job, worker)) = self.next_preparation(engine, now) else { return };
            *left -= 1;
            self.dispatch_preparation(job, worker, now);
        }
    }

    /// The most urgent preparation that may be dispatched now, and to whom.
    fn next_preparation(&self, engine: EngineKey, now: Moment) -> Option<(JobId, WorkerId)> {
        if self.prepare_queue.is_empty(engine) {
            return None;
        }
        let pool = self.fleet.pool(WorkerKind::Prepare, engine);
        let policy = &self.config.policy;
        let aging = Some(policy.prepare_aging).filter(|aging| !aging.is_zero());
        let soft = (pool.slots() * u64::from(policy.prepare_soft_percent) / 100).max(1);
        for turn in self.prepare_queue.first(engine, LOOK_AHEAD, now, aging) {
            if turn.priority < PreparePriority::Critical && pool.busy() >= soft {
                continue;
            }
            let task = self.preparations.get(&turn.place.1)?;
            let worker = match task.avoid.is_empty() {
                true => pool.least_loaded(),
                false => pool.elsewhere(&task.avoid, |id| self.host_of(id)),
            };
            if let Some(worker) = worker {
                return Some((turn.place.1, worker));
            }
        }
        None
    }

    fn pump_executions(&mut self, engine: EngineKey, left: &mut usize, now: Moment) {
        while *left > 0 && self.fleet.pool(WorkerKind::Execute, engine).has_room() {
            let Some((kind, job, worker)) = self.next_execution(engine) else { return };
            *left -= 1;
            self.dispatch_execution(kind, job, worker, now);
        }
    }

    /// The execution whose turn it is, and to whom it goes.
    fn next_execution(&mut self, engine: EngineKey) -> Option<(ExecuteKind, JobId, WorkerId)> {
        let kinds: smallvec::SmallVec<[ExecuteKind; 4]> = self.execute_queue.order(engine).collect();
        for kind in kinds {
            for (_, job) in self.execute_queue.retries(engine, kind).take(LOOK_AHEAD) {
                let pool = self.fleet.pool(WorkerKind::Execute, engine);
                let execution = self.executions.get(&job)?;
                if let Some(worker) = pool.elsewhere(&execution.avoid, |id| self.host_of(id)) {
                    return Some((kind, job, worker));
                }
            }
            if let Some(job) = self.execute_queue.next(engine, kind) {
                let key = self.executions.get(&job)?.errand.artifact?;
                let worker = self.best_worker(engine, key)?;
                return Some((kind, job, worker));
            }
        }
        None
    }

    /// Who should run this artifact: a worker with room that has it warm, then on disk; the one where it is to be
    /// if nobody has it; the least loaded. A worker with a free slot comes before any that is only ahead.
    fn best_worker(&mut self, engine: EngineKey, key: ArtifactKey) -> Option<WorkerId> {
        let pool = self.fleet.pool(WorkerKind::Execute, engine);
        let free = pool.has_free();
        let artifact = self.artifacts.get(key)?;
        // Whether it has room, and how well it suits: warm, then on disk, then by load.
        let suits = |id: &WorkerId| {
            use super::fleet::Indexed::{Ahead, Free, Nowhere};
            let worker = self.fleet.workers.get(id)?;
            let load = match (worker.indexed, free) {
                (Free(load), _) => load,
                (Ahead(n), false) => n,
                (Ahead(_), true) | (Nowhere, _) => return None,
            };
            worker.held.get(key).map(|warm| (!warm, load, *id))
        };
        // Whichever are fewer: workers that have room, or workers that got it lately.
        let best = match pool.few_with_room() {
            Some(few) => few.filter_map(|id| suits(&id)).min(),
            None => artifact.holders.iter().filter_map(suits).min(),
        };
        if let Some((_, _, id)) = best {
            return Some(id);
        }
        if pool.len() > 1 && free {
            let epoch = pool.epoch();
            let homes = match artifact.homes {
                Some((at, homes)) if at == epoch => homes,
                _ => pool.homes(&artifact.id),
            };
            let home = homes.iter().flatten().find(|id| self.fleet.has_free_slot(id)).copied();
            if let Some(artifact) = self.artifacts.get_mut(key) {
                artifact.homes = Some((epoch, homes));
            }
            if home.is_some() {
                return home;
            }
        }
        self.fleet.pool(WorkerKind::Execute, engine).least_loaded()
    }

    /// The first request that still waits for an artifact; those before it that are too late or of clients that have
    /// gone end here. A few are looked at: the others end at their time.
    fn first_waiter(&mut self, key: ArtifactKey, now: Moment) -> Option<RequestId> {
        for _ in 0..LOOK_AHEAD {
            match self.artifacts.get(key)?.waiters.first().copied()? {
                Waiter::Execution(job) => {
                    if self.is_wanted(job, now) {
                        return self.executions.get(&job)?.waiters.first().copied();
                    }
                }
                Waiter::Preparation(request) => match self.staleness(&request, now) {
                    None => return Some(request),
                    Some(outcome) => self.end_request(request, outcome, now),
                },
            }
        }
        None
    }

    /// A preparation is dispatched even if nobody waits for it any more: the next one who asks has it.
    fn dispatch_preparation(&mut self, job: JobId, worker: WorkerId, now: Moment) {
        let Some(key) = self.preparations.get(&job).map(|task| task.artifact) else { return };
        let request = self.first_waiter(key, now);
        let Some(task) = self.preparations.get_mut(&job) else { return };
        let Some(artifact) = self.artifacts.get(task.artifact) else { return };
        let Some(program) = artifact.program.clone() else { return };
        if let Some(turn) = task.turn.take() {
            self.prepare_queue.remove(artifact.engine, turn);
        }
        let kind = if artifact.precheck { PvfPrepKind::Precheck } else { PvfPrepKind::Prepare };
        let params = &program.executor_params;
        let spec = PrepareJob {
            artifact: (*artifact.id).clone(),
            code: program.code.blob.clone(),
            executor_params: params.clone(),
            cpu_limit: program.prepare_timeout.unwrap_or_else(|| params.prep_timeout(kind)),
            code_bomb_limit: program.code_bomb_limit,
            precheck: artifact.precheck,
            threads: if artifact.priority == PreparePriority::Background { 1 } else { 0 },
        };
        task.last_attempt += 1;
        task.dispatched = Some(now);
        let attempt = task.last_attempt;
        self.counts.prepare_dispatched += 1;
        self.send_job(worker, (job, attempt), (0, request), JobSpec::Prepare(Box::new(spec)));
    }

    fn dispatch_execution(&mut self, kind: ExecuteKind, job: JobId, worker: WorkerId, now: Moment) {
        if !self.is_wanted(job, now) {
            return;
        }
        let Some(execution) = self.executions.get_mut(&job) else { return };
        let (Stage::Queued(spot), Some(key)) = (execution.stage.clone(), execution.errand.artifact) else { return };
        let Some(artifact) = self.artifacts.get(key) else { return };
        let State::Prepared(info) = artifact.state else {
            // Dropped while it waited: it has to be made again first.
            let (program, priority) = (execution.errand.program.clone(), kind.prepare_priority());
            self.withdraw_execution(job, now);
            if let Some(execution) = self.executions.get_mut(&job) {
                (execution.stage, execution.errand.since) = (Stage::Waiting, now);
            }
            self.need_artifact(key, Waiter::Execution(job), (program, priority, false), now);
            return;
        };
        let (engine, program) = (artifact.engine, &execution.errand.program);
        let params = &program.executor_params;
        let timeout = || params.exec_timeout(kind.exec_timeout_kind());
        let spec = ExecuteJob {
            artifact: program.artifact_id(self.fleet.engine(engine)),
            mac: Some(info.mac),
            context: execution.work.context.clone(),
            block_data: execution.work.block_data.clone(),
            executor_params: params.clone(),
            cpu_limit: execution.work.exec_timeout.unwrap_or_else(timeout),
            pov_bomb_limit: execution.work.pov_bomb_limit,
        };
        execution.attempts += 1;
        let (attempt, request) = (execution.attempts, execution.waiters.first().copied());
        execution.errand.timings.queued += now.since(execution.errand.since);
        execution.errand.since = now;
        execution.used = Some(info);
        execution.stage = Stage::Running { worker, attempt };
        // Dispatched although something more urgent waits: this is its share, and it is not taken back.
        let share = self.execute_queue.order(engine).any(|other| other < kind);
        self.execute_queue.dispatch(engine, kind, spot);
        self.counts.execute_dispatched += 1;
        self.counts.execute_selected[kind as usize] += 1;
        let rank = if share { 0 } else { rank_of(kind) };
        self.send_job(worker, (job, attempt), (rank, request), JobSpec::Execute(Box::new(spec)));
        self.note_held(key, worker, false);
    }

    /// Whether anybody still waits for a queued execution: requests that are too late are told so, and those of
    /// clients that have gone are dropped.
    fn is_wanted(&mut self, job: JobId, now: Moment) -> bool {
        let Some(execution) = self.executions.get(&job) else { return false };
        // Most are for one request, of which the execution has all that matters.
        if let [_] = execution.waiters[..]
            && self
                .staleness_of((execution.client, execution.work.relay_leaf.as_ref(), execution.deadline), now)
                .is_none()
        {
            return true;
        }
        let stale = |id: &RequestId| self.staleness(id, now).map(|outcome| (*id, outcome));
        let stale: Vec<_> = execution.waiters.iter().filter_map(stale).collect();
        for (id, outcome) in stale {
            self.end_request(id, outcome, now);
        }
        self.executions.contains_key(&job)
    }

    /// Whether a request is not to be worked for any more, and if so what it is told.
    fn staleness(&self, id: &RequestId, now: Moment) -> Option<Option<WireOutcome>> {
        let Some(request) = self.requests.get(id) else { return Some(None) };
        let leaf = request.leaf.and_then(|entry| self.clients.leaf(request.client, entry));
        self.staleness_of((request.client, leaf, request.deadline), now)
    }

    fn staleness_of(
        &self,
        (client, leaf, deadline): (ClientKey, Option<&[u8; 32]>, Moment),
        now: Moment,
    ) -> Option<Option<WireOutcome>> {
        let orphaned = leaf.is_some_and(|leaf| self.clients.is_retired(client, leaf));
        if deadline <= now || orphaned {
            return Some(Some(Outcome::ExecutionDeadline));
        }
        self.clients.is_gone(client).then_some(None)
    }

    fn send_job(
        &mut self,
        to: WorkerId,
        (job, attempt): (JobId, Attempt),
        (urgency, request): (u8, Option<RequestId>),
        spec: JobSpec,
    ) {
        self.fleet.occupy(to, job, attempt, urgency);
        let acknowledged = self.acknowledged.take_if(|(worker, _)| *worker == to);
        let acknowledged = acknowledged.into_iter().map(|(_, report)| report).collect();
        let dispatch = Dispatch { token: self.config.token, job, attempt, urgency, request, spec, acknowledged };
        let message = ToWorker::Dispatch(Box::new(dispatch));
        self.effects.push_back(Effect::ToWorker { worker: to, message });
    }

    /// Asks jobs back that wait at a worker: for a more urgent one in the queue, or because another worker has
    /// nothing to do.
    fn ask_back(&mut self, engine: EngineKey) {
        let pool = self.fleet.pool(WorkerKind::Execute, engine);
        let Some(((last, ..), _)) = pool.last_waiting() else { return };
        // After most events it is like this: every worker has what it may have, and nothing that waits there is less
        // urgent than anything.
        if last <= rank_of(ExecuteKind::ALL[0]) && !pool.has_room() {
            return;
        }
        let (wanted, above) = match self.execute_queue.order(engine).next() {
            Some(kind) if !pool.has_room() => (self.execute_queue.len_of(engine, kind), rank_of(kind)),
            Some(_) => (0, 0),
            None => (pool.free(), 0),
        };
        let any = above == 0;
        let mut wanted = wanted.saturating_sub(pool.recalled()).min(DISPATCHES);
        while wanted > 0
            && let Some(((rank, job, attempt), worker)) = self.fleet.pool(WorkerKind::Execute, engine).last_waiting()
            && (any || rank > above)
            && self.fleet.mark_recalled(worker, job, attempt)
        {
            wanted -= 1;
            self.counts.recalled += 1;
            let message = ToWorker::Recall { token: self.config.token, job, attempt };
            self.effects.push_back(Effect::ToWorker { worker, message });
        }
    }

    /// Stops an attempt. Its slot stays taken until the worker has said so.
    pub(super) fn send_cancel(&mut self, worker: WorkerId, (job, attempt): (JobId, Attempt)) {
        let message = ToWorker::Cancel { token: self.config.token, job, attempt };
        self.effects.push_back(Effect::ToWorker { worker, message });
    }

    pub(super) fn on_delivered(
        &mut self,
        id: WorkerId,
        (command, job, attempt): (Command, JobId, Attempt),
        delivery: Delivery,
        now: Moment,
    ) {
        let Some(worker) = self.fleet.workers.get_mut(&id) else { return };
        let Some(slot) = worker.slot(job, attempt) else { return };
        match (command, &delivery) {
            (Command::Dispatch, Delivery::Taken) => return slot.taken = Some(now),
            // It may have begun, and may be what silenced the worker: its heartbeats, or their absence, will tell.
            (Command::Dispatch, Delivery::Unknown(_)) => {
                slot.taken = Some(now);
                worker.suspect = true;
                return self.fleet.reindex(id);
            }
            _ => {}
        }
        let from = (id, worker.hello.host.clone());
        match (command, delivery) {
            (Command::Dispatch, Delivery::Taken | Delivery::Unknown(_)) => {}
            (Command::Dispatch, Delivery::Refused(_) | Delivery::Nobody) => {
                worker.suspect = true;
                self.fleet.vacate(id, job, attempt);
                self.attempt_lost(from, (job, attempt), Loss::NotBegun, now);
            }
            // Whatever became of it: the worker, if it is there, will not be believed about this attempt.
            (Command::Cancel, _) => drop(self.fleet.vacate(id, job, attempt)),
            (Command::Recall, Delivery::Taken) => {
                self.fleet.vacate(id, job, attempt);
                self.attempt_lost(from, (job, attempt), Loss::NotBegun, now);
            }
            (Command::Recall, Delivery::Refused(_) | Delivery::Nobody | Delivery::Unknown(_)) => {
                self.fleet.has_begun(id, job, attempt);
            }
        }
    }
}
