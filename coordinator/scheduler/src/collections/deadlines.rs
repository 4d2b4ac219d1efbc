//! Deadlines of many keys, most of which are removed before they pass.
//!
//! One ordered set of a million deadlines is searched, out of cache, for each insertion and each removal: a tenth of
//! all time in `pvf-bench-scheduler`. Here only the deadlines of the present second are ordered. A later one is kept
//! with the others of its second, in no order, and is found again by the position that it was given.

use crate::time::Timestamp;
use slab::Slab;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
/// Deadlines that [`Deadlines::advance`] puts in order at once.
const PIECE: usize = 256;

/// Where a deadline is kept while its second is ahead: it takes this back to remove it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position(u32);

/// The deadlines. A key has at most one.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    /// Deadlines of seconds that have begun.
    near: BTreeSet<(Timestamp, K)>,
    /// Deadlines by the start of their second; the first seconds may have begun.
    far: BTreeMap<Timestamp, Slab<(Timestamp, K)>>,
    /// The start of the last second that has begun.
    present: Timestamp,
    /// Positions of the first second in `far` that were put in order.
    ordered: usize,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { near: BTreeSet::new(), far: BTreeMap::new(), present: Timestamp::default(), ordered: 0 }
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    pub(crate) fn insert(&mut self, at: Timestamp, key: K) -> Position {
        let second = at.round_down(SECOND);
        if second > self.present {
            let later = self.far.entry(second).or_default();
            if let Ok(position) = u32::try_from(later.vacant_key()) {
                later.insert((at, key));
                return Position(position);
            }
        }
        self.near.insert((at, key));
        Position(u32::MAX)
    }

    /// Removes a deadline; does nothing if it was taken.
    pub(crate) fn remove(&mut self, at: Timestamp, key: K, position: Position) {
        let second = at.round_down(SECOND);
        if let Some(later) = self.far.get_mut(&second)
            && later.get(position.0 as usize) == Some(&(at, key))
        {
            later.remove(position.0 as usize);
            if later.is_empty() {
                self.forget(second);
            }
        } else {
            self.near.remove(&(at, key));
        }
    }

    fn forget(&mut self, second: Timestamp) {
        if self.far.first_key_value().is_some_and(|(first, _)| *first == second) {
            self.ordered = 0;
        }
        self.far.remove(&second);
    }

    /// When [`Deadlines::pop_due`] is to be called next: no deadline passes before.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let near = self.near.first().map(|(at, _)| *at);
        [near, self.far.keys().next().copied()].into_iter().flatten().min()
    }

    /// Puts a piece of the seconds that have begun in order.
    fn advance(&mut self, now: Timestamp) {
        self.present = self.present.max(now.round_down(SECOND));
        for _ in 0..PIECE {
            let Some(mut first) = self.far.first_entry().filter(|first| *first.key() <= self.present) else { return };
            self.near.extend(first.get_mut().try_remove(self.ordered));
            self.ordered += 1;
            if first.get().is_empty() {
                first.remove();
                self.ordered = 0;
            }
        }
    }

    /// Takes one that has passed. `None` does not mean that none has: [`Deadlines::next`] tells.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        self.advance(now);
        self.near.first().filter(|(at, _)| *at <= now)?;
        self.near.pop_first().map(|(_, key)| key)
    }

    /// Whether a deadline is ahead: for checks.
    pub(crate) fn contains(&self, at: Timestamp, key: K, position: Position) -> bool {
        let later = self.far.get(&at.round_down(SECOND));
        later.and_then(|later| later.get(position.0 as usize)) == Some(&(at, key)) || self.near.contains(&(at, key))
    }

    /// How many deadlines are ahead: for checks.
    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.far.values().map(Slab::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Takes all that have passed, as the scheduler does: again and again while the next one is due.
    fn expire(deadlines: &mut Deadlines<u64>, now: Timestamp) -> Vec<u64> {
        let mut expired = Vec::new();
        while deadlines.next().is_some_and(|next| next <= now) {
            expired.extend(deadlines.pop_due(now));
        }
        expired
    }

    #[test]
    fn behaves_like_an_ordered_set() {
        let (mut deadlines, mut model, mut random) = (Deadlines::default(), BTreeMap::new(), 1_u64);
        let mut now = Timestamp::at(Duration::from_secs(1000));
        for key in 0..100_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let of = |bits: u64| (random >> 33) % bits;
            match random >> 61 {
                0..=3 => {
                    let at = now.after(Duration::from_millis(of(5000)));
                    model.insert(key, (at, deadlines.insert(at, key)));
                }
                4..=6 => {
                    let found = model.range(key.saturating_sub(of(20_000))..).next();
                    let Some((key, (at, position))) = found.map(|(key, value)| (*key, *value)) else { continue };
                    assert!(deadlines.contains(at, key, position));
                    deadlines.remove(at, key, position);
                    assert!(!deadlines.contains(at, key, position));
                    model.remove(&key);
                }
                _ => {
                    now = now.after(Duration::from_millis(of(40)));
                    let mut expired = expire(&mut deadlines, now);
                    expired.sort_unstable();
                    let due: Vec<_> = model.iter().filter(|(_, (at, _))| *at <= now).map(|(key, _)| *key).collect();
                    assert_eq!(expired, due);
                    model.retain(|_, (at, _)| *at > now);
                }
            }
            assert_eq!(deadlines.len(), model.len());
        }
        let next = model.values().map(|(at, _)| *at).min();
        assert!(deadlines.next() <= next && next.is_some(), "the next call would come too late");
    }

    #[test]
    fn a_second_with_very_many_deadlines_is_put_in_order_piece_by_piece() {
        let mut deadlines = Deadlines::default();
        let at = |n: u64| Timestamp::at(Duration::from_secs(5) + Duration::from_nanos(n));
        let positions: Vec<_> = (0..10_000).map(|n| deadlines.insert(at(n), n)).collect();
        assert_eq!(deadlines.next(), Some(at(0)));
        assert_eq!(deadlines.pop_due(at(0)), Some(0));
        assert_eq!(deadlines.near.len(), PIECE - 1);
        // One that was put in order, one that was not, and one that was taken.
        deadlines.remove(at(1), 1, positions[1]);
        deadlines.remove(at(9_999), 9_999, positions[9_999]);
        deadlines.remove(at(0), 0, positions[0]);
        assert_eq!(deadlines.len(), 9_997);
        assert_eq!(expire(&mut deadlines, at(9_998)), (2..9_999).collect::<Vec<_>>());
        assert_eq!((deadlines.next(), deadlines.len()), (None, 0));
    }
}
