//! Preparations in the queue.

use crate::{
    core::{BackgroundTask, Core, Out},
    keys::{ArtifactKey, EngineKey, PrepareSpot},
    tables::{ArtifactEvent, ArtifactState, Preparation, PreparationEvent, PreparationState},
    time::Timestamp,
};
use pvf_proto::{ids::JobId, priority::PreparePriority};

/// Queues the preparation of an artifact.
pub(crate) fn enqueue(core: &mut Core, out: &mut Out, key: ArtifactKey, now: Timestamp) {
    let job = core.next_job();
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("preparation of an unknown artifact {key:?}"));
    };
    if out.checked(artifact.transition(ArtifactEvent::PreparationQueued(job))).is_none() {
        return;
    }
    artifact.prepare_times = None;
    let spot = PrepareSpot { priority: artifact.priority, place: (now, job) };
    core.preparations.insert(job, Preparation::new(key, spot, now));
    out.counts.prepare_enqueued += 1;
    let engine = artifact.engine;
    push(core, out, engine, spot);
}

/// Puts a preparation into the queue of its engine. If that has lost its prepare workers meanwhile, another engine may
/// do the work.
fn push(core: &mut Core, out: &mut Out, engine: EngineKey, spot: PrepareSpot) {
    core.prepare_queue.push(engine, spot);
    if core.workers.is_prepared_elsewhere(engine) {
        out.background.push_back(BackgroundTask::Reassign(engine));
    }
}

/// Queues a preparation again whose attempt is over, at its first place.
pub(crate) fn requeue(core: &mut Core, out: &mut Out, job: JobId) {
    let Some(task) = core.preparations.get_mut(&job) else {
        return out.inconsistent(format_args!("preparation {job} is queued again and not known"));
    };
    let Some(artifact) = core.artifacts.get(task.artifact) else {
        return out.inconsistent(format_args!("preparation {job} is of an unknown artifact"));
    };
    let spot = PrepareSpot { priority: artifact.priority, place: (task.enqueued, job) };
    if out.checked(task.transition(PreparationEvent::Requeued(spot))).is_some() {
        let engine = artifact.engine;
        push(core, out, engine, spot);
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
