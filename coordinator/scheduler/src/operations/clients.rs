//! Clients and users: what shows that they are alive, and when they are forgotten.

use crate::{
    core::Core,
    keys::{ClientKey, RequestKey, UserKey},
    tables::Timer,
    time::Timestamp,
};
use pvf_proto::{identity::ClientId, ids::RequestId};

/// Notes that a client is alive.
pub(crate) fn note_heard(core: &mut Core, client: ClientKey, now: Timestamp) {
    if let Some(at) = core.clients.heard(client, core.config.policy.client_silence, now) {
        core.timers.set(Timer::ClientSilence(client), at);
    }
}

/// Forgets a client that has neither requests nor leaves, and its user, if nothing of that is left.
pub(crate) fn forget_if_empty(core: &mut Core, key: ClientKey) {
    let Some(client) = core.clients.get(key).filter(|client| client.is_empty()) else { return };
    let (user, timer) = (client.user, client.silence_timer);
    if let Some(at) = timer {
        core.timers.clear(Timer::ClientSilence(key), at);
    }
    core.clients.forget(key);
    forget_user(core, user);
}

/// Forgets a user without sessions, unless it is ahead of its fair share or has jobs at workers: returning would reset
/// these.
pub(crate) fn forget_user(core: &mut Core, user: UserKey) {
    if !core.execute_queue.remembers(user) && core.workers.jobs_of(user) == 0 {
        core.clients.users_mut().forget(user);
    }
}

/// Forgets users that had to be remembered when their last session was forgotten, once there are too many.
pub(crate) fn make_room_for_users(core: &mut Core) {
    if core.clients.users().is_full() {
        for user in core.clients.users().without_sessions() {
            forget_user(core, user);
        }
    }
}

/// The request to which this client gave this id, if it is here and has no verdict. The request of another client
/// is never found.
pub(crate) fn find_request(core: &Core, client: ClientId, id: RequestId) -> Option<RequestKey> {
    let key = RequestKey { id, client: core.clients.find(&client)? };
    core.requests.contains(&key).then_some(key)
}
