//! The nodes that ask: what each has here, how much more it may bring, which relay chain leaves it holds to be
//! active, and whether it is still there.

use super::{
    leaves::{Hash, LeafEntry, Leaves},
    timers::Moment,
};
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

/// A node that is remembered, by a number that no other has or will have: where it stands, and the how manieth stands
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClientKey {
    at: u32,
    time: u32,
}

#[cfg(test)]
impl ClientKey {
    pub(super) fn of(at: u32) -> Self {
        Self { at, time: 0 }
    }
}

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
#[derive(Debug)]
pub(super) struct Client {
    pub(super) node: NodeId,
    usage: Usage,
    pub(super) last_heard: Moment,
    /// When its silence timer goes off.
    pub(super) silence: Moment,
    /// Nobody heard of it for long: what it asked for is not begun.
    pub(super) gone: bool,
    active: HashMap<Hash, Vec<Hash>>,
    retired: VecDeque<Hash>,
    /// Its requests that belong to a leaf.
    by_leaf: Leaves,
}

impl Client {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            usage: Usage::default(),
            last_heard: Moment::default(),
            silence: Moment::default(),
            gone: false,
            active: HashMap::new(),
            retired: VecDeque::new(),
            by_leaf: Leaves::default(),
        }
    }

    fn wants(&self, leaf: &Hash) -> bool {
        self.active.iter().any(|(active, ancestors)| active == leaf || ancestors.contains(leaf))
    }

    pub(super) fn has_requests(&self) -> bool {
        self.usage.requests > 0
    }
}

/// A place for a node.
#[derive(Debug, Default)]
struct Place {
    client: Option<Box<Client>>,
    /// The how manieth it is that stands here.
    time: u32,
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_id: HashMap<NodeId, ClientKey>,
    places: Vec<Place>,
    free: Vec<u32>,
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
    /// The number of a node that is remembered.
    pub(super) fn find(&self, node: &NodeId) -> Option<ClientKey> {
        self.by_id.get(node).copied()
    }

    /// The number of a node, that is remembered from now on if it is not one too many.
    pub(super) fn find_or_add(&mut self, node: NodeId) -> Option<ClientKey> {
        if let Some(key) = self.find(&node) {
            return Some(key);
        }
        if self.by_id.len() >= MAX_CLIENTS {
            return None;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[at as usize];
        place.client = Some(Box::new(Client::new(node)));
        let key = ClientKey { at, time: place.time };
        self.by_id.insert(node, key);
        Some(key)
    }

    pub(super) fn get(&self, key: ClientKey) -> Option<&Client> {
        let place = self.places.get(key.at as usize).filter(|place| place.time == key.time)?;
        place.client.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        let place = self.places.get_mut(key.at as usize).filter(|place| place.time == key.time)?;
        place.client.as_deref_mut()
    }

    /// A node was heard of. Gives when its silence timer is to go off, if it is new.
    pub(super) fn heard_of(&mut self, key: ClientKey, silence: Duration, now: Moment) -> Option<Moment> {
        let client = self.get_mut(key)?;
        (client.last_heard, client.gone) = (now, false);
        (client.silence == Moment::default()).then(|| {
            client.silence = now.after(silence);
            client.silence
        })
    }

    pub(super) fn is_gone(&self, key: ClientKey) -> bool {
        self.get(key).is_none_or(|client| client.gone)
    }

    pub(super) fn forget(&mut self, key: ClientKey) {
        let Some(place) = self.places.get_mut(key.at as usize).filter(|place| place.time == key.time) else { return };
        let Some(client) = place.client.take() else { return };
        self.by_id.remove(&client.node);
        // A place that was used so often that its count would start again is not used again.
        if let Some(time) = place.time.checked_add(1) {
            place.time = time;
            self.free.push(key.at);
        }
    }

    /// What is full, if there is no room for one more request.
    pub(super) fn full(
        &self,
        client: Option<ClientKey>,
        kind: Option<ExecuteKind>,
        bytes: u64,
        (of_kind, of_client): (Limit, Limit),
    ) -> Option<String> {
        if self.kinds[at(kind)].exceeds(bytes, of_kind) {
            let Limit { requests, bytes } = of_kind;
            return Some(format!("{} requests of all clients (limit {requests} or {bytes} bytes)", name(kind)));
        }
        match client.and_then(|key| self.get(key)) {
            Some(client) if client.usage.exceeds(bytes, of_client) => {
                let Limit { requests, bytes } = of_client;
                Some(format!("requests of this client (limit {requests} or {bytes} bytes)"))
            }
            None if self.by_id.len() >= MAX_CLIENTS => Some(format!("clients (limit {MAX_CLIENTS})")),
            _ => None,
        }
    }

    /// A request was admitted; `leaf` if it may be orphaned. Gives where it stands among those of the leaf.
    pub(super) fn admit(
        &mut self,
        client: ClientKey,
        kind: Option<ExecuteKind>,
        leaf: Option<(Hash, RequestId)>,
    ) -> Option<LeafEntry> {
        self.kinds[at(kind)].requests += 1;
        let client = self.get_mut(client)?;
        client.usage.requests += 1;
        leaf.map(|(leaf, id)| client.by_leaf.add(leaf, id))
    }

    /// The reverse of [`Clients::admit`].
    pub(super) fn release(
        &mut self,
        client: ClientKey,
        kind: Option<ExecuteKind>,
        leaf: Option<LeafEntry>,
        is_live: impl Fn(&RequestId) -> bool,
    ) {
        self.kinds[at(kind)].requests -= 1;
        let Some(client) = self.get_mut(client) else { return };
        client.usage.requests -= 1;
        if let Some(entry) = leaf
            && client.by_leaf.clear(entry)
        {
            client.by_leaf.tidy(entry, is_live);
        }
    }

    /// An execution holds these bytes.
    pub(super) fn charge_bytes(&mut self, (client, kind): (ClientKey, ExecuteKind), bytes: u64) {
        self.kinds[kind as usize].bytes += bytes;
        if let Some(client) = self.get_mut(client) {
            client.usage.bytes += bytes;
        }
    }

    /// The reverse of [`Clients::charge_bytes`].
    pub(super) fn release_bytes(&mut self, (client, kind): (ClientKey, ExecuteKind), bytes: u64) {
        self.kinds[kind as usize].bytes -= bytes;
        if let Some(client) = self.get_mut(client) {
            client.usage.bytes = client.usage.bytes.saturating_sub(bytes);
        }
    }

    /// A node's view of the relay chain moved; gives the leaves whose work is not wanted any more.
    pub(super) fn update_leaves(&mut self, client: ClientKey, update: &ActiveLeavesUpdate) -> Vec<Hash> {
        let Some(client) = self.get_mut(client) else { return Vec::new() };
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
        client.by_leaf.hashes().filter(|leaf| !client.wants(leaf)).copied().collect()
    }

    /// Whether a leaf is known to be in no active fork any more.
    pub(super) fn is_retired(&self, client: ClientKey, leaf: &Hash) -> bool {
        self.get(client).is_some_and(|client| client.retired.contains(leaf) && !client.wants(leaf))
    }

    /// The leaf of a request that is here.
    pub(super) fn leaf(&self, client: ClientKey, entry: LeafEntry) -> Option<&Hash> {
        self.get(client)?.by_leaf.hash(entry)
    }

    /// Takes the next request of a leaf out, if its work is still not wanted; it may have ended already.
    pub(super) fn next_orphan(&mut self, client: ClientKey, leaf: &Hash) -> Option<(RequestId, LeafEntry)> {
        let client = self.get_mut(client)?;
        if client.wants(leaf) {
            return None;
        }
        client.by_leaf.take(leaf)
    }

    /// What all requests of each kind hold here, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.kinds.iter().map(|k| k.bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Requests by kind, for checks.
    pub(super) fn requests(&self) -> u64 {
        self.kinds.iter().map(|k| k.requests).sum()
    }
}
