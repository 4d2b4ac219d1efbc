//! The workers of one kind and one engine, indexed by load, so that dispatching does not look at all of them.

use crate::{
    keys::{HostKey, StagedRank},
    tables::slot::{Slot, SlotState, WorkerIndex},
};
use pvf_proto::identity::WorkerId;
use std::collections::{BTreeMap, BTreeSet};

/// The workers of one kind and one engine.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    members: BTreeSet<WorkerId>,
    /// The same with their hashes for placement, in no particular order.
    hashes: Vec<(WorkerId, u64)>,
    /// Workers of each machine.
    hosts: BTreeMap<HostKey, BTreeSet<WorkerId>>,
    slots: u64,
    busy: u64,
    /// Workers with a free slot, by load.
    free: BTreeSet<(u32, WorkerId)>,
    /// Workers at which a job may be staged, by how many are.
    stageable: BTreeSet<(u32, WorkerId)>,
    /// Staged jobs that may be recalled, and where each is.
    staged: BTreeMap<StagedRank, WorkerId>,
    recalled: usize,
    /// Members that get no jobs because of their failures.
    paused: usize,
    /// Changes whenever a worker comes or goes.
    epoch: u64,
}

impl Pool {
    pub(crate) fn join(&mut self, id: WorkerId, host: HostKey, slots: u32) {
        self.members.insert(id);
        self.hashes.push((id, fnv1a(id.session.into_bytes())));
        self.hosts.entry(host).or_default().insert(id);
        self.slots += u64::from(slots);
        self.epoch += 1;
    }

    pub(crate) fn leave(&mut self, id: WorkerId, host: HostKey, slots: u32) {
        self.members.remove(&id);
        self.hashes.retain(|(other, _)| *other != id);
        if let Some(workers) = self.hosts.get_mut(&host) {
            workers.remove(&id);
            if workers.is_empty() {
                self.hosts.remove(&host);
            }
        }
        self.slots -= u64::from(slots);
        self.epoch += 1;
    }

    /// Moves a worker between the indexes.
    pub(crate) fn index(&mut self, id: WorkerId, old: WorkerIndex, new: WorkerIndex) {
        if old == new {
            return;
        }
        match old {
            WorkerIndex::None => false,
            WorkerIndex::Free(load) => self.free.remove(&(load, id)),
            WorkerIndex::Stageable(staged) => self.stageable.remove(&(staged, id)),
        };
        match new {
            WorkerIndex::None => false,
            WorkerIndex::Free(load) => self.free.insert((load, id)),
            WorkerIndex::Stageable(staged) => self.stageable.insert((staged, id)),
        };
    }

    /// Counts a job of a worker.
    pub(crate) fn remember(&mut self, id: WorkerId, slot: &Slot) {
        match slot.state {
            SlotState::Running => self.busy += 1,
            SlotState::Staged => drop(slot.rank().map(|rank| self.staged.insert(rank, id))),
            SlotState::Recalled => self.recalled += 1,
            SlotState::Fetching => {}
        }
    }

    /// Reverses [`Pool::remember`].
    pub(crate) fn forget(&mut self, slot: &Slot) {
        match slot.state {
            SlotState::Running => self.busy -= 1,
            SlotState::Staged => drop(slot.rank().map(|rank| self.staged.remove(&rank))),
            SlotState::Recalled => self.recalled -= 1,
            SlotState::Fetching => {}
        }
    }

    pub(crate) fn pause(&mut self) {
        self.paused += 1;
    }

    pub(crate) fn resume(&mut self) {
        self.paused -= 1;
    }

    /// Members that get no jobs because of their failures.
    pub(crate) fn paused(&self) -> usize {
        self.paused
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &WorkerId> {
        self.members.iter()
    }

    /// The members with their hashes for rendezvous hashing.
    pub(crate) fn hashes(&self) -> &[(WorkerId, u64)] {
        &self.hashes
    }

    /// Machines with a worker of this pool.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = HostKey> {
        self.hosts.keys().copied()
    }

    /// Members on the machines for which this holds.
    pub(crate) fn on_hosts(&self, holds: impl Fn(HostKey) -> bool) -> impl Iterator<Item = WorkerId> {
        self.hosts.iter().filter(move |(host, _)| holds(**host)).flat_map(|(_, workers)| workers).copied()
    }

    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    /// Slots that are taken; staged jobs do not count.
    pub(crate) fn busy(&self) -> u64 {
        self.busy
    }

    /// Workers with a free slot, the least loaded first.
    pub(crate) fn free(&self) -> impl ExactSizeIterator<Item = WorkerId> + '_ {
        self.free.iter().map(|(_, id)| *id)
    }

    /// Workers at which a job may be staged, the one with the fewest first.
    pub(crate) fn stageable(&self) -> impl ExactSizeIterator<Item = WorkerId> + '_ {
        self.stageable.iter().map(|(_, id)| *id)
    }

    /// Whether any worker has a free slot.
    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether any worker takes a job, into a slot or staged.
    pub(crate) fn has_room(&self) -> bool {
        self.has_free() || !self.stageable.is_empty()
    }

    /// The staged job that is recalled first.
    pub(crate) fn last_staged(&self) -> Option<(StagedRank, WorkerId)> {
        self.staged.last_key_value().map(|(rank, id)| (*rank, *id))
    }

    /// Jobs whose recall is not answered yet.
    pub(crate) fn recalled(&self) -> usize {
        self.recalled
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Staged jobs, recalled ones included: for checks.
    pub(crate) fn staged_len(&self) -> usize {
        self.staged.len() + self.recalled
    }

    /// Whether a staged job is indexed at its worker: for checks.
    pub(crate) fn has_staged(&self, rank: StagedRank, id: WorkerId) -> bool {
        self.staged.get(&rank) == Some(&id)
    }
}

/// FNV-1a: the same in every coordinator, unlike the standard library's hashers.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
