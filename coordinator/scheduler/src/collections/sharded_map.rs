//! A hash map whose insertions never move all entries at once.
//!
//! A `HashMap` of a million entries that grows moves all of them within one insertion, which takes tens of
//! milliseconds; the scheduler may spend at most 1 ms on an event. Here 1,024 small hash tables share the entries, so
//! that growing moves a thousandth of them (about 50 µs at a million entries).

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use std::hash::{BuildHasher as _, Hash};

const SHARDS: usize = 1024;
/// Smaller tables are not shrunk.
const MIN_CAPACITY: usize = 32;

/// A map from `K` to `V` with bounded work for each operation.
#[derive(Debug)]
pub(crate) struct ShardedMap<K, V> {
    shards: Box<[HashTable<(K, V)>]>,
    hasher: DefaultHashBuilder,
    len: usize,
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { shards, hasher: DefaultHashBuilder::default(), len: 0 }
    }
}

/// The shard of a hash. The tables themselves use the lowest and the highest bits.
fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

impl<K: Hash + Eq, V> ShardedMap<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        self.shards[shard(hash)].find(hash, |entry| entry.0 == *key).map(|entry| &entry.1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        self.shards[shard(hash)].find_mut(hash, |entry| entry.0 == *key).map(|entry| &mut entry.1)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Adds an entry; returns the value that it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        let hasher = &self.hasher;
        let rehash = |entry: &(K, V)| hasher.hash_one(&entry.0);
        match self.shards[shard(hash)].entry(hash, |entry| entry.0 == key, rehash) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, value)),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Removes an entry. A table that is mostly empty afterwards gives memory back.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let table = &mut self.shards[shard(hash)];
        let ((_, value), _) = table.find_entry(hash, |entry| entry.0 == *key).ok()?.remove();
        self.len -= 1;
        if table.is_empty() {
            *table = HashTable::new();
        } else if table.capacity() > MIN_CAPACITY && table.len() * 8 < table.capacity() {
            let hasher = &self.hasher;
            table.shrink_to(table.len() * 2, |entry| hasher.hash_one(&entry.0));
        }
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Every entry, in no particular order: for checks and status, never for a decision.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten().map(|entry| (&entry.0, &entry.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_map() {
        let (mut map, mut model, mut random) = (ShardedMap::default(), std::collections::HashMap::new(), 1_u64);
        for n in 0..200_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (random >> 33) % 20_000;
            if random >> 63 == 0 {
                assert_eq!(map.insert(key, n), model.insert(key, n));
            } else {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
            assert_eq!(map.len(), model.len());
        }
        assert!(model.iter().all(|(key, n)| map.get(key) == Some(n)));
        assert_eq!(map.iter().count(), model.len());
    }

    #[test]
    fn no_table_is_large_and_memory_is_given_back() {
        let mut map = ShardedMap::default();
        for n in 0..300_000_u64 {
            map.insert(n, n);
        }
        let largest = map.shards.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 500, "{largest} entries would move at once");
        for n in 0..299_990 {
            map.remove(&n);
        }
        let capacity: usize = map.shards.iter().map(HashTable::capacity).sum();
        assert!(capacity < 40_000, "room for {capacity} entries is kept");
    }
}
