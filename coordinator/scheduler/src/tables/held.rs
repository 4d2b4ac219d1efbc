//! The artifacts that one worker has.

use crate::keys::ArtifactKey;
use std::collections::BTreeMap;

/// Artifacts that are remembered of one worker.
const MAX_HELD: usize = 256;
/// Those that are forgotten at once if there are more: the ones that were noted the longest ago.
const FORGOTTEN: usize = 32;

#[derive(Debug)]
struct Held {
    warm: bool,
    noted: u64,
}

/// The artifacts that one worker has, and whether each is mapped and linked (warm).
#[derive(Debug, Default)]
pub(crate) struct HeldArtifacts {
    by_key: BTreeMap<ArtifactKey, Held>,
    notes: u64,
}

impl HeldArtifacts {
    /// Whether an artifact is here; `Some(true)` if it is warm.
    pub(crate) fn get(&self, artifact: ArtifactKey) -> Option<bool> {
        self.by_key.get(&artifact).map(|held| held.warm)
    }

    /// Notes an artifact. Returns whether it is new.
    pub(crate) fn note(&mut self, artifact: ArtifactKey, warm: bool) -> bool {
        self.notes += 1;
        let noted = self.notes;
        if let Some(held) = self.by_key.get_mut(&artifact) {
            *held = Held { warm: held.warm || warm, noted };
            return false;
        }
        self.by_key.insert(artifact, Held { warm, noted });
        if self.by_key.len() > MAX_HELD {
            self.forget_oldest();
        }
        true
    }

    fn forget_oldest(&mut self) {
        let mut notes: Vec<_> = self.by_key.values().map(|held| held.noted).collect();
        let (_, newest_forgotten, _) = notes.select_nth_unstable(FORGOTTEN - 1);
        let newest_forgotten = *newest_forgotten;
        self.by_key.retain(|_, held| held.noted > newest_forgotten);
    }

    pub(crate) fn remove(&mut self, artifact: ArtifactKey) {
        self.by_key.remove(&artifact);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_artifacts_that_were_noted_last_are_remembered() {
        let keys: Vec<_> = (1..=400).map(|n| ArtifactKey::from(slotmap::KeyData::from_ffi(n | 1 << 32))).collect();
        let mut held = HeldArtifacts::default();
        for key in &keys {
            assert!(held.note(*key, false));
            // The first one is used all the time.
            held.note(keys[0], true);
            assert!(held.by_key.len() <= MAX_HELD);
        }
        assert_eq!((held.get(keys[0]), held.get(keys[1])), (Some(true), None));
        let oldest = keys.len() - (MAX_HELD - FORGOTTEN);
        assert!(keys[oldest..].iter().all(|key| held.get(*key) == Some(false)));
        held.remove(keys[0]);
        assert_eq!(held.get(keys[0]), None);
    }
}
