//! The artifacts that a worker has: a few hundred at most, four bytes each, in sets of one cache line, so that one is
//! found with one look at memory.

use super::{artifacts::ArtifactKey, prefetch::prefetch};

/// Sets, and artifacts that one remembers; the ones heard of first are forgotten first. An artifact has one set.
const SETS: usize = 16;
const WAYS: usize = 16;

/// The last one heard of at the end; zero where there is none.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Set([u32; WAYS]);

/// The artifacts that a worker has.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Box<[Set; SETS]>>);

/// An artifact, and in the lowest bit whether it is linked. Two whose numbers differ by two thousand million look the
/// same: then a worker is preferred for what it does not have.
fn packed(key: ArtifactKey, warm: bool) -> u32 {
    (key.0.get() as u32) << 1 | u32::from(warm)
}

fn set_of(key: ArtifactKey) -> usize {
    key.0.get() as usize % SETS
}

impl Set {
    fn position(&self, key: ArtifactKey) -> Option<usize> {
        let cold = packed(key, false);
        // Without leaving early, for this the processor does in one step.
        let found = self.0.iter().fold(false, |found, entry| found | (entry & !1 == cold));
        found.then(|| self.0.iter().position(|entry| entry & !1 == cold))?
    }
}

impl Held {
    /// Asks for what has to be looked at for an artifact.
    pub(super) fn fetch(&self, key: ArtifactKey) {
        if let Some(sets) = &self.0 {
            prefetch(&sets[set_of(key)]);
        }
    }

    /// Whether an artifact is here, and if so whether it is linked so that it runs at once.
    pub(super) fn get(&self, key: ArtifactKey) -> Option<bool> {
        let set = &self.0.as_ref()?[set_of(key)];
        set.position(key).map(|at| set.0[at] & 1 == 1)
    }

    /// Notes an artifact; whether it is new.
    pub(super) fn note(&mut self, key: ArtifactKey, warm: bool) -> bool {
        let set = &mut self.0.get_or_insert_default()[set_of(key)];
        if let Some(at) = set.position(key) {
            set.0[at] |= u32::from(warm);
            return false;
        }
        set.0.rotate_left(1);
        set.0[WAYS - 1] = packed(key, warm);
        true
    }

    /// It is not here any more.
    pub(super) fn remove(&mut self, key: ArtifactKey) {
        let Some(sets) = &mut self.0 else { return };
        let set = &mut sets[set_of(key)];
        if let Some(at) = set.position(key) {
            set.0[at] = 0;
            set.0[..=at].rotate_right(1);
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
        assert_eq!(held.get(key(1)), None);
        held.remove(key(1));
        for n in 1..=1000 {
            assert!(held.note(key(n), n % 2 == 0) && !held.note(key(n), false));
        }
        let known: Vec<_> = (1..=1000).filter(|n| held.get(key(*n)) == Some(n % 2 == 0)).collect();
        assert_eq!((known.len(), known[0]), (SETS * WAYS, 1001 - (SETS * WAYS) as u64));
        held.note(key(999), true);
        held.remove(key(998));
        assert_eq!((held.get(key(999)), held.get(key(998)), held.get(key(1000))), (Some(true), None, Some(true)));
        // The room of what was taken out is used before anything is forgotten.
        let of_one_set = |held: &Held| (1..=2000).filter(|n| n % 16 == 998 % 16 && held.get(key(*n)).is_some()).count();
        assert_eq!(of_one_set(&held), WAYS - 1);
        held.note(key(998 + 16 * 16), false);
        assert_eq!(of_one_set(&held), WAYS);
    }
}
