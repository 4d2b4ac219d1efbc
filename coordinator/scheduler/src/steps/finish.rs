//! How executions, preparations and single requests end.

use crate::{
    core::{BackgroundTask, Core, Out},
    keys::{RequestKey, Waiter},
    operations::{
        executions, opinions,
        requests::{answer, completion, remove},
    },
    tables::{ExecutionState, Made, RequestTarget},
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    ids::JobId,
    verdict::{Outcome, WireOutcome},
};
use std::sync::Arc;

/// Requests of one execution that are answered at once; more are answered in the background.
const ANSWERED_AT_ONCE: usize = 32;

/// How an execution ends.
pub(crate) struct ExecutionEnd {
    pub(crate) job: JobId,
    pub(crate) outcome: WireOutcome,
    pub(crate) worker: Option<WorkerId>,
}

/// How a request for a preparation ends.
pub(crate) struct PreparationEnd {
    pub(crate) request: RequestKey,
    pub(crate) outcome: WireOutcome,
    /// The preparation, if the request waited for it.
    pub(crate) prepared: Option<Arc<Made>>,
}

/// An execution ends: all its requests get the verdict.
pub(crate) fn execution(core: &mut Core, out: &mut Out, end: ExecutionEnd, now: Timestamp) {
    let ExecutionEnd { job, outcome, worker } = end;
    let (outcome, worker, second_opinion) = opinions::settle(core, out, job, (outcome, worker));
    let Some(execution) = core.executions.get(job) else {
        return out.inconsistent(format_args!("execution {job} ends and is not known"));
    };
    if !matches!(execution.state(), ExecutionState::Unplaced | ExecutionState::AwaitingArtifact) {
        out.inconsistent(format_args!("execution {job} ends in state {:?}", execution.state()));
    }
    let mut completion = completion(core, &execution.context, outcome, worker, execution.begun());
    completion.usage.executions = execution.reported.to_vec();
    completion.second_opinion = second_opinion;
    let Some(waiters) = executions::remove(core, job) else { return };
    if waiters.len() <= ANSWERED_AT_ONCE {
        for request in waiters {
            answer(core, out, request, &completion, now);
        }
    } else {
        out.background.push_back(BackgroundTask::Answer(waiters.into_vec(), Box::new(completion)));
    }
}

/// A precheck or heads-up ends.
pub(crate) fn preparation(core: &mut Core, out: &mut Out, end: PreparationEnd, now: Timestamp) {
    let PreparationEnd { request: key, outcome, prepared } = end;
    // It may have ended on its own since it was served.
    let Some(context) = core.requests.preparation_mut(&key) else { return };
    context.note_artifact_ready(prepared.as_deref(), now);
    let outcome = match outcome {
        Outcome::PrecheckOk if context.heads_up.is_some() => Outcome::HeadsUpPrepared,
        outcome => outcome,
    };
    let context = context.clone();
    let mut completion = completion(core, &context, outcome, None, 0);
    // A precheck of an artifact that is prepared has waited for another preparation than the artifact's.
    if let Some(made) = prepared {
        completion.usage.preparation = Some(made.usage);
    }
    answer(core, out, key, &completion, now);
}

/// A single request ends before what it waits for: its deadline, leaf or cancellation. Without an outcome there is no
/// verdict.
pub(crate) fn end_request(
    core: &mut Core,
    out: &mut Out,
    key: RequestKey,
    outcome: Option<WireOutcome>,
    now: Timestamp,
) {
    // It may have ended in the same step for another reason.
    let Some(request) = core.requests.get(&key) else { return };
    let completion = match &request.target {
        RequestTarget::Preparation(context) => {
            let waiter = Waiter::Preparation(key);
            let completion = outcome.map(|outcome| completion(core, context, outcome, None, 0));
            let artifact = context.artifact;
            core.unassigned.remove(&waiter);
            if let Some(artifact) = artifact.and_then(|key| core.artifacts.get_mut(key)) {
                artifact.waiters.remove(&waiter);
            }
            completion
        }
        RequestTarget::Execution { job, .. } => {
            let job = *job;
            // Without the execution the request's verdict is among the background tasks already.
            let Some(execution) = core.executions.get(job) else { return };
            let completion = outcome.map(|outcome| {
                let (outcome, worker, record) = opinions::end_of_request(out, job, execution, outcome);
                let mut completion = completion(core, &execution.context_at(now), outcome, worker, execution.begun());
                completion.usage.executions = execution.reported.to_vec();
                completion.second_opinion = record;
                completion
            });
            leave_execution(core, out, job, key, now);
            completion
        }
    };
    match completion {
        Some(completion) => answer(core, out, key, &completion, now),
        None => {
            remove(core, key);
        }
    }
}

/// A request does not wait for an execution any more: the next one takes its place, or the execution is stopped.
fn leave_execution(core: &mut Core, out: &mut Out, job: JobId, key: RequestKey, now: Timestamp) {
    let Some(execution) = core.executions.get_mut(job) else { return };
    execution.waiters.retain(|waiter| *waiter != key);
    let heir = execution.waiters.first().and_then(|key| Some((key.client, core.requests.get(key)?.leaf)));
    let Some((client, leaf)) = heir else {
        executions::withdraw(core, out, job, now);
        executions::remove(core, job);
        return;
    };
    let user = core.clients.user_of(client);
    executions::rearrange(core, out, job, |execution| {
        execution.work.relay_leaf = leaf;
        execution.user = user.unwrap_or(execution.user);
    });
}
