//! The artifact table together with specs, store and waiters.

use crate::{
    core::{BackgroundTask, Core, Out},
    effect::Effect,
    keys::{ArtifactKey, EngineKey},
    notice::{DropReason, Notice},
    tables::{ArtifactEvent, ArtifactState, Made, PrecheckTerms, PvfSpec, PvfSpecs},
    time::Timestamp,
};
use pvf_proto::{
    artifact::ArtifactInfo,
    ids::ArtifactId,
    verdict::{InternalError, PrepareError},
};
use std::sync::Arc;

/// The key of an artifact by its id, if it is in the table.
pub(crate) fn find(core: &Core, id: &ArtifactId) -> Option<ArtifactKey> {
    let engine = core.workers.find_engine(&id.engine)?;
    core.artifacts.find(id.code_hash, id.prep_hash, engine)
}

/// The artifact of a spec for an engine, added to the table if it is new there.
pub(crate) fn find_or_add(core: &mut Core, spec: &PvfSpec, engine: EngineKey, now: Timestamp) -> ArtifactKey {
    match core.artifacts.find(spec.code, spec.prep_hash, engine) {
        Some(key) => key,
        None => core.artifacts.add(spec.artifact_id(core.workers.engine(engine)), engine, now),
    }
}

/// Sets how an artifact is made.
pub(crate) fn set_spec(core: &mut Core, key: ArtifactKey, spec: &Arc<PvfSpec>) {
    let Some(artifact) = core.artifacts.get_mut(key) else { return };
    if let Some(old) = artifact.spec.replace(PvfSpecs::share(spec)) {
        core.specs.release(&old);
    }
}

/// Applies an event after which the waiters go on, and lets them.
fn settle(core: &mut Core, out: &mut Out, key: ArtifactKey, event: ArtifactEvent) {
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("unknown artifact {key:?}"));
    };
    if out.checked(artifact.transition(event)).is_some() {
        out.background.push_back(BackgroundTask::Release(key));
    }
}

/// The artifact is in the store. `made`: its preparation, if it was not found there.
pub(crate) fn ready(core: &mut Core, out: &mut Out, key: ArtifactKey, info: ArtifactInfo, made: Option<Arc<Made>>) {
    let ended = made.as_ref().map(|made| made.ended);
    let precheck_of = core.artifacts.get(key).and_then(|artifact| artifact.precheck_of);
    if precheck_of.is_none() {
        core.artifacts.set_bytes(key, info.bytes);
    }
    if let Some(artifact) = core.artifacts.get_mut(key) {
        artifact.failures = 0;
        artifact.made = made;
    }
    if let Some(ended) = ended {
        note_precheck(core, key, Ok(()), ended);
    }
    settle(core, out, key, ArtifactEvent::Ready(info));
    // Compiling is deterministic, so this is the same one; should it not be, it is the one that the store has.
    if let Some((of, artifact)) = precheck_of.and_then(|of| Some((of, core.artifacts.get_mut(of)?)))
        && matches!(artifact.state(), ArtifactState::Prepared(_))
        && out.checked(artifact.transition(ArtifactEvent::Ready(info))).is_some()
    {
        core.artifacts.set_bytes(of, info.bytes);
    }
}

/// The preparation of an artifact has ended. If it was a precheck, its answer is remembered under its terms.
fn note_precheck(core: &mut Core, key: ArtifactKey, result: Result<(), PrepareError>, now: Timestamp) {
    let Some(artifact) = core.artifacts.get(key) else { return };
    let (true, Some(spec)) = (artifact.linked, &artifact.spec) else { return };
    let terms = PrecheckTerms::of(spec);
    let of = artifact.precheck_of.unwrap_or(key);
    if let Some(artifact) = core.artifacts.get_mut(of) {
        artifact.prechecks.note(terms, result, now);
    }
}

/// Preparing failed: the waiters are told, and the failure is kept.
pub(crate) fn fail(core: &mut Core, out: &mut Out, key: ArtifactKey, error: PrepareError, now: Timestamp) {
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("unknown artifact {key:?}"));
    };
    artifact.failures += 1;
    out.notice(Notice::PreparationFailed { artifact: artifact.id.clone(), error: error.clone() });
    note_precheck(core, key, Err(error.clone()), now);
    settle(core, out, key, ArtifactEvent::Failed { error, at: now });
}

/// Infrastructure failed: the waiters are told, and nothing is kept.
pub(crate) fn abandon(core: &mut Core, out: &mut Out, key: ArtifactKey, error: InternalError) {
    settle(core, out, key, ArtifactEvent::Abandoned(error));
}

/// What is in the store is not known any more: the next need looks it up.
pub(crate) fn relist(core: &mut Core, out: &mut Out, key: ArtifactKey) {
    if let Some(artifact) = core.artifacts.get_mut(key) {
        artifact.made = None;
        out.checked(artifact.transition(ArtifactEvent::Forgotten));
    }
}

/// Removes an artifact from the store; it is prepared again if it is needed.
pub(crate) fn drop_artifact(core: &mut Core, out: &mut Out, key: ArtifactKey, why: DropReason) {
    core.artifacts.set_bytes(key, 0);
    let Some(artifact) = core.artifacts.get_mut(key) else {
        return out.inconsistent(format_args!("unknown artifact {key:?}"));
    };
    if out.checked(artifact.transition(ArtifactEvent::Drop)).is_none() {
        return;
    }
    out.notice(Notice::ArtifactDropped { artifact: artifact.id.clone(), why });
    out.effect(Effect::Drop { artifact: artifact.id.clone() });
    for worker in std::mem::take(&mut artifact.holders) {
        core.workers.note_not_held(&worker, key);
    }
}

/// What an attempt found wrong with its artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It is not in the store.
    Missing,
    /// It does not open, or cannot be linked.
    Unusable,
}

/// An attempt could not use its artifact, which is dropped, to be prepared again. `used` is what the attempt was given:
/// another version that has replaced it meanwhile stays.
///
/// Compiling is deterministic. So a version that was prepared again already stays for [`Policy::failure_cool_down`]:
/// what cannot use it is the worker (a wrong seal key, say), and the fleet must not lose a good artifact for that.
///
/// [`Policy::failure_cool_down`]: crate::Policy::failure_cool_down
pub(crate) fn suspect(
    core: &mut Core,
    out: &mut Out,
    key: ArtifactKey,
    (used, suspicion): (Option<ArtifactInfo>, Suspicion),
    now: Timestamp,
) {
    let cool_down = core.config.policy.failure_cool_down;
    let Some(artifact) = core.artifacts.get_mut(key) else { return };
    let ArtifactState::Prepared(current) = *artifact.state() else { return };
    if used.is_some_and(|used| used.digest != current.digest) {
        return;
    }
    if suspicion == Suspicion::Unusable {
        if artifact.remade.is_some_and(|(remade, at)| remade.digest == current.digest && now.since(at) < cool_down) {
            return;
        }
        artifact.remade = Some((current, now));
    }
    drop_artifact(core, out, key, DropReason::Damaged);
}

/// Removes an artifact from the table.
pub(crate) fn forget(core: &mut Core, key: ArtifactKey) {
    if let Some(spec) = core.artifacts.remove(key).and_then(|artifact| artifact.spec) {
        core.specs.release(&spec);
    }
}
