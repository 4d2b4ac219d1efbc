//! Placing: a job gets an engine, and then needs its artifact for it.

use crate::{
    core::{ArtifactNeed, Core, FollowUp, Out},
    keys::{ArtifactKey, RequestKey, Waiter},
    operations::artifacts::find_or_add,
    policies::choose_engine,
    tables::{ExecutionEvent, PvfSpec},
    time::Timestamp,
};
use pvf_proto::{ids::JobId, priority::PreparePriority, wire::WorkerKind};

fn place(core: &mut Core, kind: WorkerKind, spec: &PvfSpec, now: Timestamp) -> Option<ArtifactKey> {
    let engine = choose_engine(&core.workers, &core.artifacts, &core.execute_queue, kind, spec)?;
    Some(find_or_add(core, spec, engine, now))
}

/// Chooses the engine of an execution and asks for its artifact; without a worker it waits unassigned.
pub(crate) fn place_execution(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(execution) = core.executions.get(job) else {
        return out.inconsistent(format_args!("execution {job} is placed and not known"));
    };
    let spec = execution.context.spec.clone();
    let key = place(core, WorkerKind::Execute, &spec, now);
    let Some(execution) = core.executions.get_mut(job) else { return };
    execution.context.artifact = key;
    match key {
        None => {
            out.checked(execution.transition(ExecutionEvent::NoEngine));
            core.unassigned.insert(Waiter::Execution(job));
        }
        Some(key) => {
            out.checked(execution.transition(ExecutionEvent::ArtifactRequested));
            out.follow_up(FollowUp::NeedArtifact(ArtifactNeed::of_execution(job, key, execution)));
        }
    }
}

/// Chooses the engine of a precheck or heads-up and asks for its artifact.
pub(crate) fn place_preparation(core: &mut Core, out: &mut Out, request: RequestKey, now: Timestamp) {
    let Some(context) = core.requests.preparation(&request) else {
        return out.inconsistent(format_args!("{request:?} is placed and not known"));
    };
    let (spec, heads_up) = (context.spec.clone(), context.heads_up.is_some());
    let key = place(core, WorkerKind::Prepare, &spec, now);
    if let Some(context) = core.requests.preparation_mut(&request) {
        context.artifact = key;
    }
    let waiter = Waiter::Preparation(request);
    let Some(key) = key else {
        core.unassigned.insert(waiter);
        return;
    };
    let priority = if heads_up { PreparePriority::Background } else { PreparePriority::Normal };
    out.follow_up(FollowUp::NeedArtifact(ArtifactNeed { key, waiter, spec, priority, precheck: !heads_up }));
}
