//! From whom a worker pulls the input of a job.

use crate::{keys::ClientKey, tables::Clients};
use pvf_proto::{identity::ClientId, ids::Attempt, wire::MAX_HOLDERS};
use std::cmp::Reverse;

/// Requests that are looked at for their clients.
pub(crate) const HOLDERS_LOOK_AHEAD: usize = 256;

/// At most [`MAX_HOLDERS`] of the clients that wait for a job and so hold its input, in the order in which a worker is
/// to ask them: one session of each user before a second one of any, those that were heard from last first. The next
/// attempt begins with the next ones: clients that do not deliver must not keep a worker from those that do.
pub(crate) fn choose_holders(
    clients: &Clients,
    waiting: impl Iterator<Item = ClientKey>,
    attempt: Attempt,
) -> Vec<ClientId> {
    let mut found = Vec::<ClientKey>::new();
    for key in waiting.take(HOLDERS_LOOK_AHEAD) {
        if !found.contains(&key) {
            found.push(key);
        }
    }
    let mut found: Vec<_> =
        found.into_iter().filter_map(|key| clients.get(key)).filter(|client| !client.gone).collect();
    found.sort_by_key(|client| Reverse(client.last_heard));
    let users: Vec<_> = found.iter().map(|client| client.id.user).collect();
    let mut ranked: Vec<_> = found
        .iter()
        .enumerate()
        .map(|(n, client)| {
            let before = users[..n].iter().filter(|user| **user == client.id.user).count();
            (before, client.id)
        })
        .collect();
    ranked.sort_by_key(|(before, _)| *before);
    let begin = (attempt.saturating_sub(1) as usize).saturating_mul(MAX_HOLDERS) % ranked.len().max(1);
    let in_turn = ranked[begin..].iter().chain(&ranked[..begin]);
    in_turn.take(MAX_HOLDERS).map(|(_, id)| *id).collect()
}
