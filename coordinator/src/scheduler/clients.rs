//! The nodes that ask: what each has here, how much more it may bring, which relay chain leaves it holds to be
//! active, and whether it is still there.

use super::{lists::Lists, timers::Moment};
use hashbrown::HashMap;
use pvf_shared::{
    ids::{NodeId, RequestId},
    priority::ExecuteKind,
    wire::ActiveLeavesUpdate,
};
use std::{collections::VecDeque, time::Duration};

/// Nodes that are remembered; more than these are turned away.
pub(super) const MAX_CLIENTS: usize = 65_536;
/// Leaves and ancestors that are remembered of a node.
const MAX_LEAVES: usize = 256;
/// Kinds of execution, and preparations.
const KINDS: usize = 5;

type Hash = [u8; 32];

/// A leaf, and in which list of it a request stands.
pub(super) type LeafEntry = (Hash, u32);

/// How much may be here at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests without a verdict.
    pub requests: u64,
    /// Bytes that their messages hold here, inputs in the store not counted.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    requests: u64,
    bytes: u64,
}

impl Usage {
    fn exceeds(self, bytes: u64, limit: Limit) -> bool {
        self.requests >= limit.requests || self.bytes.saturating_add(bytes) > limit.bytes
    }
}

/// One node.
#[derive(Debug, Default)]
pub(super) struct Client {
    usage: Usage,
    pub(super) last_heard: Moment,
    /// When its silence timer goes off.
    pub(super) silence: Moment,
    /// Nobody heard of it for long: what it asked for is not begun.
    pub(super) gone: bool,
    active: HashMap<Hash, Vec<Hash>>,
    retired: VecDeque<Hash>,
    /// Its requests that belong to a leaf.
    by_leaf: Lists<Hash>,
}

impl Client {
    fn wants(&self, leaf: &Hash) -> bool {
        self.active.iter().any(|(active, ancestors)| active == leaf || ancestors.contains(leaf))
    }

    pub(super) fn has_requests(&self) -> bool {
        self.usage.requests > 0
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Clients {
    clients: HashMap<NodeId, Client>,
    kinds: [Usage; KINDS],
}

fn at(kind: Option<ExecuteKind>) -> usize {
    kind.map_or(KINDS - 1, |kind| kind as usize)
}

/// The name of a kind of work.
pub(super) fn name(kind: Option<ExecuteKind>) -> &'static str {
    kind.map_or("preparation", ExecuteKind::name)
}

impl Clients {
    /// A node was heard of. Gives when its silence timer is to go off, if it is new (and not one too many).
    pub(super) fn heard_of(&mut self, node: NodeId, silence: Duration, now: Moment) -> Option<Moment> {
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&node) {
            return None;
        }
        let client = self.clients.entry(node).or_default();
        (client.last_heard, client.gone) = (now, false);
        (client.silence == Moment::default()).then(|| {
            client.silence = now.after(silence);
            client.silence
        })
    }

    pub(super) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Client> {
        self.clients.get_mut(node)
    }

    pub(super) fn is_gone(&self, node: &NodeId) -> bool {
        self.clients.get(node).is_none_or(|client| client.gone)
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.clients.remove(node);
    }

    /// What is full, if there is no room for one more request.
    pub(super) fn full(
        &self,
        node: &NodeId,
        kind: Option<ExecuteKind>,
        bytes: u64,
        (of_kind, of_client): (Limit, Limit),
    ) -> Option<String> {
        if self.kinds[at(kind)].exceeds(bytes, of_kind) {
            let Limit { requests, bytes } = of_kind;
            return Some(format!("{} requests of all clients (limit {requests} or {bytes} bytes)", name(kind)));
        }
        match self.clients.get(node) {
            Some(client) if client.usage.exceeds(bytes, of_client) => {
                let Limit { requests, bytes } = of_client;
                Some(format!("requests of this client (limit {requests} or {bytes} bytes)"))
            }
            None if self.clients.len() >= MAX_CLIENTS => Some(format!("clients (limit {MAX_CLIENTS})")),
            _ => None,
        }
    }

    /// A request was admitted; `leaf` if it may be orphaned. Gives where it stands among those of the leaf.
    pub(super) fn admit(
        &mut self,
        node: NodeId,
        kind: Option<ExecuteKind>,
        leaf: Option<(Hash, RequestId)>,
    ) -> Option<LeafEntry> {
        self.kinds[at(kind)].requests += 1;
        let client = self.clients.entry(node).or_default();
        client.usage.requests += 1;
        leaf.map(|(leaf, id)| (leaf, client.by_leaf.add(leaf, id)))
    }

    /// The reverse of [`Clients::admit`].
    pub(super) fn release(
        &mut self,
        node: NodeId,
        kind: Option<ExecuteKind>,
        leaf: Option<LeafEntry>,
        is_live: impl Fn(&RequestId) -> bool,
    ) {
        self.kinds[at(kind)].requests -= 1;
        let Some(client) = self.clients.get_mut(&node) else { return };
        client.usage.requests -= 1;
        if let Some(entry) = leaf
            && client.by_leaf.clear(entry)
        {
            client.by_leaf.tidy(entry, is_live);
        }
    }

    /// An execution holds these bytes.
    pub(super) fn charge_bytes(&mut self, (node, kind): (NodeId, ExecuteKind), bytes: u64) {
        self.kinds[kind as usize].bytes += bytes;
        self.clients.entry(node).or_default().usage.bytes += bytes;
    }

    /// The reverse of [`Clients::charge_bytes`].
    pub(super) fn release_bytes(&mut self, (node, kind): (NodeId, ExecuteKind), bytes: u64) {
        self.kinds[kind as usize].bytes -= bytes;
        if let Some(client) = self.clients.get_mut(&node) {
            client.usage.bytes = client.usage.bytes.saturating_sub(bytes);
        }
    }

    /// A node's view of the relay chain moved; gives the leaves whose work is not wanted any more.
    pub(super) fn update_leaves(&mut self, node: NodeId, update: &ActiveLeavesUpdate) -> Vec<Hash> {
        let Some(client) = self.clients.get_mut(&node) else { return Vec::new() };
        for gone in &update.deactivated {
            client.active.remove(gone);
            client.retired.push_back(*gone);
        }
        if let Some(leaf) = &update.activated {
            client.retired.retain(|retired| *retired != leaf.hash && !leaf.ancestors.contains(retired));
            let mut ancestors = leaf.ancestors.clone();
            ancestors.truncate(MAX_LEAVES);
            if client.active.len() < MAX_LEAVES {
                client.active.insert(leaf.hash, ancestors);
            }
        }
        while client.retired.len() > MAX_LEAVES {
            client.retired.pop_front();
        }
        client.by_leaf.keys().filter(|leaf| !client.wants(leaf)).collect()
    }

    /// Whether a leaf is known to be in no active fork any more.
    pub(super) fn is_retired(&self, node: &NodeId, leaf: &Hash) -> bool {
        self.clients.get(node).is_some_and(|client| client.retired.contains(leaf) && !client.wants(leaf))
    }

    /// Takes the next request of a leaf out, if its work is still not wanted; it may have ended already.
    pub(super) fn next_orphan(&mut self, node: &NodeId, leaf: &Hash) -> Option<(RequestId, LeafEntry)> {
        let client = self.clients.get_mut(node)?;
        if client.wants(leaf) {
            return None;
        }
        client.by_leaf.take(*leaf).map(|(id, list)| (id, (*leaf, list)))
    }

    /// What all requests of each kind hold here, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.kinds.iter().map(|k| k.bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Requests by kind, for checks.
    pub(super) fn requests(&self) -> u64 {
        self.kinds.iter().map(|k| k.requests).sum()
    }
}
