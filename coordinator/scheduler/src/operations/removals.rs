//! Artifacts that operators have removed, and the answers to those who wait for it.

use crate::{
    core::{Core, Out},
    effect::Answer,
    keys::ArtifactKey,
    notice::DropReason,
    operations::artifacts::drop_artifact,
    tables::{ArtifactState, RemovalsWaiting},
    time::Timestamp,
};
use pvf_proto::{
    identity::UserName,
    ids::ArtifactId,
    subjects::Subject,
    verdict::clean_reason,
    wire::{Fate, OperatorReply, Removal, Removed, RemovedArtifact},
};

/// An artifact as the answer to an operator has it, with this fate.
pub(crate) fn entry(core: &Core, key: ArtifactKey, fate: Fate, now: Timestamp) -> Option<RemovedArtifact> {
    let artifact = core.artifacts.get(key)?;
    let (id, bytes, idle) = ((*artifact.id).clone(), artifact.bytes, artifact.age(now));
    Some(RemovedArtifact { artifact: id, bytes, idle, fate })
}

/// Removes artifacts from the store, in use or not, and answers the operator when the store has.
pub(crate) fn remove(
    core: &mut Core,
    out: &mut Out,
    (operator, reply): (UserName, Option<Subject>),
    (keys, mut removed): (Vec<ArtifactKey>, Removed),
    now: Timestamp,
) {
    let mut left = Vec::new();
    for key in keys {
        let Some(artifact) = core.artifacts.get(key) else { continue };
        let fate = match artifact.state() {
            ArtifactState::Preparing(_) => Fate::Preparing,
            // The store has failed: what it has is not known, and the next need asks it again.
            ArtifactState::Abandoned(error) => Fate::Failed(clean_reason(&error.to_string())),
            ArtifactState::Listed
            | ArtifactState::LookingUp
            | ArtifactState::Dropping
            | ArtifactState::Prepared(_)
            | ArtifactState::Failed { .. } => Fate::Removed,
        };
        let (is_removed, id) = (fate == Fate::Removed, artifact.id.clone());
        let is_being_dropped = matches!(artifact.state(), ArtifactState::Dropping);
        removed.artifacts.extend(entry(core, key, fate, now));
        if is_removed {
            left.push((*id).clone());
        }
        if is_removed && !is_being_dropped {
            drop_artifact(core, out, key, DropReason::Operator(operator));
        }
    }
    let waiting = RemovalsWaiting { reply, removed, left };
    if waiting.left.is_empty() {
        answer(out, waiting);
    } else {
        core.removals.wait(waiting);
    }
}

fn answer(out: &mut Out, waiting: RemovalsWaiting) {
    out.reply(waiting.reply, Answer::Operator(OperatorReply::Removal(Removal::Done(waiting.removed))));
}

/// The store has removed an artifact, or could not for this reason.
pub(crate) fn note_dropped(core: &mut Core, out: &mut Out, artifact: &ArtifactId, error: Option<&str>) {
    let error = error.map(clean_reason);
    for waiting in core.removals.dropped(artifact, error.as_deref()) {
        answer(out, waiting);
    }
}
