//! Background tasks, piece by piece.

use crate::{
    core::{BackgroundTask, Completion, Core, FollowUp, Out},
    effect::Effect,
    keys::{ArtifactKey, ClientKey, EngineKey, RequestKey, Waiter},
    notice::DropReason,
    operations::{artifacts, executions, requests::answer},
    tables::{ArtifactState, Execution, PreparationState, RequestTarget, Timer},
    time::Timestamp,
};
use pvf_proto::{
    ids::{JobId, RelayHash},
    verdict::Outcome,
    wire::WorkerKind,
};

/// Does one piece of a task. Returns what is left of the task.
pub(crate) fn do_piece(core: &mut Core, out: &mut Out, task: BackgroundTask, now: Timestamp) -> Option<BackgroundTask> {
    match task {
        BackgroundTask::Release(key) => release(core, out, key).then_some(BackgroundTask::Release(key)),
        BackgroundTask::ExpireOrphans(client, leaf) => {
            expire_orphan(core, out, client, &leaf).then_some(BackgroundTask::ExpireOrphans(client, leaf))
        }
        BackgroundTask::Answer(requests, completion) => answer_one(core, out, requests, completion, now),
        BackgroundTask::AssignEngines => assign_engine(core, out, now).then_some(BackgroundTask::AssignEngines),
        BackgroundTask::Reassign(engine) => {
            reassign(core, out, engine, now).then_some(BackgroundTask::Reassign(engine))
        }
        BackgroundTask::Prune(after) => prune(core, out, after, now).map(|after| BackgroundTask::Prune(Some(after))),
    }
}

/// One waiter of a settled artifact goes on. Returns whether there may be more.
fn release(core: &mut Core, out: &mut Out, key: ArtifactKey) -> bool {
    let Some(artifact) = core.artifacts.get_mut(key) else { return false };
    match artifact.state() {
        ArtifactState::Prepared(_) | ArtifactState::Failed { .. } | ArtifactState::Abandoned(_) => {}
        // It is being made again: the waiters wait on.
        ArtifactState::Listed | ArtifactState::LookingUp | ArtifactState::Dropping | ArtifactState::Preparing(_) => {
            return false;
        }
    }
    if let Some(waiter) = artifact.waiters.pop_first() {
        out.follow_up(FollowUp::ServeWaiter { waiter, artifact: key });
        return true;
    }
    if artifact.precheck_of.is_some() {
        artifacts::forget(core, key);
    } else if matches!(artifact.state(), ArtifactState::Abandoned(_)) {
        if !artifact.is_used() {
            artifacts::forget(core, key);
        } else {
            // Queued executions use it: when one is to be dispatched it asks for the artifact again.
            artifacts::relist(core, out, key);
        }
    }
    false
}

/// One request of a retired leaf expires. What runs already may end; if it comes back it is not dispatched again.
fn expire_orphan(core: &mut Core, out: &mut Out, client: ClientKey, leaf: &RelayHash) -> bool {
    let Some(request) = core.clients.next_orphan(client, leaf) else { return false };
    if !is_running(core, &request) {
        out.follow_up(FollowUp::EndRequest { request, outcome: Some(Outcome::Expired) });
    }
    true
}

fn is_running(core: &Core, key: &RequestKey) -> bool {
    let Some(RequestTarget::Execution { job, .. }) = core.requests.get(key).map(|request| &request.target) else {
        return false;
    };
    core.executions.get(*job).is_some_and(Execution::is_running)
}

fn answer_one(
    core: &mut Core,
    out: &mut Out,
    mut requests: Vec<RequestKey>,
    completion: Box<Completion>,
    now: Timestamp,
) -> Option<BackgroundTask> {
    answer(core, out, requests.pop()?, &completion, now);
    Some(BackgroundTask::Answer(requests, completion))
}

/// One unassigned job looks for an engine.
fn assign_engine(core: &mut Core, out: &mut Out, now: Timestamp) -> bool {
    let has_workers = |waiter: &Waiter| {
        let kind = match waiter {
            Waiter::Preparation(_) => WorkerKind::Prepare,
            Waiter::Execution(_) => WorkerKind::Execute,
        };
        core.workers.totals(kind).0 > 0
    };
    // All preparations sort before all executions: if there are both, the first and the last one are of different
    // kinds.
    let ends = [core.unassigned.first(), core.unassigned.last()];
    let Some(waiter) = ends.into_iter().flatten().copied().find(has_workers) else { return false };
    assign(core, out, waiter, now);
    true
}

/// A waiter that waits for nothing any more is placed.
fn assign(core: &mut Core, out: &mut Out, waiter: Waiter, now: Timestamp) {
    core.unassigned.remove(&waiter);
    match waiter {
        Waiter::Execution(job) => {
            if let Some(execution) = core.executions.get_mut(job) {
                execution.context.note_queued(now);
                executions::withdraw(core, out, job, now);
            }
            out.follow_up(FollowUp::PlaceExecution(job));
        }
        Waiter::Preparation(request) => out.follow_up(FollowUp::PlacePreparation(request)),
    }
}

/// One queued job of an engine without workers is given to another engine.
fn reassign(core: &mut Core, out: &mut Out, engine: EngineKey, now: Timestamp) -> bool {
    if core.workers.is_stranded(WorkerKind::Execute, engine)
        && let Some((kind, spot)) = core.execute_queue.any(engine)
    {
        let job = spot.place.1;
        executions::withdraw(core, out, job, now);
        // Nothing is there any more, unless the queue and the execution contradict each other.
        if core.execute_queue.remove(engine, kind, spot) {
            out.inconsistent(format_args!("execution {job} is queued and does not know it"));
        } else {
            out.follow_up(FollowUp::PlaceExecution(job));
        }
        return true;
    }
    if core.workers.is_prepared_elsewhere(engine)
        && let Some(spot) = core.prepare_queue.first(engine, 1, now, None).first()
    {
        let spot = *spot;
        reassign_preparation(core, out, spot.place.1, now);
        if core.prepare_queue.remove(engine, spot) {
            out.inconsistent(format_args!("preparation {} is queued and does not know it", spot.place.1));
        }
        return true;
    }
    false
}

/// A queued preparation is given up; all its waiters choose an engine again.
fn reassign_preparation(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(task) = core.preparations.remove(&job) else {
        return out.inconsistent(format_args!("preparation {job} is queued and not known"));
    };
    let Some(artifact) = core.artifacts.get_mut(task.artifact) else {
        return out.inconsistent(format_args!("preparation {job} is of an unknown artifact"));
    };
    let (engine, waiters) = (artifact.engine, std::mem::take(&mut artifact.waiters));
    if artifact.precheck_of.is_some() {
        artifacts::forget(core, task.artifact);
    } else {
        artifacts::relist(core, out, task.artifact);
    }
    if let PreparationState::Queued(spot) = *task.state() {
        core.prepare_queue.remove(engine, spot);
    }
    for waiter in waiters {
        assign(core, out, waiter, now);
    }
}

/// The prune interval has passed: the store gets the times of the last need, and pruning begins.
pub(crate) fn on_prune(core: &mut Core, out: &mut Out, now: Timestamp) {
    core.timers.set(Timer::Prune, now.after(core.config.policy.prune_interval));
    let idle = core
        .artifacts
        .least_needed(None)
        .filter_map(|(at, key)| core.artifacts.get(key).map(|artifact| (artifact.id.clone(), now.since(at))));
    out.effect(Effect::SaveNeeded { idle: idle.collect() });
    out.background.push_back(BackgroundTask::Prune(None));
}

/// Looks at the next artifact and drops it if it is unused. Returns where to go on.
fn prune(
    core: &mut Core,
    out: &mut Out,
    after: Option<(Timestamp, ArtifactKey)>,
    now: Timestamp,
) -> Option<(Timestamp, ArtifactKey)> {
    if !core.unassigned.is_empty() || !core.pins.are_known() {
        // Which artifacts these jobs need is not known yet, or which ones are pinned.
        return None;
    }
    let (at, key) = core.artifacts.least_needed(after).next()?;
    let policy = &core.config.policy;
    let Some(artifact) = core.artifacts.get(key) else {
        out.inconsistent(format_args!("the index of needs has an unknown artifact {key:?}"));
        return None;
    };
    if artifact.age(now) < policy.prune_min_age {
        return None;
    }
    let expired = artifact.age(now) > policy.artifact_ttl;
    let may_go = artifact.is_idle() && !core.pins.contains(&artifact.id.code_hash);
    if may_go && (expired || core.artifacts.bytes() > policy.prune_above) {
        out.counts.artifacts_pruned += 1;
        artifacts::drop_artifact(core, out, key, DropReason::Unused);
    }
    Some((at, key))
}
