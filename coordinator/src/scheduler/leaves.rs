//! Which relay chain leaves each node holds to be active: backing work for any other is not wanted any more.

use pvf_shared::{ids::NodeId, wire::ActiveLeavesUpdate};
use std::collections::{BTreeMap, HashMap};

/// Nodes whose leaves are remembered; the ones seen first are forgotten first.
const MAX_NODES: usize = 4096;

type Hash = [u8; 32];

/// Active leaves with their ancestors, for each node.
#[derive(Debug, Default)]
pub(super) struct Leaves(BTreeMap<NodeId, HashMap<Hash, Vec<Hash>>>);

impl Leaves {
    /// A node's view moved.
    pub(super) fn update(&mut self, node: NodeId, update: &ActiveLeavesUpdate) {
        let leaves = self.0.entry(node).or_default();
        for gone in &update.deactivated {
            leaves.remove(gone);
        }
        if let Some(leaf) = &update.activated {
            leaves.insert(leaf.hash, leaf.ancestors.clone());
        }
        while self.0.len() > MAX_NODES {
            self.0.pop_first();
        }
    }

    /// Whether work for this relay block is still wanted; it is if the node never said anything.
    pub(super) fn wanted(&self, node: &NodeId, relay_block: &Hash) -> bool {
        self.0.get(node).is_none_or(|leaves| {
            leaves.iter().any(|(leaf, ancestors)| leaf == relay_block || ancestors.contains(relay_block))
        })
    }
}
