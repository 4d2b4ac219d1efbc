//! Executions on their way through queue and workers.

use crate::{
    core::{BackgroundTask, Core, Out},
    keys::{AttemptKey, RequestKey, Spot, Waiter},
    operations::{opinions, preparations, workers},
    tables::{Execution, ExecutionEvent, ExecutionState, RequestTarget, Timer},
    time::Timestamp,
};
use pvf_proto::{ids::JobId, wire::WorkerKind};
use smallvec::SmallVec;

/// Queues an execution whose artifact is in the table; one that was dispatched before goes to the front of its kind.
/// If its engine has lost its workers meanwhile, another engine may execute it.
pub(crate) fn enqueue(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} is queued and not known"));
    };
    let Some(artifact) = execution.context.artifact.and_then(|key| core.artifacts.get_mut(key)) else {
        return out.inconsistent(format_args!("execution {job} is queued without an artifact"));
    };
    let user = (execution.attempts == 0).then_some(execution.user);
    let spot = Spot { place: (execution.deadline, job), user };
    if out.checked(execution.transition(ExecutionEvent::Enqueued(spot))).is_none() {
        return;
    }
    artifact.users += 1;
    execution.context.since = now;
    out.counts.execute_enqueued += 1;
    core.execute_queue.push(artifact.engine, execution.kind, spot);
    if core.workers.is_stranded(WorkerKind::Execute, artifact.engine) {
        out.background.push_back(BackgroundTask::Reassign(artifact.engine));
    }
}

/// An unplaced execution waits until this time, and is placed again then.
pub(crate) fn delay(core: &mut Core, out: &mut Out, job: JobId, until: Timestamp, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} is delayed and not known"));
    };
    execution.context.since = now;
    // It needs the artifact again soon, so that it is not pruned meanwhile.
    if let Some(key) = execution.context.artifact {
        core.artifacts.touch(key, now);
    }
    if out.checked(execution.transition(ExecutionEvent::Delayed(until))).is_some() {
        core.timers.set(Timer::RetryExecution(job), until);
    }
}

/// Changes what decides about an execution's place, wherever it is.
pub(crate) fn rearrange(core: &mut Core, out: &mut Out, job: JobId, change: impl FnOnce(&mut Execution)) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} is rearranged and not known"));
    };
    let kind = execution.kind;
    change(execution);
    match *execution.state() {
        ExecutionState::Queued(old) => {
            let user = old.user.map(|_| execution.user);
            let spot = Spot { place: (execution.deadline, job), user };
            if (execution.kind, spot) == (kind, old) {
                return;
            }
            let Some(artifact) = execution.context.artifact.and_then(|key| core.artifacts.get(key)) else {
                return out.inconsistent(format_args!("execution {job} is queued without an artifact"));
            };
            core.execute_queue.remove(artifact.engine, kind, old);
            core.execute_queue.push(artifact.engine, execution.kind, spot);
            out.checked(execution.transition(ExecutionEvent::Moved(spot)));
        }
        ExecutionState::AwaitingArtifact if execution.kind != kind => {
            let priority = execution.kind.prepare_priority();
            if let Some(key) = execution.context.artifact {
                preparations::raise(core, out, key, priority);
            }
        }
        ExecutionState::Unplaced
        | ExecutionState::AwaitingEngine
        | ExecutionState::AwaitingArtifact
        | ExecutionState::BackingOff(_)
        | ExecutionState::Running { .. } => {}
    }
}

/// Takes an execution out of the stage that it is in; an attempt that runs is cancelled. It is
/// [`ExecutionState::Unplaced`] afterwards: the caller places it again, or removes it.
pub(crate) fn withdraw(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} is withdrawn and not known"));
    };
    let Some(before) = out.checked(execution.transition(ExecutionEvent::Withdrawn)) else { return };
    let artifact = execution.context.artifact.and_then(|key| core.artifacts.get_mut(key));
    match before {
        ExecutionState::Unplaced => {}
        ExecutionState::AwaitingEngine => {
            core.unassigned.remove(&Waiter::Execution(job));
        }
        ExecutionState::AwaitingArtifact => {
            if let Some(artifact) = artifact {
                artifact.waiters.remove(&Waiter::Execution(job));
            }
        }
        ExecutionState::BackingOff(until) => {
            execution.context.note_queued(now);
            core.timers.clear(Timer::RetryExecution(job), until);
        }
        ExecutionState::Queued(spot) => {
            execution.context.note_queued(now);
            let Some(artifact) = artifact else {
                return out.inconsistent(format_args!("execution {job} was queued without an artifact"));
            };
            artifact.users -= 1;
            core.execute_queue.remove(artifact.engine, execution.kind, spot);
        }
        ExecutionState::Running { worker, attempt } => {
            let Some(artifact) = artifact else {
                return out.inconsistent(format_args!("execution {job} ran without an artifact"));
            };
            artifact.users -= 1;
            let at = AttemptKey { job, attempt };
            if core.workers.get(&worker).is_some_and(|worker| worker.has(at)) {
                workers::send_cancel(core, out, worker, at);
            }
        }
    }
}

/// The attempt of an execution is over. It is [`ExecutionState::Unplaced`] afterwards: the caller places it again, or
/// finishes it.
pub(crate) fn attempt_over(core: &mut Core, out: &mut Out, job: JobId, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else {
        return out.inconsistent(format_args!("execution {job} has an attempt and is not known"));
    };
    if out.checked(execution.transition(ExecutionEvent::AttemptOver)).is_none() {
        return;
    }
    execution.context.timings.execute += now.since(execution.context.since);
    match execution.context.artifact.and_then(|key| core.artifacts.get_mut(key)) {
        Some(artifact) => artifact.users -= 1,
        None => out.inconsistent(format_args!("execution {job} ran without an artifact")),
    }
}

/// An execution that is in no stage gets another job id, which no other has.
pub(crate) fn rename(core: &mut Core, from: JobId, to: JobId) {
    let Some(execution) = core.executions.remove(from) else { return };
    for waiter in &execution.waiters {
        if let Some(RequestTarget::Execution { job, .. }) =
            core.requests.get_mut(waiter).map(|request| &mut request.target)
        {
            *job = to;
        }
    }
    core.executions.insert(to, execution);
}

/// Removes an execution that was withdrawn or is over. Returns the requests that waited for it.
pub(crate) fn remove(core: &mut Core, job: JobId) -> Option<SmallVec<[RequestKey; 1]>> {
    let execution = core.executions.remove(job)?;
    opinions::clear_timer(&mut core.timers, job, execution.opinions.first());
    let (user, kind) = execution.charged;
    core.clients.release_bytes(user, kind, execution.bytes);
    core.specs.release(&execution.context.spec);
    Some(execution.waiters)
}
