//! The client's view of the relay chain, kept so that it can be told to the next coordinator.

use crate::{
    ids::RelayHash,
    wire::{ActiveLeaf, ActiveLeavesUpdate},
};
use std::sync::{Mutex, PoisonError};

/// Most active leaves that are kept; a coordinator remembers no more either.
const MAX_LEAVES: usize = 256;

/// The active leaves, in the order of their activation.
#[derive(Debug, Default)]
pub(super) struct Leaves(Mutex<Vec<ActiveLeaf>>);

impl Leaves {
    /// Notes a change.
    pub(super) fn note(&self, update: &ActiveLeavesUpdate) {
        let mut active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        active.retain(|leaf| !update.deactivated.contains(&leaf.hash));
        if let Some(leaf) = &update.activated {
            active.retain(|known| known.hash != leaf.hash);
            active.push(leaf.clone());
        }
        let excess = active.len().saturating_sub(MAX_LEAVES);
        active.drain(..excess);
    }

    /// The updates that tell another coordinator what is active. With each of them all active leaves are wanted: the
    /// first one has the others as ancestors until these have been told.
    pub(super) fn repetition(&self) -> Vec<ActiveLeavesUpdate> {
        let active = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let activate = |leaf: ActiveLeaf| ActiveLeavesUpdate { activated: Some(leaf), deactivated: vec![] };
        let Some((first, others)) = active.split_first() else { return Vec::new() };
        let mut updates = Vec::new();
        if !others.is_empty() {
            let hashes = others.iter().map(|leaf| leaf.hash);
            let ancestors: Vec<RelayHash> =
                hashes.chain(active.iter().flat_map(|leaf| leaf.ancestors.iter().copied())).collect();
            updates.push(activate(ActiveLeaf { hash: first.hash, ancestors }));
        }
        updates.extend(others.iter().chain([first]).cloned().map(activate));
        updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(hash: u8, ancestors: &[u8]) -> ActiveLeaf {
        let of = |n: &u8| RelayHash([*n; 32]);
        ActiveLeaf { hash: of(&hash), ancestors: ancestors.iter().map(of).collect() }
    }

    #[test]
    fn every_update_wants_all_that_is_active() {
        let leaves = Leaves::default();
        assert!(leaves.repetition().is_empty());
        let activate = |leaf, gone: &[u8]| ActiveLeavesUpdate {
            activated: Some(leaf),
            deactivated: gone.iter().map(|n| RelayHash([*n; 32])).collect(),
        };
        leaves.note(&activate(leaf(1, &[]), &[]));
        leaves.note(&activate(leaf(2, &[1, 9]), &[1]));
        assert_eq!(leaves.repetition(), [activate(leaf(2, &[1, 9]), &[])]);
        leaves.note(&activate(leaf(3, &[8]), &[]));
        let expected = [leaf(2, &[3, 1, 9, 8]), leaf(3, &[8]), leaf(2, &[1, 9])].map(|leaf| activate(leaf, &[]));
        assert_eq!(leaves.repetition(), expected);
        leaves.note(&ActiveLeavesUpdate { activated: None, deactivated: vec![RelayHash([2; 32]), RelayHash([3; 32])] });
        assert!(leaves.repetition().is_empty());
    }
}
