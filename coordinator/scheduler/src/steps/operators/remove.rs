//! Operators have artifacts removed: those of a code, in use or not, or those that were not needed for long.

use super::{Asked, PINS_NOT_KNOWN, TOO_MANY_WAIT};
use crate::{
    core::{Core, Out},
    effect::Answer,
    keys::ArtifactKey,
    operations::{
        artifacts,
        removals::{entry, remove},
    },
    time::Timestamp,
};
use pvf_proto::{
    subjects::Subject,
    wire::{ArtifactChoice, Fate, MAX_REMOVED, OperatorReply, Removal, Removed},
};
use std::time::Duration;

/// Artifacts that are looked at for one message. Of those that were not needed for long, few are pinned or in use.
const MOST_LOOKED_AT: usize = 10_000;

/// Why nothing can be removed now.
fn not_now(core: &Core) -> Option<Removal> {
    let why = match (core.pins.are_known(), core.removals.is_full()) {
        (false, _) => PINS_NOT_KNOWN,
        (true, true) => TOO_MANY_WAIT,
        (true, false) => return None,
    };
    Some(Removal::NotNow(why.into()))
}

fn answer(out: &mut Out, reply: Option<Subject>, answer: Removal) {
    out.reply(reply, Answer::Operator(OperatorReply::Removal(answer)));
}

/// The chosen artifacts are removed, unless their code is pinned. What runs on one has opened it already; what is
/// queued asks for it again.
pub(super) fn on_remove(core: &mut Core, out: &mut Out, asked: Asked<ArtifactChoice>, now: Timestamp) {
    let Asked { operator, message: choice, reply } = asked;
    if let Some(why) = not_now(core) {
        return answer(out, reply, why);
    }
    if core.pins.contains(&choice.code()) {
        return answer(out, reply, Removal::Pinned);
    }
    let mut keys: Vec<ArtifactKey> = match &choice {
        ArtifactChoice::Code(code) => core.artifacts.of_code(*code).take(MAX_REMOVED + 1).collect(),
        ArtifactChoice::One(id) => artifacts::find(core, id).into_iter().collect(),
    };
    let more = keys.len() > MAX_REMOVED;
    keys.truncate(MAX_REMOVED);
    remove(core, out, (operator, reply), (keys, Removed { more, ..Removed::default() }), now);
}

/// What was not needed for long is removed: this long, or the artifacts' time to live.
pub(super) fn on_prune(core: &mut Core, out: &mut Out, asked: Asked<(Option<Duration>, bool)>, now: Timestamp) {
    let Asked { operator, message: (older_than, dry_run), reply } = asked;
    if let Some(why) = not_now(core) {
        return answer(out, reply, why);
    }
    let older_than = older_than.unwrap_or(core.config.policy.artifact_ttl);
    let mut keys = unused(core, older_than, now);
    let more = keys.len() > MAX_REMOVED;
    keys.truncate(MAX_REMOVED);
    let mut removed = Removed { more, older_than: Some(older_than), ..Removed::default() };
    if dry_run {
        removed.artifacts = keys.into_iter().filter_map(|key| entry(core, key, Fate::Kept, now)).collect();
        return answer(out, reply, Removal::Done(removed));
    }
    remove(core, out, (operator, reply), (keys, removed), now);
}

/// Artifacts that nothing uses, that are not pinned, and that were needed last longer ago than this; at most one more
/// than [`MAX_REMOVED`].
fn unused(core: &Core, older_than: Duration, now: Timestamp) -> Vec<ArtifactKey> {
    let oldest = core.artifacts.least_needed(None).take(MOST_LOOKED_AT);
    let artifacts = oldest.filter_map(|(_, key)| Some((key, core.artifacts.get(key)?)));
    artifacts
        .take_while(|(_, artifact)| artifact.age(now) > older_than)
        .filter(|(_, artifact)| artifact.is_idle() && !core.pins.contains(&artifact.id.code_hash))
        .map(|(key, _)| key)
        .take(MAX_REMOVED + 1)
        .collect()
}
