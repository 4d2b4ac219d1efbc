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
use pvf_proto::{identity::WorkerId, wire::HeldStage};
use std::{collections::BTreeSet, time::Duration};

/// Attempts of earlier coordinators that are remembered of one worker.
const MAX_KNOWN: usize = 4096;

/// The attempts of earlier coordinators that a worker has listed: each is looked at once, however often and however
/// late the messages are that list it.
#[derive(Debug, Default)]
pub(crate) struct KnownAttempts(BTreeSet<AttemptKey>);

impl KnownAttempts {
    /// Notes an attempt. Returns whether it is new. Of too many the ones with the lowest job ids are forgotten.
    fn note(&mut self, at: AttemptKey) -> bool {
        let is_new = self.0.insert(at);
        if self.0.len() > MAX_KNOWN {
            self.0.pop_first();
        }
        is_new
    }

    /// Whether an attempt was noted. With too many of them that is not known, and then every one counts as noted.
    pub(crate) fn has(&self, at: AttemptKey) -> bool {
        self.0.len() >= MAX_KNOWN || self.0.contains(&at)
    }
}

impl Worker {
    /// Whether this attempt has a slot here that was dispatched with this token.
    pub(crate) fn has_of(&self, at: AttemptKey, token: pvf_proto::ids::FencingToken) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::ids::JobId;

    #[test]
    fn each_attempt_is_new_once_and_of_too_many_all_count_as_noted() {
        let at = |n| AttemptKey { job: JobId(n), attempt: 1 };
        let mut known = KnownAttempts::default();
        assert!(known.note(at(1)) && !known.note(at(1)));
        assert!(known.has(at(1)) && !known.has(at(2)));
        (2..=MAX_KNOWN as u64 + 5).for_each(|n| assert!(known.note(at(n))));
        assert_eq!(known.0.len(), MAX_KNOWN);
        assert!(known.has(at(1)), "it is not listed again and again");
    }
}
