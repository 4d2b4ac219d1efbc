//! The artifacts that a worker has, in the order in which they were heard of. A few hundred at most, four bytes each
//! and next to each other, so that looking through all of them costs less than a hash table that is in no cache.

use super::artifacts::ArtifactKey;
use std::collections::VecDeque;

/// Artifacts that are remembered of a worker; the ones heard of first are forgotten first.
const MAX_HELD: usize = 256;
/// So many are compared at once.
const TOGETHER: usize = 16;

/// The artifacts that a worker has.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<u32>);

/// An artifact, and in the lowest bit whether it is linked. Two whose numbers differ by two thousand million look the
/// same: then a worker is preferred for what it does not have.
fn packed(key: ArtifactKey, warm: bool) -> u32 {
    (key.0.get() as u32) << 1 | u32::from(warm)
}

/// Where one of a slice is, the last ones first: those are asked for most.
fn rposition(entries: &[u32], cold: u32) -> Option<usize> {
    let mut end = entries.len();
    for chunk in entries.rchunks(TOGETHER) {
        end -= chunk.len();
        // Without leaving early, for this the processor does in one step.
        if chunk.iter().fold(false, |found, entry| found | (entry & !1 == cold)) {
            return chunk.iter().position(|entry| entry & !1 == cold).map(|at| end + at);
        }
    }
    None
}

impl Held {
    fn position(&self, key: ArtifactKey) -> Option<usize> {
        let (first, second) = self.0.as_slices();
        let cold = packed(key, false);
        rposition(second, cold).map(|at| first.len() + at).or_else(|| rposition(first, cold))
    }

    /// Whether an artifact is here, and if so whether it is linked so that it runs at once.
    pub(super) fn get(&self, key: ArtifactKey) -> Option<bool> {
        self.position(key).map(|at| self.0[at] & 1 == 1)
    }

    /// Notes an artifact; whether it is new.
    pub(super) fn note(&mut self, key: ArtifactKey, warm: bool) -> bool {
        if let Some(at) = self.position(key) {
            self.0[at] |= u32::from(warm);
            return false;
        }
        if self.0.len() >= MAX_HELD {
            self.0.pop_front();
        }
        self.0.push_back(packed(key, warm));
        true
    }

    /// It is not here any more.
    pub(super) fn remove(&mut self, key: ArtifactKey) {
        if let Some(at) = self.position(key) {
            self.0.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::numbered::Number as _;

    #[test]
    fn the_last_ones_are_remembered_and_whether_each_is_linked() {
        let key = |n| ArtifactKey::from_number(n).unwrap();
        let mut held = Held::default();
        for n in 1..=1000 {
            assert!(held.note(key(n), n % 2 == 0) && !held.note(key(n), false));
        }
        let known: Vec<_> = (1..=1000).filter(|n| held.get(key(*n)) == Some(n % 2 == 0)).collect();
        assert_eq!((known.len(), known[0]), (MAX_HELD, 1001 - MAX_HELD as u64));
        held.note(key(999), true);
        held.remove(key(998));
        assert_eq!((held.get(key(999)), held.get(key(998)), held.get(key(1000))), (Some(true), None, Some(true)));
    }
}
