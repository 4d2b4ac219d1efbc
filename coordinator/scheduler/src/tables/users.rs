//! Users of the bus: what the sessions of each have here together. Anybody can invent sessions, so limits and shares
//! are those of users.

use crate::{keys::UserKey, settings::Limit};
use pvf_proto::identity::UserName;
use slotmap::SlotMap;
use std::collections::BTreeMap;

/// Users that are known at once; more are refused.
pub(crate) const MAX_USERS: usize = 65_536;

/// Requests and bytes that count for a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    requests: u64,
    bytes: u64,
}

impl Usage {
    /// Whether one more request with so many bytes would exceed a limit.
    pub(crate) fn exceeds(self, bytes: u64, limit: Limit) -> bool {
        self.requests >= limit.requests || self.bytes.saturating_add(bytes) > limit.bytes
    }

    pub(crate) fn add_request(&mut self) {
        self.requests += 1;
    }

    pub(crate) fn remove_request(&mut self) {
        self.requests -= 1;
    }

    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    pub(crate) fn remove_bytes(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }

    pub(crate) fn requests(self) -> u64 {
        self.requests
    }

    pub(crate) fn bytes(self) -> u64 {
        self.bytes
    }
}

/// One user.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: UserName,
    /// Requests and bytes of all its sessions.
    pub(crate) usage: Usage,
    /// Sessions that are known.
    pub(crate) sessions: u32,
}

/// The users.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_name: BTreeMap<UserName, UserKey>,
    users: SlotMap<UserKey, User>,
}

impl Users {
    pub(crate) fn find(&self, name: &UserName) -> Option<UserKey> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, key: UserKey) -> Option<&User> {
        self.users.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: UserKey) -> Option<&mut User> {
        self.users.get_mut(key)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.users.len() >= MAX_USERS
    }

    /// A new session of a user, who is added if this is the first; `None` if there are [`MAX_USERS`].
    pub(crate) fn add_session(&mut self, name: UserName) -> Option<UserKey> {
        let key = match self.find(&name) {
            Some(key) => key,
            None if self.is_full() => return None,
            None => {
                let key = self.users.insert(User { name, usage: Usage::default(), sessions: 0 });
                self.by_name.insert(name, key);
                key
            }
        };
        self.users.get_mut(key)?.sessions += 1;
        Some(key)
    }

    /// A session is forgotten. Its user stays until [`Users::forget`].
    pub(crate) fn remove_session(&mut self, key: UserKey) {
        if let Some(user) = self.users.get_mut(key) {
            user.sessions -= 1;
        }
    }

    /// Forgets a user without sessions and without anything that counts for its limits.
    pub(crate) fn forget(&mut self, key: UserKey) {
        if self.users.get(key).is_some_and(|user| user.sessions == 0 && user.usage == Usage::default())
            && let Some(user) = self.users.remove(key)
        {
            self.by_name.remove(&user.name);
        }
    }

    /// Users without sessions, some: these may be forgotten.
    pub(crate) fn without_sessions(&self) -> Vec<UserKey> {
        self.users.iter().filter(|(_, user)| user.sessions == 0).map(|(key, _)| key).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (UserKey, &User)> {
        self.users.iter()
    }
}
