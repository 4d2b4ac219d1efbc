//! The workers of one kind and one engine, indexed so that a job's worker is found without looking at all.

use super::fleet::{Avoid, Indexed, Rank, Slot};
use pvf_shared::{
    ids::{ArtifactId, WorkerId},
    wire::WorkerHello,
};
use std::collections::{BTreeMap, BTreeSet};

/// A retry looks at this many free workers for one that it may go to; among more than that there is one.
const LOOK: usize = 64;
/// So many workers are looked at one by one.
const FEW: usize = 16;
/// Workers that an artifact is sent to first.
pub(super) const HOMES: usize = 3;

/// The workers of one kind and one engine.
#[derive(Debug, Default)]
pub(super) struct Pool {
    members: BTreeSet<WorkerId>,
    /// The same, with their hashes, in no order.
    hashes: Vec<(WorkerId, u64)>,
    hosts: BTreeMap<String, u32>,
    slots: u64,
    busy: u64,
    /// Workers with a free slot, by load.
    free: BTreeSet<(u32, WorkerId)>,
    /// Workers without one that may hold a job ahead, by how many they hold.
    ahead: BTreeSet<(u32, WorkerId)>,
    /// Jobs that wait at a worker and can be asked back.
    waiting: BTreeMap<Rank, WorkerId>,
    recalled: usize,
    /// Changes whenever a worker comes or goes.
    epoch: u64,
}

/// How far from where it failed a job must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    Anywhere,
    OtherWorker,
    OtherHost,
}

impl Pool {
    pub(super) fn join(&mut self, id: WorkerId, hello: &WorkerHello) {
        self.members.insert(id);
        self.hashes.push((id, hash_of(id.0.into_bytes())));
        *self.hosts.entry(hello.host.clone()).or_default() += 1;
        self.slots += u64::from(hello.slots);
        self.epoch += 1;
    }

    pub(super) fn leave(&mut self, id: WorkerId, hello: &WorkerHello) {
        self.members.remove(&id);
        self.hashes.retain(|(other, _)| *other != id);
        if let Some(n) = self.hosts.get_mut(&hello.host) {
            *n -= 1;
            if *n == 0 {
                self.hosts.remove(&hello.host);
            }
        }
        self.slots -= u64::from(hello.slots);
        self.epoch += 1;
    }

    pub(super) fn index(&mut self, id: WorkerId, old: Indexed, new: Indexed) {
        if old == new {
            return;
        }
        match old {
            Indexed::Nowhere => false,
            Indexed::Free(load) => self.free.remove(&(load, id)),
            Indexed::Ahead(n) => self.ahead.remove(&(n, id)),
        };
        match new {
            Indexed::Nowhere => false,
            Indexed::Free(load) => self.free.insert((load, id)),
            Indexed::Ahead(n) => self.ahead.insert((n, id)),
        };
    }

    /// A worker has a job.
    pub(super) fn remember(&mut self, id: WorkerId, slot: &Slot) {
        match slot.rank() {
            None => self.busy += 1,
            Some(_) if slot.recalled => self.recalled += 1,
            Some(rank) => drop(self.waiting.insert(rank, id)),
        }
    }

    /// The reverse of [`Pool::remember`].
    pub(super) fn forget(&mut self, slot: &Slot) {
        match slot.rank() {
            None => self.busy -= 1,
            Some(_) if slot.recalled => self.recalled -= 1,
            Some(rank) => drop(self.waiting.remove(&rank)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &WorkerId> {
        self.members.iter()
    }

    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// Slots that are taken, jobs held ahead not counted.
    pub(super) fn busy(&self) -> u64 {
        self.busy
    }

    /// Whether any worker has a free slot.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many workers have a free slot.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Whether any worker takes a job, into a slot or ahead.
    pub(super) fn has_room(&self) -> bool {
        self.has_free() || !self.ahead.is_empty()
    }

    /// The job that waits at a worker and is given up first.
    pub(super) fn last_waiting(&self) -> Option<(Rank, WorkerId)> {
        self.waiting.last_key_value().map(|(rank, id)| (*rank, *id))
    }

    /// How many jobs are being asked back.
    pub(super) fn recalled(&self) -> usize {
        self.recalled
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The workers that take a job, the least loaded first, if they are few.
    pub(super) fn few_with_room(&self) -> Option<impl Iterator<Item = WorkerId> + '_> {
        let with_room = if self.free.is_empty() { &self.ahead } else { &self.free };
        (with_room.len() <= FEW).then(|| with_room.iter().map(|(_, id)| *id))
    }

    /// The least loaded worker that takes a job.
    pub(super) fn least_loaded(&self) -> Option<WorkerId> {
        self.free.first().or_else(|| self.ahead.first()).map(|(_, id)| *id)
    }

    /// A worker for a job that failed elsewhere: on another machine if there is one, else another worker if there
    /// is one, even if it has to wait for it.
    pub(super) fn elsewhere(&self, avoid: &Avoid, host_of: impl Fn(&WorkerId) -> Option<String>) -> Option<WorkerId> {
        let distance = self.distance(avoid);
        let fits = |id: &WorkerId| match distance {
            Distance::Anywhere => true,
            Distance::OtherWorker => avoid.iter().all(|(w, _)| w != id),
            Distance::OtherHost => host_of(id).is_some_and(|host| avoid.iter().all(|(_, h)| *h != host)),
        };
        self.free.iter().take(LOOK).chain(self.ahead.iter().take(LOOK)).map(|(_, id)| *id).find(fits)
    }

    fn distance(&self, avoid: &Avoid) -> Distance {
        if avoid.is_empty() {
            Distance::Anywhere
        } else if self.hosts.keys().any(|host| avoid.iter().all(|(_, h)| h != host)) {
            Distance::OtherHost
        } else if self.members.iter().any(|id| avoid.iter().all(|(w, _)| w != id)) {
            Distance::OtherWorker
        } else {
            Distance::Anywhere
        }
    }

    /// Where an artifact goes that nobody has: rendezvous hashing, so that it is the same few workers each time
    /// and a change of the fleet moves few artifacts.
    pub(super) fn homes(&self, artifact: &ArtifactId) -> [Option<WorkerId>; HOMES] {
        let name = artifact.code_hash.0.into_iter().chain(artifact.prep_hash.0).chain(artifact.engine.as_str().bytes());
        let artifact = hash_of(name);
        let mut best = [(0, None); HOMES];
        for (id, hash) in &self.hashes {
            let weight = weight(artifact, *hash);
            if weight > best[HOMES - 1].0 {
                best[HOMES - 1] = (weight, Some(*id));
                best.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
            }
        }
        best.map(|(_, id)| id)
    }

    /// Jobs waiting at workers, for checks.
    pub(super) fn waiting_len(&self) -> usize {
        self.waiting.len() + self.recalled
    }

    /// Every job that waits and its worker, for checks.
    pub(super) fn has_waiting(&self, rank: Rank, id: WorkerId) -> bool {
        self.waiting.get(&rank) == Some(&id)
    }
}

/// Hash of a name, the same in every coordinator: FNV-1a, no keys of the process.
fn hash_of(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How much a worker wants an artifact, by the hashes of both.
fn weight(artifact: u64, worker: u64) -> u64 {
    let mixed = (artifact ^ worker).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ (mixed >> 32)) | 1
}
