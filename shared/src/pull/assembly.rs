//! The bytes of a pull: which have come, which are asked for, and their hash as far as they have come without a gap.

use crate::content::{Content, ContentHasher};
use bytes::Bytes;
use std::{collections::BTreeMap, io, ops::Range};

/// Where the bytes of a pull go, in order and each once. It has room for all of them from the beginning.
pub trait Sink {
    /// Appends the next bytes.
    ///
    /// # Errors
    /// The machine refuses them. The pull then ends.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Content that comes in parts, in any order. Every byte is in one of four states: not asked for, asked for, ahead of a
/// gap, or joined.
pub(super) struct Assembly<S> {
    content: Content,
    len: usize,
    /// Everything that has come without a gap.
    sink: S,
    /// How much that is, bytes.
    joined: usize,
    /// The hash of what is joined.
    hasher: ContentHasher,
    /// What has come after a gap, by where it begins: at most a window.
    ahead: BTreeMap<usize, Bytes>,
    /// What is not asked for: begin and end of each part.
    unasked: BTreeMap<usize, usize>,
    /// The holders whose bytes are here.
    givers: Vec<usize>,
}

impl<S: Sink> Assembly<S> {
    /// For so many bytes, which go to the sink.
    pub(super) fn new(content: Content, len: usize, sink: S) -> Self {
        let mut assembly = Self {
            content,
            len,
            sink,
            joined: 0,
            hasher: content.hasher(),
            ahead: BTreeMap::new(),
            unasked: BTreeMap::new(),
            givers: Vec::new(),
        };
        assembly.put_back(0..len);
        assembly
    }

    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Takes the first bytes that are not asked for, at most `chunk`, if a chunk there is within a window from the
    /// first byte that has not come. So no more than a window is asked for or ahead of a gap.
    pub(super) fn ask(&mut self, chunk: usize, window: usize) -> Option<Range<usize>> {
        let first = self.unasked.first_entry()?;
        let (begin, end) = (*first.key(), *first.get());
        if begin - self.joined > window.saturating_sub(chunk) {
            return None;
        }
        first.remove();
        let split = end.min(begin.saturating_add(chunk));
        self.put_back(split..end);
        Some(begin..split)
    }

    /// Nobody answers for this part any more.
    pub(super) fn put_back(&mut self, part: Range<usize>) {
        if !part.is_empty() {
            self.unasked.insert(part.start, part.end);
        }
    }

    /// Adds what a holder has sent for a part that was asked for: all of it, or its beginning. The rest is to be asked
    /// for again.
    ///
    /// # Errors
    /// That of the sink.
    pub(super) fn add(&mut self, giver: usize, part: Range<usize>, bytes: Bytes) -> io::Result<()> {
        self.put_back(part.start.saturating_add(bytes.len())..part.end);
        if !self.givers.contains(&giver) {
            self.givers.push(giver);
        }
        if part.start != self.joined {
            self.ahead.insert(part.start, bytes);
            return Ok(());
        }
        self.join(&bytes)?;
        while let Some(next) = self.ahead.first_entry().filter(|next| *next.key() == self.joined) {
            let bytes = next.remove();
            self.join(&bytes)?;
        }
        Ok(())
    }

    fn join(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.joined += bytes.len();
        self.sink.append(bytes)
    }

    /// Forgets what was asked for: everything that has not come is not asked for.
    pub(super) fn forget_asked(&mut self) {
        self.unasked.clear();
        let mut gap = self.joined;
        for (&begin, bytes) in &self.ahead {
            if gap < begin {
                self.unasked.insert(gap, begin);
            }
            gap = begin + bytes.len();
        }
        self.put_back(gap..self.len);
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
        self.joined == self.len && self.hasher.content() == self.content
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
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
            window in 0usize..1000,
            steps in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..400, 0u8..10), 1..100),
        ) {
            let bytes: Bytes = (0..len).map(|n| (n * 7) as u8).collect();
            let mut assembly = Assembly::new(Content::of_blob(&bytes), len, Vec::new());
            let mut asked: Vec<Range<usize>> = Vec::new();
            // In the end every part is asked for and comes whole.
            let random = steps.iter().copied();
            let finish = std::iter::repeat_n((steps[0].0, usize::MAX, 5), 2 * len + 100);
            for (pick, sent, what) in random.chain(finish) {
                let first = assembly.joined;
                prop_assert!(asked.iter().all(|part| part.start - first <= window));
                match what {
                    0 => {
                        asked.clear();
                        assembly.forget_asked();
                    }
                    1..5 => asked.extend(assembly.ask(chunk, window)),
                    _ => {
                        asked.extend(assembly.ask(chunk, window));
                        if asked.is_empty() {
                            continue;
                        }
                        let part = asked.swap_remove(pick.index(asked.len()));
                        let sent = sent.clamp(1, part.len());
                        assembly.add(0, part.clone(), bytes.slice(part.start..part.start + sent)).unwrap();
                    }
                }
            }
            prop_assert!(assembly.is_right());
            prop_assert_eq!(assembly.ask(chunk, window), None);
            prop_assert_eq!(assembly.into_sink(), bytes);
        }
    }
}
