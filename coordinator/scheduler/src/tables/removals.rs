//! Operators that wait until the store has removed artifacts.

use pvf_proto::{
    ids::ArtifactId,
    subjects::Subject,
    wire::{Fate, Removed},
};

/// Operators that wait at a time.
const MAX_WAITING: usize = 16;

/// An operator that waits until the store has removed artifacts.
#[derive(Debug)]
pub(crate) struct RemovalsWaiting {
    pub(crate) reply: Option<Subject>,
    /// The answer: what the store has yet to remove counts as removed in it.
    pub(crate) removed: Removed,
    /// What the store has yet to remove.
    pub(crate) left: Vec<ArtifactId>,
}

/// Operators that wait, the first one first.
#[derive(Debug, Default)]
pub(crate) struct Removals(Vec<RemovalsWaiting>);

impl Removals {
    /// Whether as many operators wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_WAITING
    }

    pub(crate) fn wait(&mut self, waiting: RemovalsWaiting) {
        self.0.push(waiting);
    }

    /// The store has removed an artifact, or could not for this reason. Returns the operators for whom it was the last
    /// one.
    pub(crate) fn dropped(&mut self, artifact: &ArtifactId, error: Option<&str>) -> Vec<RemovalsWaiting> {
        for waiting in &mut self.0 {
            let before = waiting.left.len();
            waiting.left.retain(|left| left != artifact);
            if before == waiting.left.len() {
                continue;
            }
            let Some(error) = error else { continue };
            for entry in waiting.removed.artifacts.iter_mut().filter(|entry| entry.artifact == *artifact) {
                entry.fate = Fate::Failed(error.to_owned());
            }
        }
        self.0.extract_if(.., |waiting| waiting.left.is_empty()).collect()
    }
}
