//! Artifacts: looked up in the store, prepared when they are not there, and handed to what waits for them.

use crate::{
    core::{ArtifactNeed, Core, FollowUp, Out},
    effect::Effect,
    event::Listed,
    keys::{ArtifactKey, RequestKey, Waiter},
    notice::{DropReason, Notice},
    operations::{adoption, artifacts, executions, preparations, removals},
    policies::{death_pause, may_pass},
    tables::{Artifact, ArtifactEvent, ArtifactState, PrecheckAnswer, PrecheckTerms, PvfSpec},
    time::Timestamp,
};
use pvf_proto::{
    artifact::StoredArtifact,
    ids::ArtifactId,
    params::PvfPrepKind,
    verdict::{InternalError, Outcome, PrepareError},
};
use std::sync::Arc;

/// Whether an artifact could not be made because of what is not so for this need: other limits of size or memory, a
/// shorter time limit, or the link of a precheck with parameters that an execution does not have, or reports by itself.
fn failed_by_other_limits(artifact: &Artifact, spec: &PvfSpec, precheck: bool) -> bool {
    let ArtifactState::Failed { error, .. } = artifact.state() else { return false };
    if let PrepareError::TimedOut { limit_ms } = error {
        let kind = if precheck { PvfPrepKind::Precheck } else { PvfPrepKind::Prepare };
        return spec.prepare_limit(kind).as_millis() > u128::from(*limit_ms);
    }
    let made_with = artifact.spec.as_deref();
    if let PrepareError::RuntimeConstruction(_) = error {
        let other_params = made_with.is_some_and(|made_with| made_with.executor_params != spec.executor_params);
        return artifact.linked && !precheck || other_params;
    }
    error.depends_on_limits() && made_with.is_some_and(|made_with| !made_with.same_limits(spec))
}

/// Something needs an artifact: it goes on at once, or waits.
pub(crate) fn need(core: &mut Core, out: &mut Out, need: ArtifactNeed, now: Timestamp) {
    let ArtifactNeed { key, waiter, spec, priority, precheck } = need;
    core.artifacts.touch(key, now);
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("unknown artifact {key:?} is needed"));
    };
    let made_otherwise = failed_by_other_limits(artifact, &spec, precheck);
    if artifact.spec.is_none() || artifact.is_idle() {
        // The first need after a pause decides how the artifact is made, should it have to be made again.
        (artifact.priority, artifact.precheck) = (priority, precheck);
        if !made_otherwise {
            artifacts::set_spec(core, key, &spec);
        }
    }
    let Some(artifact) = core.artifacts.get_mut(key) else { return };
    artifact.priority = artifact.priority.max(priority);
    artifact.precheck &= precheck;
    match artifact.state() {
        ArtifactState::LookingUp | ArtifactState::Dropping | ArtifactState::Abandoned(_) => {
            artifact.waiters.insert(waiter);
        }
        ArtifactState::Listed => {
            artifact.waiters.insert(waiter);
            out.checked(artifact.transition(ArtifactEvent::LookUp));
            out.effect(Effect::LookUp { artifact: artifact.id.clone() });
        }
        ArtifactState::Preparing(job) => {
            let job = *job;
            artifact.waiters.insert(waiter);
            preparations::raise(core, out, key, priority);
            preparations::tell_if_taken(core, out, job);
        }
        ArtifactState::Prepared(_) => serve(core, out, Serving { waiter, artifact: key, waited: false }, now),
        ArtifactState::Failed { .. } if made_otherwise => {
            artifact.waiters.insert(waiter);
            artifact.precheck = precheck;
            artifacts::set_spec(core, key, &spec);
            preparations::enqueue(core, out, key, now);
        }
        ArtifactState::Failed { error, at } => {
            let failures = artifact.failures;
            if may_pass(&core.config.policy, (error, failures), precheck, now.since(*at)) {
                artifact.waiters.insert(waiter);
                preparations::enqueue(core, out, key, now);
            } else {
                serve(core, out, Serving { waiter, artifact: key, waited: false }, now);
            }
        }
    }
}

/// The spec that a waiter asked for, and whether it is a precheck.
fn need_of(core: &Core, waiter: Waiter) -> Option<(Arc<PvfSpec>, bool)> {
    match waiter {
        Waiter::Execution(job) => Some((core.executions.get(job)?.context.spec.clone(), false)),
        Waiter::Preparation(request) => {
            let context = core.requests.preparation(&request)?;
            Some((context.spec.clone(), context.heads_up.is_none()))
        }
    }
}

/// What a precheck is told of an artifact that is prepared.
enum Precheck {
    /// A precheck under the same terms has answered this.
    Answered(Result<(), PrepareError>),
    /// There was none: executions do not tell whether the code can be linked, nor does the store.
    Needed(RequestKey),
}

/// What a waiter is told of an artifact that is prepared, if it is a precheck and the artifact was not prepared for it.
fn precheck_answer(core: &Core, (key, waiter): (ArtifactKey, Waiter), now: Timestamp) -> Option<Precheck> {
    let Waiter::Preparation(request) = waiter else { return None };
    let (spec, true) = need_of(core, waiter)? else { return None };
    let artifact = core.artifacts.get(key).filter(|artifact| artifact.precheck_of.is_none())?;
    let answer = artifact.prechecks.answer(&PrecheckTerms::of(&spec));
    let holds = |answer: &&PrecheckAnswer| match &answer.result {
        Err(error) if error.may_be_the_machines() => {
            now.since(answer.at) < death_pause(&core.config.policy, answer.failures)
        }
        Ok(()) | Err(_) => true,
    };
    Some(match answer.filter(holds) {
        Some(answer) => Precheck::Answered(answer.result.clone()),
        None => Precheck::Needed(request),
    })
}

/// A need that a settled artifact ends.
pub(crate) struct Serving {
    pub(crate) waiter: Waiter,
    pub(crate) artifact: ArtifactKey,
    /// The artifact was not settled when it was needed.
    pub(crate) waited: bool,
}

/// A waiter goes on with an artifact that is settled.
pub(crate) fn serve(core: &mut Core, out: &mut Out, serving: Serving, now: Timestamp) {
    let Serving { waiter, artifact: key, waited } = serving;
    let need = need_of(core, waiter);
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("{waiter:?} is served by an unknown artifact {key:?}"));
    };
    if let Some((spec, precheck)) = need
        && failed_by_other_limits(artifact, &spec, precheck)
    {
        // It was made with another request's limits: now with this one's.
        artifact.waiters.insert(waiter);
        artifact.precheck = precheck;
        artifacts::set_spec(core, key, &spec);
        preparations::enqueue(core, out, key, now);
        return;
    }
    let prepared = artifact.made.clone().filter(|_| waited);
    let of = artifact.precheck_of;
    let outcome = match artifact.state() {
        ArtifactState::Prepared(_) => match precheck_answer(core, (key, waiter), now) {
            Some(Precheck::Answered(result)) => result.err().map(Outcome::PreparationFailed),
            Some(Precheck::Needed(request)) => {
                if let Some(key) = preparations::precheck(core, out, key, request) {
                    adoption::adopt_or_enqueue(core, out, key, now);
                }
                return;
            }
            None => None,
        },
        ArtifactState::Failed { error, .. } => Some(Outcome::PreparationFailed(error.clone())),
        ArtifactState::Abandoned(error) => Some(Outcome::Internal(error.clone())),
        state @ (ArtifactState::Listed
        | ArtifactState::LookingUp
        | ArtifactState::Dropping
        | ArtifactState::Preparing(_)) => {
            return out.inconsistent(format_args!("{waiter:?} is served by an artifact in state {state:?}"));
        }
    };
    match waiter {
        Waiter::Preparation(request) => {
            if let (Some(of), Some(context)) = (of, core.requests.preparation_mut(&request)) {
                context.artifact = Some(of);
            }
            let outcome = outcome.unwrap_or(Outcome::PrecheckOk);
            out.follow_up(FollowUp::FinishPreparation { request, outcome, prepared });
        }
        Waiter::Execution(job) => {
            let Some(execution) = core.executions.get_mut(job) else {
                return out.inconsistent(format_args!("execution {job} is served and not known"));
            };
            execution.context.note_artifact_ready(prepared.as_deref(), now);
            match outcome {
                None => executions::enqueue(core, out, job, now),
                Some(outcome) => out.follow_up(FollowUp::FinishExecution { job, outcome, worker: None }),
            }
        }
    }
}

/// The store answered a look-up.
pub(crate) fn on_looked_up(
    core: &mut Core,
    out: &mut Out,
    id: &ArtifactId,
    found: Result<Option<StoredArtifact>, String>,
    now: Timestamp,
) {
    let Some(key) = artifacts::find(core, id) else { return };
    // Only the answer to a look-up that is awaited counts.
    if !core.artifacts.get(key).is_some_and(|artifact| matches!(artifact.state(), ArtifactState::LookingUp)) {
        return;
    }
    match found {
        Ok(Some(StoredArtifact::Prepared(info))) => artifacts::ready(core, out, key, info, None),
        Ok(Some(StoredArtifact::Failed(error))) => artifacts::fail(core, out, key, error, now),
        Ok(Some(StoredArtifact::Damaged)) => artifacts::drop_artifact(core, out, key, DropReason::Damaged),
        Ok(None) => adoption::adopt_or_enqueue(core, out, key, now),
        Err(why) => artifacts::abandon(core, out, key, InternalError::Store(why)),
    }
}

/// The store has removed an artifact, or could not for this reason.
pub(crate) fn on_dropped(core: &mut Core, out: &mut Out, id: &ArtifactId, error: Option<String>, now: Timestamp) {
    removals::note_dropped(core, out, id, error.as_deref());
    let Some(key) = artifacts::find(core, id) else { return };
    let Some(artifact) = core.artifacts.get(key) else { return };
    if !matches!(artifact.state(), ArtifactState::Dropping) {
        return;
    }
    if !artifact.waiters.is_empty() {
        preparations::enqueue(core, out, key, now);
    } else if !artifact.is_used() && error.is_none() {
        artifacts::forget(core, key);
    } else {
        // The store has it still, or queued executions use it: when one is to be dispatched it asks for it again.
        artifacts::relist(core, out, key);
    }
}

/// Artifacts that the store has, and how long each was not needed.
pub(crate) fn on_listed(core: &mut Core, out: &mut Out, listed: Vec<Listed>, now: Timestamp) {
    for Listed { artifact, bytes, idle } in listed {
        if core.workers.find_engine(&artifact.engine).is_none() {
            out.notice(Notice::EngineSeen { engine: artifact.engine.clone() });
        }
        let engine = core.workers.engine_key(&artifact.engine);
        if core.artifacts.find(artifact.code_hash, artifact.prep_hash, engine).is_none() {
            let key = core.artifacts.add(artifact, engine, now.before(idle));
            core.artifacts.set_bytes(key, bytes);
        }
    }
}
