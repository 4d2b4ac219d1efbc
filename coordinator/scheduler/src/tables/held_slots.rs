//! Slots of attempts that an earlier coordinator dispatched.

use crate::{
    keys::{AttemptKey, UserKey},
    tables::{
        slot::{FetchStage, NewSlot, Slot, SlotState},
        worker::Worker,
        workers::Workers,
    },
    time::Timestamp,
};
use pvf_proto::{identity::WorkerId, ids::FencingToken, wire::HeldStage};
use std::time::Duration;

impl Worker {
    /// Whether this attempt has a slot here that was dispatched with this token.
    pub(crate) fn has_of(&self, at: AttemptKey, token: FencingToken) -> bool {
        self.slot(at).is_some_and(|slot| slot.token == token)
    }
}

impl Workers {
    /// A worker lists an attempt of an earlier coordinator. Returns whether that is new.
    pub(crate) fn note_foreign(&mut self, id: &WorkerId, at: AttemptKey) -> bool {
        self.get_mut(id).is_some_and(|worker| worker.foreign.note(at))
    }

    /// An attempt that a worker has already takes a slot, or a staging place if all are taken, or neither while it is
    /// being fetched.
    pub(crate) fn occupy_held(&mut self, id: &WorkerId, new: NewSlot, stage: HeldStage, now: Timestamp) {
        let staged_per_slot = self.staged_per_slot();
        self.change(id, |worker, pool| {
            let fetch = if stage == HeldStage::Fetching { FetchStage::UnderWay } else { FetchStage::Over };
            let may_fetch = fetch == FetchStage::UnderWay && worker.fetching() < worker.credit(staged_per_slot);
            let state = match (may_fetch, worker.placed() >= worker.slots) {
                (true, _) => SlotState::Fetching,
                (false, true) => SlotState::Staged,
                (false, false) => SlotState::Running,
            };
            let slot = Slot { taken: Some(now), acknowledged: true, fetch, state, ..new.slot() };
            worker.jobs.push(slot);
            pool.remember(worker.id, &slot);
        });
    }

    /// A job adopts an attempt: from now on it counts for this user, and has its lease from the next heartbeat on.
    pub(crate) fn claim(&mut self, id: &WorkerId, at: AttemptKey, user: Option<UserKey>, allowance: Duration) {
        let Some(slot) = self.get_mut(id).and_then(|worker| worker.slot_mut(at)) else { return };
        (slot.user, slot.allowance, slot.lease) = (user, allowance, None);
        if let Some(user) = user {
            self.count(user);
        }
    }
}
