//! Values by number, where numbers are given one after another: what came together lies together, and finding one
//! among a million costs one cache miss. Memory follows what is there, not what has been.

use super::{artifacts::ArtifactKey, table::Table};
use pvf_shared::ids::JobId;
use std::marker::PhantomData;

/// Numbers of one page.
const PAGE: u64 = 256;

/// A number that is given once.
pub(super) trait Number: Copy {
    fn number(self) -> u64;
    fn from_number(number: u64) -> Self;
}

impl Number for JobId {
    fn number(self) -> u64 {
        self.0
    }
    fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl Number for ArtifactKey {
    fn number(self) -> u64 {
        self.0
    }
    fn from_number(number: u64) -> Self {
        Self(number)
    }
}

#[derive(Debug)]
struct Page<V> {
    values: [Option<Box<V>>; PAGE as usize],
    live: u32,
}

/// Values by number.
#[derive(Debug)]
pub(super) struct Numbered<K, V> {
    pages: Table<u64, Box<Page<V>>>,
    len: usize,
    keys: PhantomData<K>,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self { pages: Table::default(), len: 0, keys: PhantomData }
    }
}

fn place(key: impl Number) -> (u64, usize) {
    (key.number() / PAGE, (key.number() % PAGE) as usize)
}

impl<K: Number, V> Numbered<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (page, slot) = place(*key);
        self.pages.get(&page)?.values[slot].as_deref()
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (page, slot) = place(*key);
        self.pages.get_mut(&page)?.values[slot].as_deref_mut()
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Adds a value; what had its number before is gone.
    pub(super) fn insert(&mut self, key: K, value: Box<V>) {
        let (at, slot) = place(key);
        if self.pages.get(&at).is_none() {
            self.pages.insert(at, Box::new(Page { values: [const { None }; PAGE as usize], live: 0 }));
        }
        let Some(page) = self.pages.get_mut(&at) else { return };
        if page.values[slot].replace(value).is_none() {
            page.live += 1;
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<Box<V>> {
        let (at, slot) = place(*key);
        let page = self.pages.get_mut(&at)?;
        let gone = page.values[slot].take()?;
        page.live -= 1;
        self.len -= 1;
        if page.live == 0 {
            self.pages.remove(&at);
        }
        Some(gone)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every value, in no order that means anything: for checks only, never for a decision.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.pages.iter().flat_map(|(page, values)| {
            let values = values.values.iter().enumerate();
            values.filter_map(move |(n, value)| Some((K::from_number(page * PAGE + n as u64), value.as_deref()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_map_by_number() {
        let mut map = Numbered::default();
        for n in 1..=10_000 {
            map.insert(JobId(n), Box::new(n * 2));
        }
        assert_eq!((map.get(&JobId(64)), map.get(&JobId(0)), map.len()), (Some(&128), None, 10_000));
        *map.get_mut(&JobId(7)).unwrap() = 1;
        assert_eq!(map.remove(&JobId(7)).as_deref(), Some(&1));
        assert_eq!((map.remove(&JobId(7)), map.contains_key(&JobId(7))), (None, false));
        let mut all: Vec<_> = map.iter().map(|(key, value)| (key.0, *value)).collect();
        all.sort_unstable();
        assert_eq!((all.len(), all[6]), (9_999, (8, 16)));
    }

    #[test]
    fn what_has_gone_takes_no_room() {
        let mut map = Numbered::default();
        for n in 0..100_000 {
            map.insert(ArtifactKey(n), Box::new(()));
            drop(map.remove(&ArtifactKey(n.wrapping_sub(100))));
            assert!(map.pages.len() <= 3, "{} pages", map.pages.len());
        }
        (0..100_000).for_each(|n| drop(map.remove(&ArtifactKey(n))));
        assert_eq!((map.len(), map.pages.len()), (0, 0));
    }
}
