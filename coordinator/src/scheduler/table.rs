//! A hash map in many small parts, so that no single insertion pays for growing the whole: with a million
//! entries one part has about a thousand. Where an entry stands can be worked out ahead of its use, step by step, so
//! that reading many of them ahead costs hardly more than reading one.

use super::{
    prefetch::{prefetch, prefetch_all},
    slab::{Number, Slab},
};
use hashbrown::DefaultHashBuilder;
use std::hash::{BuildHasher as _, Hash};

const PARTS: usize = 1024;
/// The shortest index of a part.
const SHORTEST: usize = 8;

/// Where an entry of this hash would be: the upper half is its mark in the index, the lower half says which part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u64);

impl Place {
    fn part(self) -> usize {
        self.0 as usize % PARTS
    }

    fn mark(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One part of the index: for each entry its mark and its number, zero where there is none. An entry is looked for
/// from where its mark says onwards. At most three quarters are taken.
#[derive(Default)]
struct Part {
    words: Vec<u64>,
    len: u32,
}

fn word(mark: u32, number: Number) -> u64 {
    u64::from(mark) << 32 | u64::from(number)
}

fn mark_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn number_of(word: u64) -> Number {
    word as u32
}

impl Part {
    fn mask(&self) -> usize {
        self.words.len().wrapping_sub(1)
    }

    /// The first word that may be that of an entry with this mark.
    fn home(&self, mark: u32) -> usize {
        mark as usize & self.mask()
    }

    /// Where an entry stands, and its number.
    fn find(&self, mark: u32, is_it: impl Fn(Number) -> bool) -> Option<(usize, Number)> {
        let mut at = self.home(mark);
        loop {
            match *self.words.get(at)? {
                0 => return None,
                word if mark_of(word) == mark && is_it(number_of(word)) => return Some((at, number_of(word))),
                _ => at = (at + 1) & self.mask(),
            }
        }
    }

    fn enter(words: &mut [u64], word: u64) {
        let mask = words.len() - 1;
        let mut at = mark_of(word) as usize & mask;
        while words[at] != 0 {
            at = (at + 1) & mask;
        }
        words[at] = word;
    }

    fn add(&mut self, mark: u32, number: Number) {
        if (self.len as usize + 1) * 4 > self.words.len() * 3 {
            let mut longer = vec![0; (self.words.len() * 2).max(SHORTEST)];
            self.words.iter().filter(|word| **word != 0).for_each(|word| Self::enter(&mut longer, *word));
            self.words = longer;
        }
        Self::enter(&mut self.words, word(mark, number));
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.len -= 1;
        if self.len == 0 {
            // Memory follows the load down as well.
            self.words = Vec::new();
            return;
        }
        // Those behind it move up, if they may stand there.
        let mask = self.mask();
        let (mut hole, mut next) = (at, (at + 1) & mask);
        while self.words[next] != 0 {
            let from_home = next.wrapping_sub(self.home(mark_of(self.words[next]))) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.words[hole] = self.words[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.words[hole] = 0;
    }
}

/// A hash map. Its entries stay where they are as it grows.
pub(super) struct Table<K, V> {
    parts: Box<[Part]>,
    entries: Slab<(K, V)>,
    hasher: DefaultHashBuilder,
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|e| (&e.0, &e.1))).finish()
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Part::default()).collect();
        Self { parts, entries: Slab::default(), hasher: DefaultHashBuilder::default() }
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// Where a key's entry is, should there be one: the first step of reading ahead. Asks for its part of the index.
    pub(super) fn look(&self, key: &K) -> Place {
        let place = self.place(key);
        let part = &self.parts[place.part()];
        if let Some(word) = part.words.get(part.home(place.mark())) {
            prefetch(word);
        }
        place
    }

    /// The second step: asks for the entry.
    pub(super) fn fetch(&self, place: Place) {
        if let Some(entry) = self.probable(place).and_then(|number| self.entries.at(number)) {
            prefetch_all(entry);
        }
    }

    /// The third step: reads the entry.
    pub(super) fn fetched(&self, place: Place) -> Option<&V> {
        self.entries.get(self.probable(place)?).map(|(_, value)| value)
    }

    /// The number of the first entry with this mark, which most probably is the one.
    fn probable(&self, place: Place) -> Option<Number> {
        self.parts[place.part()].find(place.mark(), |_| true).map(|(_, number)| number)
    }

    fn place(&self, key: &K) -> Place {
        Place(self.hasher.hash_one(key))
    }

    /// Where in its part of the index an entry stands, and its number.
    fn find(&self, place: Place, key: &K) -> Option<(usize, Number)> {
        let is_it = |number| self.entries.get(number).is_some_and(|(k, _)| k == key);
        self.parts[place.part()].find(place.mark(), is_it)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (_, number) = self.find(self.place(key), key)?;
        self.entries.get(number).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, number) = self.find(self.place(key), key)?;
        self.entries.get_mut(number).map(|(_, value)| value)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.find(self.place(key), key).is_some()
    }

    /// Adds an entry; gives back the one that it replaces.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value));
        }
        let place = self.place(&key);
        let number = self.entries.add((key, value));
        self.parts[place.part()].add(place.mark(), number);
        None
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key);
        let (at, number) = self.find(place, key)?;
        self.parts[place.part()].remove(at);
        self.entries.take(number).map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every entry, in no order that means anything: for checks only, never for a decision.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|e| (&e.0, &e.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_map() {
        let mut table = Table::default();
        for n in 0..10_000_u64 {
            assert_eq!(table.insert(n, n * 2), None);
        }
        assert_eq!((table.insert(7, 1), table.get(&7), table.len()), (Some(14), Some(&1), 10_000));
        for n in 0..5_000 {
            assert!(table.remove(&n).is_some() && table.remove(&n).is_none());
        }
        assert_eq!((table.len(), table.iter().count(), table.contains_key(&4_999)), (5_000, 5_000, false));
        *table.get_mut(&9_999).unwrap() = 3;
        assert_eq!(table.get(&9_999), Some(&3));
        for n in 5_000..10_000 {
            let place = table.look(&n);
            table.fetch(place);
            assert_eq!(table.fetched(place), table.get(&n));
            assert!(table.remove(&n).is_some());
        }
        assert_eq!((table.len(), table.parts.iter().all(|part| part.words.capacity() == 0)), (0, true));
    }

    /// One part alone, with marks that collide.
    #[test]
    fn those_behind_one_that_goes_are_still_found() {
        let (mut part, mut there) = (Part::default(), [false; 128]);
        let mark = |key: u32| key.wrapping_mul(0x9e37_79b9) >> 27;
        let mut random = 1_u32;
        for _ in 0..200_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (random >> 25).max(1);
            let found = part.find(mark(key), |number| number == key);
            assert_eq!(found.is_some(), there[key as usize]);
            match found {
                Some((at, _)) => part.remove(at),
                None => part.add(mark(key), key),
            }
            there[key as usize] = found.is_none();
        }
        let found = (1..128).filter(|key| part.find(mark(*key), |number| number == *key).is_some()).count();
        assert_eq!((part.len as usize, found), (there.iter().filter(|there| **there).count(), found));
        assert!(part.words.len() <= 256 && found > 16 && found == part.len as usize);
    }
}
