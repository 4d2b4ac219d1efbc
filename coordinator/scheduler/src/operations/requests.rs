//! Requests and their verdicts.

use crate::{
    core::{Completion, Core, Out},
    effect::{Answered, Effect},
    keys::RequestKey,
    operations::clients::forget_if_empty,
    tables::{JobContext, RequestClass, RequestTarget},
    time::Timestamp,
};
use pvf_proto::{
    identity::{ClientId, WorkerId},
    verdict::WireOutcome,
    wire::{ArtifactSummary, Timings, Verdict, VerdictUsage},
};
use std::{sync::Arc, time::Duration};

/// How long after its deadline a verdict may still be asked for: by a client that counts from when the request was
/// accepted, or after a time in which the bus carried nothing.
const ASKED_WITHIN: Duration = Duration::from_secs(600);

/// How something ended, with everything that the verdict says about it but the usage of executions and a second
/// opinion.
pub(crate) fn completion(
    core: &Core,
    context: &JobContext,
    outcome: WireOutcome,
    worker: Option<WorkerId>,
    attempts: u32,
) -> Completion {
    let artifact = context.artifact.and_then(|key| core.artifacts.get(key));
    Completion {
        outcome,
        worker,
        code_hash: context.spec.code,
        artifact: artifact.map(|artifact| ArtifactSummary {
            id: context.spec.artifact_id(core.workers.engine(artifact.engine)),
            bytes: artifact.bytes,
            cached: context.cached && artifact.bytes > 0,
        }),
        timings: context.timings.into(),
        attempts,
        usage: VerdictUsage {
            preparation: artifact.and_then(|artifact| artifact.made.as_ref()).map(|made| made.usage),
            executions: Vec::new(),
        },
        second_opinion: None,
    }
}

/// Sends the verdict of a request and removes it.
pub(crate) fn answer(core: &mut Core, out: &mut Out, key: RequestKey, completion: &Completion, now: Timestamp) {
    // A request may have ended on its own while its verdict waited among the background tasks.
    let Some(Removed { client, about, deadline }) = remove(core, key) else { return };
    let total = now.since(about.arrived);
    // A request that joined an execution later did not wait for all of its stages.
    let own = |stage: Duration| stage.min(total);
    let timings = Timings {
        queued: own(completion.timings.queued),
        prepare: own(completion.timings.prepare),
        execute: own(completion.timings.execute),
        total,
    };
    let verdict = Arc::new(Verdict {
        request: key.id,
        outcome: completion.outcome.clone(),
        code_hash: completion.code_hash,
        artifact: completion.artifact.clone(),
        timings,
        worker: completion.worker,
        attempts: completion.attempts,
        usage: completion.usage.clone(),
        second_opinion: completion.second_opinion.clone(),
    });
    if let Some(client) = client {
        let end = deadline.max(now).after(ASKED_WITHIN);
        core.verdicts.insert(client, verdict.clone(), end, now);
        out.effect(Effect::Verdict { client, verdict, about: Some(about) });
    }
}

/// A request that was removed.
pub(crate) struct Removed {
    /// Its client, if that is still known.
    client: Option<ClientId>,
    about: Answered,
    deadline: Timestamp,
}

/// Removes a request without a verdict.
pub(crate) fn remove(core: &mut Core, key: RequestKey) -> Option<Removed> {
    let request = core.requests.remove(&key)?;
    let class = RequestClass(request.target.kind());
    if let RequestTarget::Preparation(context) = &request.target {
        core.specs.release(&context.spec);
    }
    core.clients.uncount_request(key, class, request.leaf);
    let client = core.clients.get(key.client).map(|client| client.id);
    forget_if_empty(core, key.client);
    let about = Answered { work: request.target.work(), job: request.target.job(), arrived: request.arrived };
    Some(Removed { client, about, deadline: request.deadline })
}
