//! The requests of one client that belong to relay chain leaves. A leaf has a small number as long as requests belong
//! to it: each of them remembers that and not the hash.

use super::lists::Lists;
use pvf_shared::ids::RequestId;
use std::collections::BTreeMap;

pub(super) type Hash = [u8; 32];

/// The number of a leaf, and in which of its lists a request stands.
pub(super) type LeafEntry = (u32, u32);

#[derive(Debug, Default)]
struct Leaf {
    hash: Hash,
    lists: Lists,
}

/// Requests by leaf.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    numbers: BTreeMap<Hash, u32>,
    leaves: Vec<Leaf>,
    /// Numbers that no leaf has.
    free: Vec<u32>,
}

impl Leaves {
    /// Enters a request; whoever does remembers where.
    pub(super) fn add(&mut self, hash: Hash, id: RequestId) -> LeafEntry {
        let number = match self.numbers.get(&hash) {
            Some(number) => *number,
            None => self.number(hash),
        };
        (number, self.leaves[number as usize].lists.add(id))
    }

    fn number(&mut self, hash: Hash) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.leaves.push(Leaf::default());
            self.leaves.len() as u32 - 1
        });
        self.leaves[number as usize].hash = hash;
        self.numbers.insert(hash, number);
        number
    }

    /// A request has ended. Gives whether its list is to be tidied.
    pub(super) fn clear(&mut self, (number, list): LeafEntry) -> bool {
        let Some(leaf) = self.leaves.get_mut(number as usize) else { return false };
        let untidy = leaf.lists.clear(list);
        if leaf.lists.is_empty() {
            self.numbers.remove(&leaf.hash);
            self.free.push(number);
            if self.numbers.is_empty() {
                *self = Self::default();
            }
        }
        untidy
    }

    /// Leaves only the requests in a list that have not ended.
    pub(super) fn tidy(&mut self, (number, list): LeafEntry, is_live: impl Fn(&RequestId) -> bool) {
        if let Some(leaf) = self.leaves.get_mut(number as usize) {
            leaf.lists.tidy(list, is_live);
        }
    }

    /// Takes a request of a leaf out, with where it stood; it may have ended already.
    pub(super) fn take(&mut self, hash: &Hash) -> Option<(RequestId, LeafEntry)> {
        let number = *self.numbers.get(hash)?;
        self.leaves[number as usize].lists.take().map(|(id, list)| (id, (number, list)))
    }

    /// The leaf of a request that has not ended.
    pub(super) fn hash(&self, (number, _): LeafEntry) -> Option<&Hash> {
        self.leaves.get(number as usize).map(|leaf| &leaf.hash)
    }

    /// Every leaf that requests belong to.
    pub(super) fn hashes(&self) -> impl Iterator<Item = &Hash> {
        self.numbers.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_leaf_has_its_number_as_long_as_requests_belong_to_it() {
        let mut leaves = Leaves::default();
        let (first, second) = (leaves.add([1; 32], id(1)), leaves.add([2; 32], id(2)));
        let third = leaves.add([1; 32], id(3));
        assert_eq!((first.0, leaves.hash(second), leaves.hashes().count()), (third.0, Some(&[2; 32]), 2));
        assert_eq!(leaves.take(&[2; 32]), Some((id(2), second)));
        assert_eq!((leaves.take(&[2; 32]), leaves.hashes().count()), (None, 2), "it has not ended");
        leaves.clear(second);
        assert_eq!(leaves.hashes().collect::<Vec<_>>(), [&[1; 32]]);
        let fourth = leaves.add([4; 32], id(4));
        assert_eq!((fourth.0, leaves.hash(fourth)), (second.0, Some(&[4; 32])));
        for entry in [first, third, fourth] {
            leaves.clear(entry);
        }
        assert_eq!((leaves.hashes().count(), leaves.leaves.len(), leaves.free.len()), (0, 0, 0));
    }
}
