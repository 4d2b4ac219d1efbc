//! Codes whose artifacts are not removed for want of need. The store has them for the next coordinator: one write is
//! under way at a time, and those who ask for a change wait for one that contains it.

use pvf_proto::{ids::CodeHash, subjects::Subject, wire::MAX_PINNED};
use std::collections::BTreeSet;

/// Operators that wait until a change is saved.
const MAX_WAITING: usize = 64;

/// An operator that waits until a change is saved.
#[derive(Debug)]
pub(crate) struct PinAsked {
    pub(crate) code: CodeHash,
    /// Whether the code was not so before.
    pub(crate) changed: bool,
    pub(crate) reply: Option<Subject>,
}

/// The codes that are pinned.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    codes: BTreeSet<CodeHash>,
    /// The store has said which codes an earlier coordinator left pinned.
    are_known: bool,
    /// The store may have others.
    are_changed: bool,
    is_saving: bool,
    /// Those whose change is in the write that is under way.
    saving: Vec<PinAsked>,
    /// Those that came since it began.
    next: Vec<PinAsked>,
}

impl Pins {
    /// What the store has.
    pub(crate) fn read(&mut self, codes: Vec<CodeHash>) {
        if !std::mem::replace(&mut self.are_known, true) {
            self.codes = codes.into_iter().collect();
        }
    }

    /// Whether the store has said which codes are pinned. Before that nothing may be removed or changed.
    pub(crate) fn are_known(&self) -> bool {
        self.are_known
    }

    /// Whether this code is pinned.
    pub(crate) fn contains(&self, code: &CodeHash) -> bool {
        self.codes.contains(code)
    }

    /// Whether no more codes can be pinned.
    pub(crate) fn are_full(&self) -> bool {
        self.codes.len() >= MAX_PINNED
    }

    /// Whether as many operators wait as may.
    pub(crate) fn are_waited_for(&self) -> bool {
        self.saving.len() + self.next.len() >= MAX_WAITING
    }

    /// Whether the store has these codes, and is not being told of any change.
    pub(crate) fn are_saved(&self) -> bool {
        !self.are_changed && !self.is_saving
    }

    /// Pins a code, or unpins it. Returns whether that is a change.
    pub(crate) fn set(&mut self, code: CodeHash, pinned: bool) -> bool {
        let changed = if pinned { self.codes.insert(code) } else { self.codes.remove(&code) };
        self.are_changed |= changed;
        changed
    }

    /// An operator waits until the present codes are saved.
    pub(crate) fn wait(&mut self, asked: PinAsked) {
        self.next.push(asked);
    }

    /// What is to be saved next, if an operator waits for it and no write is under way.
    pub(crate) fn begin_saving(&mut self) -> Option<Vec<CodeHash>> {
        if self.is_saving || self.next.is_empty() {
            return None;
        }
        (self.is_saving, self.are_changed) = (true, false);
        self.saving = std::mem::take(&mut self.next);
        Some(self.codes.iter().copied().collect())
    }

    /// A write has ended. Returns those who waited for it.
    pub(crate) fn saved(&mut self, has_failed: bool) -> Vec<PinAsked> {
        self.is_saving = false;
        self.are_changed |= has_failed;
        std::mem::take(&mut self.saving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(n: u8) -> PinAsked {
        PinAsked { code: CodeHash([n; 32]), changed: true, reply: None }
    }

    #[test]
    fn a_change_that_comes_during_a_write_is_in_the_next_one() {
        let mut pins = Pins::default();
        pins.read(vec![CodeHash([9; 32])]);
        pins.read(vec![]);
        assert!(pins.are_known() && pins.are_saved() && pins.contains(&CodeHash([9; 32])));
        assert!(pins.set(CodeHash([1; 32]), true) && !pins.set(CodeHash([1; 32]), true));
        pins.wait(asked(1));
        assert_eq!(pins.begin_saving().map(|codes| codes.len()), Some(2));
        assert!(pins.set(CodeHash([2; 32]), true) && !pins.are_saved());
        pins.wait(asked(2));
        assert_eq!(pins.begin_saving(), None, "one write at a time");
        assert_eq!(pins.saved(false).iter().map(|asked| asked.code.0[0]).collect::<Vec<_>>(), [1]);
        assert!(!pins.are_saved());
        assert_eq!(pins.begin_saving().map(|codes| codes.len()), Some(3));
        assert_eq!(pins.saved(true).len(), 1);
        assert!(!pins.are_saved(), "the store does not have them");
        pins.wait(asked(2));
        assert!(pins.begin_saving().is_some() && pins.saved(false).len() == 1 && pins.are_saved());
    }
}
