//! Dispatch: a job leaves its queue only when a worker has room for it. `next_*` select, `dispatch_*` apply a
//! selection. An entry of a queue whose job is not known is an inconsistency: it leaves the queue, so that it is
//! noticed once and does not hold up the others.

use crate::{
    core::{ArtifactNeed, Core, FollowUp, Out},
    keys::{ArtifactKey, AttemptKey, EngineKey, ExcludedWorkers, PrepareSpot, RequestKey, Spot, Waiter},
    operations::{
        adoption, executions, preparations,
        workers::{JobToSend, note_held, send_job},
    },
    policies::{
        Before, HOLDERS_LOOK_AHEAD, Waits, choose_holders, choose_worker, elsewhere, execution_relevance, least_loaded,
        request_relevance, staged_rank,
    },
    tables::{ArtifactState, Execution, ExecutionEvent, Pool, PreparationEvent, Workers},
    time::Timestamp,
};
use pvf_proto::{
    artifact::ArtifactInfo,
    blob::BlobRef,
    identity::{ClientId, WorkerId},
    ids::{Attempt, JobId},
    job::{ExecuteJob, JobSpec, PrepareJob},
    params::PvfPrepKind,
    priority::{ExecuteKind, PreparePriority},
    wire::WorkerKind,
};
use smallvec::SmallVec;
use std::cmp::Reverse;

/// Jobs of a queue that are looked at for one that may be dispatched.
const LOOK_AHEAD: usize = 16;

/// A preparation that is dispatched next.
pub(crate) struct NextPreparation {
    engine: EngineKey,
    spot: PrepareSpot,
    worker: WorkerId,
}

impl NextPreparation {
    /// Its order among those of other engines, which may share prepare workers: the least is dispatched first.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (Reverse(self.spot.priority), self.spot.place)
    }
}

/// The preparation that is dispatched next, and to which worker.
pub(crate) fn next_preparation(
    core: &mut Core,
    out: &mut Out,
    engine: EngineKey,
    now: Timestamp,
) -> Option<NextPreparation> {
    if core.prepare_queue.is_empty(engine) || !core.workers.prepare_pools(engine).any(Pool::has_free) {
        return None;
    }
    let policy = &core.config.policy;
    let aging = Some(policy.prepare_aging).filter(|aging| !aging.is_zero());
    for spot in core.prepare_queue.first(engine, LOOK_AHEAD, now, aging) {
        let job = spot.place.1;
        let Some(task) = core.preparations.get(&job) else {
            core.prepare_queue.remove(engine, spot);
            out.inconsistent(format_args!("preparation {job} is queued and not known"));
            continue;
        };
        let has_room = |pool: &&Pool| {
            let soft = (pool.slots() * u64::from(policy.prepare_soft_percent) / 100).max(1);
            pool.has_free() && (spot.priority == PreparePriority::Critical || pool.busy() < soft)
        };
        let mut pools = core.workers.prepare_pools(engine).filter(has_room);
        let worker = match task.excluded.is_empty() {
            true => pools.find_map(least_loaded),
            false => prepare_elsewhere(&core.workers, pools, engine, &task.excluded),
        };
        if let Some(worker) = worker {
            return Some(NextPreparation { engine, spot, worker });
        }
    }
    None
}

/// A worker of one of these pools for a preparation that failed elsewhere. It goes back to a worker where it failed
/// only if every worker that compiles for the engine is one.
fn prepare_elsewhere<'a>(
    workers: &'a Workers,
    pools: impl Iterator<Item = &'a Pool>,
    engine: EngineKey,
    excluded: &ExcludedWorkers,
) -> Option<WorkerId> {
    let before = Before { failed_at: excluded, decided_on: None };
    let failed_at = |id: &WorkerId| excluded.iter().any(|site| site.worker == *id);
    let found: SmallVec<[WorkerId; 4]> =
        pools.filter_map(|pool| elsewhere(workers, pool, before, Waits::ForUnpaused)).collect();
    let is_other_host =
        |id: &&WorkerId| workers.get(id).is_some_and(|worker| excluded.iter().all(|site| site.host() != worker.host()));
    let other = found.iter().find(is_other_host).or_else(|| found.iter().find(|id| !failed_at(id)));
    let is_paused = |id: &WorkerId| workers.get(id).is_some_and(|worker| worker.health().paused_until().is_some());
    let mut members = workers.prepare_pools(engine).flat_map(Pool::members);
    match other {
        Some(other) => Some(*other),
        None if members.any(|id| !failed_at(id) && !is_paused(id)) => None,
        None => found.first().copied(),
    }
}

/// An execution that is dispatched next.
pub(crate) struct NextExecution {
    engine: EngineKey,
    kind: ExecuteKind,
    spot: Spot,
    worker: WorkerId,
}

/// The execution that is dispatched next, and to which worker: of the kind that the share window says, jobs that were
/// dispatched before first. Computed rendezvous owners are kept with the artifact.
pub(crate) fn next_execution(core: &mut Core, out: &mut Out, engine: EngineKey) -> Option<NextExecution> {
    if !core.workers.pool(WorkerKind::Execute, engine).has_room() {
        return None;
    }
    let kinds: SmallVec<[ExecuteKind; 4]> = core.execute_queue.order(engine).collect();
    kinds.into_iter().find_map(|kind| next_retry(core, out, engine, kind).or_else(|| next_new(core, out, engine, kind)))
}

/// The first job of a kind that was dispatched before and may go to a worker that has room.
fn next_retry(core: &mut Core, out: &mut Out, engine: EngineKey, kind: ExecuteKind) -> Option<NextExecution> {
    let retries: SmallVec<[Spot; 4]> = core.execute_queue.retries(engine, kind).take(LOOK_AHEAD).collect();
    for spot in retries {
        let job = spot.place.1;
        let Some(execution) = core.executions.get(job) else {
            core.execute_queue.remove(engine, kind, spot);
            out.inconsistent(format_args!("execution {job} is queued and not known"));
            continue;
        };
        let pool = core.workers.pool(WorkerKind::Execute, engine);
        let waits = if execution.ambiguous > 0 { Waits::AlsoForPaused } else { Waits::ForUnpaused };
        let decided_on = execution.opinions.first().map(|first| first.decision.site.host());
        let before = Before { failed_at: &execution.excluded, decided_on };
        if let Some(worker) = elsewhere(&core.workers, pool, before, waits) {
            return Some(NextExecution { engine, kind, spot, worker });
        }
    }
    None
}

/// The next job of a kind that was not dispatched before.
fn next_new(core: &mut Core, out: &mut Out, engine: EngineKey, kind: ExecuteKind) -> Option<NextExecution> {
    let (policy, users, workers) = (&core.config.policy, core.clients.users(), &core.workers);
    let may_have_more = |user| {
        // A user that is not known has no limits.
        users.get(user).is_none_or(|known| workers.jobs_of(user) < policy.limits_of(&known.name).jobs)
    };
    while let Some(spot) = core.execute_queue.next(engine, kind, may_have_more) {
        let job = spot.place.1;
        let key = core.executions.get(job).and_then(|execution| execution.context.artifact);
        let Some((key, artifact)) = key.and_then(|key| Some((key, core.artifacts.get_mut(key)?))) else {
            core.execute_queue.remove(engine, kind, spot);
            out.inconsistent(format_args!("execution {job} is queued and has no artifact"));
            continue;
        };
        let (worker, owners) = choose_worker(&core.workers, artifact, key);
        artifact.owners = owners.or(artifact.owners);
        return worker.map(|worker| NextExecution { engine, kind, spot, worker });
    }
    None
}

/// Some of the requests for an artifact that are still wanted, among its first waiters; those that are not end.
fn wanted_requests(core: &Core, out: &mut Out, key: ArtifactKey, now: Timestamp) -> Vec<RequestKey> {
    let mut wanted = Vec::new();
    let Some(artifact) = core.artifacts.get(key) else { return wanted };
    for waiter in artifact.waiters.iter().take(HOLDERS_LOOK_AHEAD) {
        match *waiter {
            Waiter::Execution(job) => {
                let Some(execution) = core.executions.get(job) else {
                    out.inconsistent(format_args!("execution {job} waits for an artifact and is not known"));
                    continue;
                };
                if first_wanted(core, out, execution, now).is_some() {
                    wanted.extend(wanted_of(core, execution, now).take(HOLDERS_LOOK_AHEAD));
                }
            }
            Waiter::Preparation(request) => match request_relevance(&core.requests, &core.clients, &request, now) {
                Ok(()) => wanted.push(request),
                Err(irrelevant) => {
                    out.follow_up(FollowUp::EndRequest { request, outcome: irrelevant.outcome() });
                }
            },
        }
        if wanted.len() >= HOLDERS_LOOK_AHEAD {
            break;
        }
    }
    wanted
}

/// The requests of an execution that are still wanted.
fn wanted_of(core: &Core, execution: &Execution, now: Timestamp) -> impl Iterator<Item = RequestKey> {
    let is_wanted = move |key: &&RequestKey| request_relevance(&core.requests, &core.clients, key, now).is_ok();
    execution.waiters.iter().filter(is_wanted).copied()
}

/// The clients that hold the input of a job for these requests.
fn holders(core: &Core, requests: impl Iterator<Item = RequestKey>, attempt: Attempt) -> Vec<ClientId> {
    choose_holders(&core.clients, requests.map(|request| request.client), attempt)
}

/// The first request of an execution that is still wanted. Those that are not end.
fn first_wanted(core: &Core, out: &mut Out, execution: &Execution, now: Timestamp) -> Option<RequestKey> {
    // Most executions are for one request, of which they have everything that matters.
    if let [request] = execution.waiters[..]
        && execution_relevance(&core.clients, execution, now).is_ok()
    {
        return Some(request);
    }
    let mut wanted = None;
    for request in &execution.waiters {
        match request_relevance(&core.requests, &core.clients, request, now) {
            Ok(()) => wanted = wanted.or(Some(*request)),
            Err(irrelevant) => {
                out.follow_up(FollowUp::EndRequest { request: *request, outcome: irrelevant.outcome() });
            }
        }
    }
    wanted
}

/// Dispatches a preparation, if a client still waits for it: who waits has the code. Without one it is dropped.
pub(crate) fn dispatch_preparation(core: &mut Core, out: &mut Out, next: NextPreparation, now: Timestamp) {
    let NextPreparation { engine, spot, worker } = next;
    let job = spot.place.1;
    let Some((key, attempt)) = core.preparations.get(&job).map(|task| (task.artifact, task.last_attempt() + 1)) else {
        core.prepare_queue.remove(engine, spot);
        return out.inconsistent(format_args!("preparation {job} is dispatched and not known"));
    };
    let wanted = wanted_requests(core, out, key, now);
    let holders = holders(core, wanted.iter().copied(), attempt);
    if holders.is_empty() {
        // If there are more waiters, these are looked at once those before them have ended.
        if core.artifacts.get(key).is_none_or(|artifact| artifact.waiters.len() <= HOLDERS_LOOK_AHEAD) {
            preparations::drop_unwanted(core, out, job);
        }
        return;
    }
    let request = wanted.first().map(|request| request.id);
    core.prepare_queue.remove(engine, spot);
    let Some(task) = core.preparations.get_mut(&job) else { return };
    let Some((artifact, spec)) = core.artifacts.get(key).and_then(|a| Some((a, a.spec.clone()?))) else {
        return out.inconsistent(format_args!("preparation {job} is of an unknown artifact"));
    };
    if out.checked(task.transition(PreparationEvent::Dispatched { worker, at: now })).is_none() {
        return;
    }
    let kind = if artifact.precheck { PvfPrepKind::Precheck } else { PvfPrepKind::Prepare };
    let params = &spec.executor_params;
    let prepare = PrepareJob {
        artifact: (*artifact.id).clone(),
        executor_params: params.clone(),
        cpu_limit: spec.prepare_limit(kind),
        code_bomb_limit: spec.code_bomb_limit,
        precheck: artifact.precheck,
        threads: if artifact.priority == PreparePriority::Background { 1 } else { 0 },
    };
    let at = AttemptKey { job, attempt: task.last_attempt() };
    if let Some(artifact) = core.artifacts.get_mut(key) {
        artifact.linked = prepare.precheck;
    }
    out.counts.prepare_dispatched += 1;
    send_job(
        core,
        out,
        worker,
        JobToSend {
            at,
            user: None,
            urgency: 0,
            request,
            spec: JobSpec::Prepare(Box::new(prepare)),
            holders,
            validation: None,
        },
    );
}

/// Dispatches an execution, if a request still wants it and its artifact is still there.
pub(crate) fn dispatch_execution(core: &mut Core, out: &mut Out, next: NextExecution, now: Timestamp) {
    let NextExecution { engine, kind, spot, worker } = next;
    let job = spot.place.1;
    let Some(execution) = core.executions.get(job) else {
        core.execute_queue.remove(engine, kind, spot);
        return out.inconsistent(format_args!("execution {job} is dispatched and not known"));
    };
    let Some(request) = first_wanted(core, out, execution, now) else { return };
    let validation = adoption::validation_of(core, execution);
    if adoption::claim_execution(core, out, job, now).is_some() {
        return;
    }
    if let Some(validation) = &validation {
        adoption::cancel_same(core, out, validation);
    }
    let Some(execution) = core.executions.get(job) else { return };
    let Some((key, artifact)) = execution.context.artifact.and_then(|key| Some((key, core.artifacts.get(key)?))) else {
        core.execute_queue.remove(engine, kind, spot);
        return out.inconsistent(format_args!("execution {job} is dispatched and has no artifact"));
    };
    let ArtifactState::Prepared(info) = *artifact.state() else {
        return prepare_again(core, out, job, key, now);
    };
    let spec = execute_job(core, execution, engine, info);
    let attempt = execution.attempts + 1;
    let holders = match &spec.block_data {
        BlobRef::Inline(_) => Vec::new(),
        BlobRef::Held { .. } => holders(core, wanted_of(core, execution, now), attempt),
    };
    let Some(execution) = core.executions.get_mut(job) else { return };
    if out.checked(execution.transition(ExecutionEvent::Dispatched { attempt, worker })).is_none() {
        core.execute_queue.remove(engine, kind, spot);
        return;
    }
    execution.attempts = attempt;
    let user = Some(execution.user);
    execution.context.note_queued(now);
    execution.used = Some(info);
    // Dispatched although something more urgent is queued: this is its kind's share, which is not recalled.
    let share = core.execute_queue.order(engine).any(|other| other < kind);
    core.execute_queue.dispatch(engine, kind, spot);
    out.counts.execute_dispatched += 1;
    out.counts.execute_selected[kind as usize] += 1;
    let urgency = if share { 0 } else { staged_rank(kind) };
    let at = AttemptKey { job, attempt };
    send_job(
        core,
        out,
        worker,
        JobToSend {
            at,
            user,
            urgency,
            request: Some(request.id),
            spec: JobSpec::Execute(Box::new(spec)),
            holders,
            validation,
        },
    );
    note_held(core, key, worker, false);
}

fn execute_job(core: &Core, execution: &Execution, engine: EngineKey, info: ArtifactInfo) -> ExecuteJob {
    let spec = &execution.context.spec;
    ExecuteJob {
        artifact: spec.artifact_id(core.workers.engine(engine)),
        digest: Some(info.digest),
        context: execution.work.context.clone(),
        block_data: execution.work.block_data.clone(),
        executor_params: spec.executor_params.clone(),
        cpu_limit: execution.cpu_limit(),
        pov_bomb_limit: execution.work.pov_bomb_limit,
    }
}

/// The artifact of a queued execution was dropped while it waited: it needs it again.
fn prepare_again(core: &mut Core, out: &mut Out, job: JobId, key: ArtifactKey, now: Timestamp) {
    executions::withdraw(core, out, job, now);
    let Some(execution) = core.executions.get_mut(job) else { return };
    out.checked(execution.transition(ExecutionEvent::ArtifactRequested));
    execution.context.since = now;
    out.follow_up(FollowUp::NeedArtifact(ArtifactNeed::of_execution(job, key, execution)));
}
