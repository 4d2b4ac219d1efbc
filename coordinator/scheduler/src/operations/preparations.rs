//! Preparations in the queue.

use crate::{
    core::{BackgroundTask, Core, FollowUp, Out},
    keys::{ArtifactKey, AttemptKey, EngineKey, PrepareSpot, RequestKey, Waiter},
    notice::Notice,
    operations::{artifacts, workers},
    tables::{
        Artifact, ArtifactEvent, ArtifactState, FetchStage, HeadsUp, PrecheckTerms, Preparation, PreparationEvent,
        PreparationState, Timer,
    },
    time::Timestamp,
};
use pvf_proto::{
    ids::JobId,
    priority::PreparePriority,
    verdict::{InternalError, Outcome},
};

/// Waiters that are looked at for heads-ups when a worker has their code.
const TOLD_AT_ONCE: usize = 256;

/// Queues the preparation of an artifact.
pub(crate) fn enqueue(core: &mut Core, out: &mut Out, key: ArtifactKey, now: Timestamp) {
    let job = core.next_job();
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("preparation of an unknown artifact {key:?}"));
    };
    if out.checked(artifact.transition(ArtifactEvent::PreparationQueued(job))).is_none() {
        return;
    }
    artifact.made = None;
    let spot = PrepareSpot { priority: artifact.priority, place: (now, job) };
    core.preparations.insert(job, Preparation::new(key, spot, now));
    out.counts.prepare_enqueued += 1;
    let engine = artifact.engine;
    push(core, out, engine, spot, now);
}

/// If no prepare worker compiles for an engine with preparations, these wait
/// [`prepare_worker_grace`](crate::Policy::prepare_worker_grace) for one to register.
pub(crate) fn await_worker(core: &mut Core, out: &mut Out, engine: EngineKey, now: Timestamp) {
    if core.workers.can_prepare(engine) || core.without_prepare_worker.contains_key(&engine) {
        return;
    }
    let until = now.after(core.config.policy.prepare_worker_grace);
    core.without_prepare_worker.insert(engine, until);
    core.timers.set(Timer::NoPrepareWorker(engine), until);
    out.notice(Notice::NoPrepareWorker { engine: core.workers.engine(engine).clone() });
}

/// No prepare worker of an engine has come in time: its queued preparations end as an infrastructure failure.
pub(crate) fn give_up_unprepared(core: &mut Core, out: &mut Out, engine: EngineKey, now: Timestamp) {
    core.without_prepare_worker.remove(&engine);
    if core.workers.can_prepare(engine) {
        return;
    }
    let name = core.workers.engine(engine).clone();
    let why = format!("no prepare worker compiles for engine {name} (see --cpu-baseline of the execute workers)");
    for spot in core.prepare_queue.first(engine, usize::MAX, now, None) {
        let job = spot.place.1;
        let Some(key) = core.preparations.get(&job).map(|task| task.artifact) else { continue };
        withdraw(core, out, job);
        artifacts::abandon(core, out, key, InternalError::WorkerDraining(why.clone()));
    }
}

/// A prepare worker has registered: what it compiles for does not wait for one any more.
pub(crate) fn worker_came(core: &mut Core) {
    let (workers, timers) = (&core.workers, &mut core.timers);
    core.without_prepare_worker.retain(|engine, until| {
        let waits = !workers.can_prepare(*engine);
        if !waits {
            timers.clear(Timer::NoPrepareWorker(*engine), *until);
        }
        waits
    });
}

/// Puts a preparation into the queue of its engine. If that has lost its prepare workers meanwhile, another engine may
/// do the work.
fn push(core: &mut Core, out: &mut Out, engine: EngineKey, spot: PrepareSpot, now: Timestamp) {
    core.prepare_queue.push(engine, spot);
    await_worker(core, out, engine, now);
    if core.workers.is_prepared_elsewhere(engine) {
        out.background.push_back(BackgroundTask::Reassign(engine));
    }
}

/// Queues a preparation again whose attempt is over, at its first place.
pub(crate) fn requeue(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(task) = core.preparations.get_mut(&job) else {
        return out.inconsistent(format_args!("preparation {job} is queued again and not known"));
    };
    let Some(artifact) = core.artifacts.get(task.artifact) else {
        return out.inconsistent(format_args!("preparation {job} is of an unknown artifact"));
    };
    let spot = PrepareSpot { priority: artifact.priority, place: (task.enqueued, job) };
    if out.checked(task.transition(PreparationEvent::Requeued(spot))).is_some() {
        let engine = artifact.engine;
        push(core, out, engine, spot, now);
    }
}

/// Takes the preparation of an artifact out of the queue, if it is there: an adopted one takes its place.
pub(crate) fn unqueue(core: &mut Core, key: ArtifactKey) {
    let Some(artifact) = core.artifacts.get(key) else { return };
    let ArtifactState::Preparing(job) = *artifact.state() else { return };
    let engine = artifact.engine;
    if let Some(PreparationState::Queued(spot)) = core.preparations.remove(&job).map(|task| task.state().clone()) {
        core.prepare_queue.remove(engine, spot);
    }
}

/// Ends a preparation, wherever it is; an attempt that runs is cancelled.
pub(crate) fn withdraw(core: &mut Core, out: &mut Out, job: JobId) {
    let Some(task) = core.preparations.remove(&job) else {
        return out.inconsistent(format_args!("preparation {job} is withdrawn and not known"));
    };
    let Some(engine) = core.artifacts.get(task.artifact).map(|artifact| artifact.engine) else {
        return out.inconsistent(format_args!("preparation {job} is of an unknown artifact"));
    };
    match *task.state() {
        PreparationState::Queued(spot) => {
            core.prepare_queue.remove(engine, spot);
        }
        PreparationState::BackingOff(until) => core.timers.clear(Timer::RetryPreparation(job), until),
        PreparationState::Dispatched { attempt, worker, .. } => {
            let at = AttemptKey { job, attempt };
            if core.workers.get(&worker).is_some_and(|worker| worker.has(at)) {
                workers::send_cancel(core, out, worker, at);
            }
        }
    }
}

/// Removes a queued preparation if no client that waits for it holds the code.
pub(crate) fn drop_unwanted(core: &mut Core, out: &mut Out, job: JobId) {
    let Some(key) = core.preparations.get(&job).map(|task| task.artifact) else { return };
    withdraw(core, out, job);
    if core.artifacts.get(key).is_some_and(Artifact::is_used) {
        artifacts::relist(core, out, key);
    } else {
        artifacts::forget(core, key);
    }
}

/// Answers the heads-ups that wait until a worker has the code of a preparation, if one has. Many are answered only
/// when the artifact is there.
pub(crate) fn tell_if_taken(core: &Core, out: &mut Out, job: JobId) {
    let Some(task) = core.preparations.get(&job) else { return };
    let PreparationState::Dispatched { attempt, worker, .. } = *task.state() else { return };
    let slot = core.workers.get(&worker).and_then(|worker| worker.slot(AttemptKey { job, attempt }));
    if slot.is_none_or(|slot| slot.fetch != FetchStage::Over) {
        return;
    }
    let Some(artifact) = core.artifacts.get(task.artifact) else { return };
    for waiter in artifact.waiters.iter().take(TOLD_AT_ONCE) {
        if let Waiter::Preparation(request) = *waiter
            && core.requests.preparation(&request).is_some_and(|context| context.heads_up == Some(HeadsUp::Taken))
        {
            out.follow_up(FollowUp::EndRequest { request, outcome: Some(Outcome::HeadsUpTaken) });
        }
    }
}

/// Makes the preparation of an artifact more urgent, if it is queued; it keeps its arrival.
pub(crate) fn raise(core: &mut Core, out: &mut Out, key: ArtifactKey, priority: PreparePriority) {
    let Some(artifact) = core.artifacts.get_mut(key) else { return };
    artifact.priority = artifact.priority.max(priority);
    let (engine, priority) = (artifact.engine, artifact.priority);
    let ArtifactState::Preparing(job) = *artifact.state() else { return };
    let Some(task) = core.preparations.get_mut(&job) else {
        return out.inconsistent(format_args!("{key:?} is prepared by job {job}, which is not known"));
    };
    if let PreparationState::Queued(spot) = *task.state()
        && spot.priority < priority
    {
        let raised = PrepareSpot { priority, ..spot };
        core.prepare_queue.remove(engine, spot);
        core.prepare_queue.push(engine, raised);
        out.checked(task.transition(PreparationEvent::Moved(raised)));
    }
}

/// Links the code of an artifact that is prepared, for a precheck: it is compiled once more, and the artifact stays as
/// it is for executions. Prechecks under the same terms share one such preparation. Returns what has to be prepared.
#[must_use]
pub(crate) fn precheck(core: &mut Core, out: &mut Out, of: ArtifactKey, request: RequestKey) -> Option<ArtifactKey> {
    let spec = core.requests.preparation(&request).map(|context| context.spec.clone())?;
    let terms = PrecheckTerms::of(&spec);
    let under_way = core.artifacts.get(of).and_then(|artifact| artifact.prechecks.under_way(&terms));
    let Some(key) = under_way.or_else(|| core.artifacts.add_precheck(of)) else {
        out.inconsistent(format_args!("a precheck of an unknown artifact {of:?}"));
        return None;
    };
    if let Some(context) = core.requests.preparation_mut(&request) {
        context.artifact = Some(key);
    }
    if let Some(entry) = core.artifacts.get_mut(key) {
        entry.waiters.insert(Waiter::Preparation(request));
    }
    if under_way.is_some() {
        return None;
    }
    artifacts::set_spec(core, key, &spec);
    if let Some(entry) = core.artifacts.get_mut(key) {
        entry.priority = PreparePriority::Normal;
    }
    if let Some(artifact) = core.artifacts.get_mut(of) {
        artifact.prechecks.began(terms, key);
    }
    Some(key)
}
