//! Clients (sessions of users): what each has here, which relay-chain leaves it holds active, and whether it is alive.

use crate::{
    collections::ShardedMap,
    keys::{ClientKey, RequestKey, UserKey},
    tables::users::{Usage, Users},
    time::Timestamp,
};
use pvf_proto::{
    identity::ClientId,
    ids::{RelayHash, RequestId},
    priority::ExecuteKind,
    wire::ActiveLeavesUpdate,
};
use slotmap::SlotMap;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

/// Clients that are known at once; more are refused.
pub(crate) const MAX_CLIENTS: usize = 65_536;
/// Leaves, and ancestors of one leaf, that are remembered of a client.
const MAX_LEAVES: usize = 256;
/// Kinds of execution, and preparations.
const CLASSES: usize = 5;

/// What a request counts as for the limits: a kind of execution, or a preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestClass(pub(crate) Option<ExecuteKind>);

impl RequestClass {
    fn index(self) -> usize {
        self.0.map_or(CLASSES - 1, |kind| kind as usize)
    }

    /// Its name in refusals.
    pub(crate) fn name(self) -> &'static str {
        self.0.map_or("preparation", ExecuteKind::name)
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) user: UserKey,
    requests: u64,
    pub(crate) last_heard: Timestamp,
    /// When its silence timer fires; `None` before the first one is set.
    pub(crate) silence_timer: Option<Timestamp>,
    /// It was silent for too long: its queued work is not begun.
    pub(crate) gone: bool,
    active: HashMap<RelayHash, Vec<RelayHash>>,
    retired: VecDeque<RelayHash>,
    /// Its requests that belong to a leaf and may be orphaned.
    by_leaf: BTreeMap<RelayHash, BTreeSet<RequestId>>,
}

impl Client {
    fn new(id: ClientId, user: UserKey) -> Self {
        Self {
            id,
            user,
            requests: 0,
            last_heard: Timestamp::default(),
            silence_timer: None,
            gone: false,
            active: HashMap::new(),
            retired: VecDeque::new(),
            by_leaf: BTreeMap::new(),
        }
    }

    /// Whether a leaf is active or an ancestor of an active one.
    fn wants(&self, leaf: &RelayHash) -> bool {
        self.active.iter().any(|(active, ancestors)| active == leaf || ancestors.contains(leaf))
    }

    /// Its requests without a verdict.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.requests > 0
    }

    /// Whether nothing would be lost with it: it has neither requests nor told of leaves.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_requests() && self.active.is_empty() && self.retired.is_empty()
    }
}

/// The clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_id: ShardedMap<ClientId, ClientKey>,
    clients: SlotMap<ClientKey, Box<Client>>,
    users: Users,
    classes: [Usage; CLASSES],
}

impl Clients {
    pub(crate) fn find(&self, id: &ClientId) -> Option<ClientKey> {
        self.by_id.get(id).copied()
    }

    /// The key of a client, which is added if it is new; `None` if there are [`MAX_CLIENTS`], or too many users.
    pub(crate) fn find_or_add(&mut self, id: ClientId) -> Option<ClientKey> {
        if let Some(key) = self.find(&id) {
            return Some(key);
        }
        if self.is_full() {
            return None;
        }
        let user = self.users.add_session(id.user)?;
        let key = self.clients.insert(Box::new(Client::new(id, user)));
        self.by_id.insert(id, key);
        Some(key)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.by_id.len() >= MAX_CLIENTS
    }

    /// The keys of all clients.
    pub(crate) fn keys(&self) -> impl Iterator<Item = ClientKey> {
        self.clients.keys()
    }

    pub(crate) fn get(&self, key: ClientKey) -> Option<&Client> {
        self.clients.get(key).map(|client| &**client)
    }

    pub(crate) fn get_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.clients.get_mut(key).map(|client| &mut **client)
    }

    /// Notes that a client is alive. Returns when its silence timer is to fire, if none was set yet.
    pub(crate) fn heard(&mut self, key: ClientKey, silence: Duration, now: Timestamp) -> Option<Timestamp> {
        let client = self.get_mut(key)?;
        (client.last_heard, client.gone) = (now, false);
        if client.silence_timer.is_some() {
            return None;
        }
        client.silence_timer = Some(now.after(silence));
        client.silence_timer
    }

    /// Whether a client was silent for too long, or is not known any more.
    pub(crate) fn is_gone(&self, key: ClientKey) -> bool {
        self.get(key).is_none_or(|client| client.gone)
    }

    pub(crate) fn forget(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.remove(key) {
            self.by_id.remove(&client.id);
            self.users.remove_session(client.user);
        }
    }

    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn users_mut(&mut self) -> &mut Users {
        &mut self.users
    }

    /// The user of a client.
    pub(crate) fn user_of(&self, key: ClientKey) -> Option<UserKey> {
        self.get(key).map(|client| client.user)
    }

    fn user_mut(&mut self, key: ClientKey) -> Option<&mut Usage> {
        let user = self.user_of(key)?;
        self.users.get_mut(user).map(|user| &mut user.usage)
    }

    /// What all requests of a class hold.
    pub(crate) fn class_usage(&self, class: RequestClass) -> Usage {
        self.classes[class.index()]
    }

    /// Counts a request, and enters it under its leaf if it has one.
    pub(crate) fn count_request(&mut self, request: RequestKey, class: RequestClass, leaf: Option<RelayHash>) {
        self.classes[class.index()].add_request();
        if let Some(usage) = self.user_mut(request.client) {
            usage.add_request();
        }
        let Some(client) = self.get_mut(request.client) else { return };
        client.requests += 1;
        if let Some(leaf) = leaf {
            client.by_leaf.entry(leaf).or_default().insert(request.id);
        }
    }

    /// Reverses [`Clients::count_request`].
    pub(crate) fn uncount_request(&mut self, request: RequestKey, class: RequestClass, leaf: Option<RelayHash>) {
        self.classes[class.index()].remove_request();
        if let Some(usage) = self.user_mut(request.client) {
            usage.remove_request();
        }
        let Some(client) = self.get_mut(request.client) else { return };
        client.requests -= 1;
        if let Some(leaf) = leaf
            && let Some(requests) = client.by_leaf.get_mut(&leaf)
        {
            requests.remove(&request.id);
            if requests.is_empty() {
                client.by_leaf.remove(&leaf);
            }
        }
    }

    /// Counts the bytes that an execution holds in memory.
    pub(crate) fn charge_bytes(&mut self, user: UserKey, kind: ExecuteKind, bytes: u64) {
        self.classes[kind as usize].add_bytes(bytes);
        if let Some(user) = self.users.get_mut(user) {
            user.usage.add_bytes(bytes);
        }
    }

    /// Reverses [`Clients::charge_bytes`].
    pub(crate) fn release_bytes(&mut self, user: UserKey, kind: ExecuteKind, bytes: u64) {
        self.classes[kind as usize].remove_bytes(bytes);
        if let Some(user) = self.users.get_mut(user) {
            user.usage.remove_bytes(bytes);
        }
    }

    /// Applies a client's view of the relay chain. Returns the leaves whose requests are orphaned.
    pub(crate) fn update_leaves(&mut self, key: ClientKey, update: &ActiveLeavesUpdate) -> Vec<RelayHash> {
        let Some(client) = self.get_mut(key) else { return Vec::new() };
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
        client.by_leaf.keys().filter(|leaf| !client.wants(leaf)).copied().collect()
    }

    /// Whether a leaf was deactivated and is no ancestor of an active one.
    pub(crate) fn is_retired(&self, key: ClientKey, leaf: &RelayHash) -> bool {
        self.get(key).is_some_and(|client| client.retired.contains(leaf) && !client.wants(leaf))
    }

    /// Takes the next request of a leaf out of the index, if the leaf is still orphaned.
    pub(crate) fn next_orphan(&mut self, key: ClientKey, leaf: &RelayHash) -> Option<RequestKey> {
        let client = self.get_mut(key)?;
        if client.wants(leaf) {
            return None;
        }
        let requests = client.by_leaf.get_mut(leaf)?;
        let id = requests.pop_first();
        if requests.is_empty() {
            client.by_leaf.remove(leaf);
        }
        id.map(|id| RequestKey { id, client: key })
    }

    /// Bytes that all executions hold.
    pub(crate) fn bytes(&self) -> u64 {
        self.classes.iter().map(|usage| usage.bytes()).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All counted requests: for checks.
    pub(crate) fn requests(&self) -> u64 {
        self.classes.iter().map(|usage| usage.requests()).sum()
    }
}
