//! A hash map in many small parts, so that no single insertion pays for growing the whole: with a million
//! entries one part has about a thousand.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher as _, Hash};

const PARTS: usize = 1024;

/// A hash map. Large values are best boxed, so that growing a part moves little: hundred kilobytes are little.
pub(super) struct Table<K, V> {
    parts: Box<[HashTable<(K, V)>]>,
    hasher: DefaultHashBuilder,
    len: usize,
}

impl<K: std::fmt::Debug, V: std::fmt::Debug> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.parts.iter().flatten().map(|e| (&e.0, &e.1))).finish()
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| HashTable::new()).collect();
        Self { parts, hasher: DefaultHashBuilder::default(), len: 0 }
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// The key's hash and its part. The table below uses the lowest and the highest bits.
    fn place(&self, key: &K) -> (u64, usize) {
        let hash = self.hasher.hash_one(key);
        (hash, (hash >> 40) as usize % PARTS)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (hash, part) = self.place(key);
        self.parts[part].find(hash, |e| e.0 == *key).map(|e| &e.1)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (hash, part) = self.place(key);
        self.parts[part].find_mut(hash, |e| e.0 == *key).map(|e| &mut e.1)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Adds an entry; gives back the one that it replaces.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (hash, part) = self.place(&key);
        let (hasher, part) = (&self.hasher, &mut self.parts[part]);
        if let Some(old) = part.find_mut(hash, |e| e.0 == key) {
            return Some(std::mem::replace(&mut old.1, value));
        }
        part.insert_unique(hash, (key, value), |e| hasher.hash_one(&e.0));
        self.len += 1;
        None
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (hash, part) = self.place(key);
        let entry = self.parts[part].find_entry(hash, |e| e.0 == *key).ok()?;
        let (gone, _) = entry.remove();
        self.len -= 1;
        if self.parts[part].is_empty() {
            // Memory follows the load down as well.
            self.parts[part] = HashTable::new();
        }
        Some(gone.1)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every entry, in no order that means anything: for checks only, never for a decision.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flatten().map(|e| (&e.0, &e.1))
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
    }
}
