//! Artifacts, as people see them.

use super::page::Page;
use crate::{
    core::Core,
    keys::ArtifactKey,
    tables::{Artifact, ArtifactState},
    time::Timestamp,
};
use pvf_proto::ids::{ArtifactId, CodeHash, EngineId};
use std::{cmp::Reverse, sync::Arc};

/// Artifacts that are looked at for one list.
const MOST_LOOKED_AT: usize = 100_000;

/// Where an artifact is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactCondition {
    /// The store has it; it was not asked for since this coordinator started.
    Listed,
    /// The store is asked for it.
    LookingUp,
    /// It is removed from the store.
    Dropping,
    /// It is being made.
    Preparing,
    /// It can be used.
    Prepared,
    /// It cannot be made from this code.
    Failed,
    /// It could not be made, for a reason that is not the code's; the next request tries again.
    Abandoned,
}

impl ArtifactCondition {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Listed, Self::LookingUp, Self::Dropping, Self::Preparing, Self::Prepared, Self::Failed, Self::Abandoned];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::LookingUp => "looking-up",
            Self::Dropping => "dropping",
            Self::Preparing => "preparing",
            Self::Prepared => "prepared",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    fn of(state: &ArtifactState) -> Self {
        match state {
            ArtifactState::Listed => Self::Listed,
            ArtifactState::LookingUp => Self::LookingUp,
            ArtifactState::Dropping => Self::Dropping,
            ArtifactState::Preparing(_) => Self::Preparing,
            ArtifactState::Prepared(_) => Self::Prepared,
            ArtifactState::Failed { .. } => Self::Failed,
            ArtifactState::Abandoned(_) => Self::Abandoned,
        }
    }
}

/// Which artifacts come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ArtifactOrder {
    /// Those that were needed last.
    #[default]
    LastNeeded,
    /// The largest ones.
    Bytes,
}

/// Which artifacts are listed.
#[derive(Debug, Clone, Default)]
pub struct ArtifactFilter {
    /// Only those in this condition.
    pub condition: Option<ArtifactCondition>,
    /// Only those of this code.
    pub code: Option<CodeHash>,
    /// Only those of this engine.
    pub engine: Option<EngineId>,
    /// Which come first.
    pub order: ArtifactOrder,
    /// At most so many.
    pub limit: usize,
}

/// An artifact, or a failure of its preparation.
#[derive(Debug, Clone, PartialEq)]
pub struct ArtifactView {
    /// Its id.
    pub id: Arc<ArtifactId>,
    /// Where it is in its life.
    pub condition: ArtifactCondition,
    /// Its size in the store, bytes; 0 if that is not known, or it is not there.
    pub bytes: u64,
    /// When it was needed last.
    pub last_needed: Timestamp,
    /// Queued and running executions that use it.
    pub users: u32,
    /// Whether its code is pinned: then it is not removed for want of need.
    pub pinned: bool,
    /// Requests that wait for it.
    pub waiters: usize,
    /// Workers that have a copy, as far as is known; at most 16.
    pub holders: usize,
    /// Why it cannot be made, or could not.
    pub error: Option<String>,
}

pub(crate) fn list(core: &Core, filter: &ArtifactFilter) -> Page<ArtifactView> {
    let matches = |artifact: &Artifact| {
        artifact.precheck_of.is_none()
            && filter.code.is_none_or(|code| artifact.id.code_hash == code)
            && filter.engine.as_ref().is_none_or(|engine| artifact.id.engine == *engine)
            && filter.condition.is_none_or(|wanted| ArtifactCondition::of(artifact.state()) == wanted)
    };
    let looked_at = core.artifacts.iter().take(MOST_LOOKED_AT);
    let mut found: Vec<(ArtifactKey, &Artifact)> = looked_at.filter(|(_, artifact)| matches(artifact)).collect();
    match filter.order {
        ArtifactOrder::LastNeeded => found.sort_unstable_by_key(|(key, a)| (Reverse(a.last_needed), *key)),
        ArtifactOrder::Bytes => found.sort_unstable_by_key(|(key, a)| (Reverse(a.bytes), *key)),
    }
    let entries = found.iter().take(filter.limit).map(|(_, artifact)| view(core, artifact)).collect();
    Page { entries, matching: found.len(), complete: core.artifacts.len() <= MOST_LOOKED_AT }
}

fn view(core: &Core, artifact: &Artifact) -> ArtifactView {
    ArtifactView {
        id: artifact.id.clone(),
        condition: ArtifactCondition::of(artifact.state()),
        bytes: artifact.bytes,
        last_needed: artifact.last_needed,
        users: artifact.users,
        pinned: core.pins.contains(&artifact.id.code_hash),
        waiters: artifact.waiters.len(),
        holders: artifact.holders.len(),
        error: match artifact.state() {
            ArtifactState::Failed { error, .. } => Some(error.to_string()),
            ArtifactState::Abandoned(error) => Some(error.to_string()),
            ArtifactState::Listed
            | ArtifactState::LookingUp
            | ArtifactState::Dropping
            | ArtifactState::Preparing(_)
            | ArtifactState::Prepared(_) => None,
        },
    }
}
