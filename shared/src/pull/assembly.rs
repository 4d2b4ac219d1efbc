//! The bytes of a pull: which have come, which are asked for, and their hash as far as they have come without a gap.

use crate::content::{Content, ContentHasher};
use std::{collections::BTreeMap, ops::Range};

/// Content that comes in parts, in any order. Every byte is in one of four states: not asked for, asked for, here, or
/// here and hashed.
pub(super) struct Assembly {
    content: Content,
    bytes: Vec<u8>,
    hasher: ContentHasher,
    /// Everything before this has come and is hashed.
    hashed: usize,
    /// What has come after a gap: begin and end of each part.
    ahead: BTreeMap<usize, usize>,
    /// What is not asked for: begin and end of each part.
    unasked: BTreeMap<usize, usize>,
    /// The holders whose bytes are here.
    givers: Vec<usize>,
}

impl Assembly {
    /// Room for so many bytes.
    pub(super) fn new(content: Content, len: usize) -> Self {
        Self {
            content,
            bytes: vec![0; len],
            hasher: content.hasher(),
            hashed: 0,
            ahead: BTreeMap::new(),
            unasked: BTreeMap::from([(0, len)]),
            givers: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Takes the first bytes that are not asked for, at most so many.
    pub(super) fn ask(&mut self, at_most: usize) -> Option<Range<usize>> {
        while let Some((begin, end)) = self.unasked.pop_first() {
            let split = end.min(begin.saturating_add(at_most));
            if split < end {
                self.unasked.insert(split, end);
            }
            if begin < split {
                return Some(begin..split);
            }
        }
        None
    }

    /// Nobody answers for this part any more.
    pub(super) fn put_back(&mut self, part: Range<usize>) {
        if !part.is_empty() {
            self.unasked.insert(part.start, part.end);
        }
    }

    /// Adds what a holder has sent for a part that was asked for: all of it, or its beginning. The rest is to be asked
    /// for again.
    pub(super) fn add(&mut self, giver: usize, part: Range<usize>, bytes: &[u8]) {
        let end = part.end.min(part.start.saturating_add(bytes.len()));
        let begin = part.start;
        self.bytes[begin..end].copy_from_slice(&bytes[..end - begin]);
        self.put_back(end..part.end);
        if !self.givers.contains(&giver) {
            self.givers.push(giver);
        }
        self.ahead.insert(begin, end);
        while let Some(next) = self.ahead.first_entry().filter(|next| *next.key() == self.hashed) {
            let end = next.remove();
            self.hasher.update(&self.bytes[self.hashed..end]);
            self.hashed = end;
        }
    }

    /// Forgets what was asked for: everything that has not come is not asked for.
    pub(super) fn forget_asked(&mut self) {
        self.unasked.clear();
        let mut gap = self.hashed;
        for (&begin, &end) in &self.ahead {
            self.unasked.insert(gap, begin);
            gap = end;
        }
        if gap < self.bytes.len() {
            self.unasked.insert(gap, self.bytes.len());
        }
    }

    /// Whether all bytes that are here came from this holder.
    pub(super) fn is_only_of(&self, giver: usize) -> bool {
        self.givers.iter().all(|other| *other == giver)
    }

    pub(super) fn has_of(&self, giver: usize) -> bool {
        self.givers.contains(&giver)
    }

    /// Whether all bytes are here and are the content.
    pub(super) fn is_right(&self) -> bool {
        self.hashed == self.bytes.len() && self.hasher.content() == self.content
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Parts of any size that come in any order, some only begun, some lost.
        #[test]
        fn any_order_gives_the_content(
            len in 0usize..2000,
            chunk in 1usize..300,
            steps in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..400, 0u8..10), 1..100),
        ) {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
            let mut assembly = Assembly::new(Content::of_blob(&bytes), len);
            let mut asked: Vec<Range<usize>> = Vec::new();
            // In the end every part is asked for and comes whole.
            let random = steps.iter().copied();
            let finish = std::iter::repeat_n((steps[0].0, usize::MAX, 5), 2 * len + 100);
            for (pick, sent, what) in random.chain(finish) {
                match what {
                    0 => {
                        asked.clear();
                        assembly.forget_asked();
                    }
                    1..5 => asked.extend(assembly.ask(chunk)),
                    _ => {
                        asked.extend(assembly.ask(chunk));
                        if asked.is_empty() {
                            continue;
                        }
                        let part = asked.swap_remove(pick.index(asked.len()));
                        let sent = sent.clamp(1, part.len());
                        assembly.add(0, part.clone(), &bytes[part.start..part.start + sent]);
                    }
                }
            }
            prop_assert!(assembly.is_right());
            prop_assert_eq!(assembly.ask(chunk), None);
            prop_assert_eq!(assembly.into_bytes(), bytes);
        }
    }
}
