//! One worker: its state, its slots, and the artifacts that it has.

use crate::{
    keys::{ArtifactKey, AttemptKey, AttemptSite, EngineKey, HostKey, Origin},
    tables::{
        health::Health,
        held::HeldArtifacts,
        known_attempts::KnownAttempts,
        lifecycle::IllegalTransition,
        pool::Pool,
        slot::{Slot, SlotState, WorkerIndex},
    },
    time::Timestamp,
};
use pvf_proto::{
    config::MAX_STAGED,
    identity::WorkerId,
    wire::{WorkerHello, WorkerKind},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Whether a worker gets jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// It gets jobs.
    Available,
    /// It refused a dispatch, or did not answer one: no jobs until it is heard from.
    Suspect { draining: bool },
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// What can happen to a worker. Deregistration and loss remove it from the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerEvent {
    /// A message of the worker arrived.
    Heard,
    /// A heartbeat says whether the worker drains.
    Drains(bool),
    /// It refused a dispatch, or did not answer one.
    CommandMissed,
}

impl WorkerState {
    /// The only place where a worker changes its state. Returns the state before.
    pub(crate) fn transition(&mut self, event: WorkerEvent) -> Result<Self, IllegalTransition> {
        use WorkerEvent as E;
        use WorkerState as S;
        let next = match (*self, event) {
            (S::Available, E::Heard) | (S::Suspect { draining: false }, E::Heard) => S::Available,
            (S::Draining, E::Heard) | (S::Suspect { draining: true }, E::Heard) => S::Draining,
            (S::Available | S::Draining, E::Drains(true)) => S::Draining,
            (S::Available | S::Draining, E::Drains(false)) => S::Available,
            (S::Available, E::CommandMissed) => S::Suspect { draining: false },
            (S::Draining, E::CommandMissed) => S::Suspect { draining: true },
            (state @ S::Suspect { .. }, E::CommandMissed) => state,
            // A heartbeat is a message: the worker was heard first.
            (state @ S::Suspect { .. }, E::Drains(_)) => return Err(IllegalTransition::new("worker", &state, &event)),
        };
        Ok(std::mem::replace(self, next))
    }
}

/// Whether a worker gets jobs, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerCondition {
    /// It gets jobs.
    Available,
    /// It refused a job, or did not answer: it gets no jobs until it is heard from.
    Suspect,
    /// Jobs failed there: it gets none for a while.
    Paused,
    /// It finishes what it has.
    Draining,
}

impl WorkerCondition {
    /// All of them, in the order of [`Gauges::workers_by_condition`](crate::Gauges::workers_by_condition).
    pub const ALL: [Self; 4] = [Self::Available, Self::Suspect, Self::Paused, Self::Draining];

    /// Its name in JSON and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Suspect => "suspect",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) kind: WorkerKind,
    pub(crate) engine: EngineKey,
    pub(crate) slots: u32,
    pub(crate) origin: Arc<Origin>,
    /// Its registration, for the status.
    pub(crate) hello: Box<WorkerHello>,
    /// Jobs that it has: dispatched, and neither reported nor known to be stopped.
    pub(crate) jobs: SmallVec<[Slot; 4]>,
    pub(super) state: WorkerState,
    /// An operator asks it to drain: it gets no more jobs, whatever its heartbeats say.
    pub(super) told_to_drain: bool,
    /// When it registered.
    pub(crate) joined: Timestamp,
    /// When it was heard from last, and when its silence timer fires.
    pub(crate) heard: Timestamp,
    pub(crate) silence_timer: Timestamp,
    pub(super) held: HeldArtifacts,
    /// Attempts of earlier coordinators that it has listed.
    pub(crate) foreign: KnownAttempts,
    pub(super) health: Health,
    /// Where its pool has it.
    pub(super) index: WorkerIndex,
}

impl Worker {
    pub(crate) fn state(&self) -> WorkerState {
        self.state
    }

    /// Whether an operator asks it to drain.
    pub(crate) fn is_told_to_drain(&self) -> bool {
        self.told_to_drain
    }

    /// Whether its last heartbeat says that it takes no new jobs.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.state, WorkerState::Draining | WorkerState::Suspect { draining: true })
    }

    /// Whether it gets jobs, and why not.
    pub(crate) fn condition(&self) -> WorkerCondition {
        match self.state {
            WorkerState::Suspect { .. } => WorkerCondition::Suspect,
            WorkerState::Draining => WorkerCondition::Draining,
            WorkerState::Available if self.told_to_drain => WorkerCondition::Draining,
            WorkerState::Available if self.health.paused_until().is_some() => WorkerCondition::Paused,
            WorkerState::Available => WorkerCondition::Available,
        }
    }

    /// Whether it gets jobs while it has room for them.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.state == WorkerState::Available && !self.told_to_drain && self.health.paused_until().is_none()
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn index(&self) -> WorkerIndex {
        self.index
    }

    pub(crate) fn slot_mut(&mut self, at: AttemptKey) -> Option<&mut Slot> {
        self.jobs.iter_mut().find(|slot| slot.at == at)
    }

    pub(crate) fn slot(&self, at: AttemptKey) -> Option<&Slot> {
        self.jobs.iter().find(|slot| slot.at == at)
    }

    pub(crate) fn has(&self, at: AttemptKey) -> bool {
        self.slot(at).is_some()
    }

    pub(crate) fn running(&self) -> u32 {
        self.jobs.iter().filter(|slot| slot.is_running()).count() as u32
    }

    /// Jobs that are being fetched and take neither a slot nor a staging place.
    pub(crate) fn fetching(&self) -> u32 {
        self.jobs.iter().filter(|slot| slot.is_fetching()).count() as u32
    }

    /// Jobs that take a slot or a staging place.
    pub(crate) fn placed(&self) -> u32 {
        self.jobs.len() as u32 - self.fetching()
    }

    /// Where it is, for retries.
    pub(crate) fn site(&self) -> AttemptSite {
        AttemptSite { worker: self.id, origin: self.origin.clone() }
    }

    /// Its machine.
    pub(crate) fn host(&self) -> HostKey {
        self.origin.host
    }

    /// The name of its machine, for people.
    pub(crate) fn host_name(&self) -> String {
        self.origin.host_name.to_string()
    }

    /// Whether it has an artifact; `Some(true)` if it is warm.
    pub(crate) fn holds(&self, artifact: ArtifactKey) -> Option<bool> {
        self.held.get(artifact)
    }

    /// How many jobs it may have in slots and staged: its slots, and for an execute worker `staged_per_slot` more for
    /// each. As many again may be there while they are being fetched.
    pub(crate) fn credit(&self, staged_per_slot: u32) -> u32 {
        let slots = self.slots;
        match self.kind {
            WorkerKind::Execute => slots + (slots * staged_per_slot).min(MAX_STAGED),
            WorkerKind::Prepare => slots,
        }
    }

    /// Where a pool is to have it.
    pub(crate) fn expected_index(&self, staged_per_slot: u32) -> WorkerIndex {
        // Of two workers with a free slot that one is less loaded that fetches less.
        let (jobs, placed, slots) = (self.jobs.len() as u32, self.placed(), self.slots);
        if !self.takes_jobs() {
            WorkerIndex::None
        } else if placed < slots {
            WorkerIndex::Free(jobs * 1024 / slots)
        } else if placed < self.credit(staged_per_slot) {
            WorkerIndex::Stageable(jobs - slots)
        } else {
            WorkerIndex::None
        }
    }

    /// Staged jobs begin in free slots, the most urgent one first.
    pub(super) fn fill_slots(&mut self, pool: &mut Pool) {
        for _ in self.running()..self.slots {
            let staged = |slot: &&mut Slot| matches!(slot.state, SlotState::Staged | SlotState::Recalled);
            let Some(next) = self.jobs.iter_mut().filter(staged).min_by_key(|slot| slot.rank()) else { return };
            pool.forget(next);
            next.state = SlotState::Running;
            pool.remember(self.id, next);
        }
    }

    pub(super) fn reindex(&mut self, pool: &mut Pool, staged_per_slot: u32) {
        let index = self.expected_index(staged_per_slot);
        pool.index(self.id, std::mem::replace(&mut self.index, index), index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::lifecycle::assert_lifecycle;

    #[test]
    fn the_lifecycle_has_these_transitions_and_no_others() {
        use WorkerEvent as E;
        use WorkerState as S;
        let suspect = |draining| S::Suspect { draining };
        let states = [S::Available, suspect(false), suspect(true), S::Draining];
        let events = [E::Heard, E::Drains(true), E::Drains(false), E::CommandMissed];
        let legal = [
            (S::Available, E::Heard, S::Available),
            (S::Available, E::Drains(true), S::Draining),
            (S::Available, E::Drains(false), S::Available),
            (S::Available, E::CommandMissed, suspect(false)),
            (suspect(false), E::Heard, S::Available),
            (suspect(false), E::CommandMissed, suspect(false)),
            (suspect(true), E::Heard, S::Draining),
            (suspect(true), E::CommandMissed, suspect(true)),
            (S::Draining, E::Heard, S::Draining),
            (S::Draining, E::Drains(true), S::Draining),
            (S::Draining, E::Drains(false), S::Available),
            (S::Draining, E::CommandMissed, suspect(true)),
        ];
        assert_lifecycle((&states, &events), &legal, |mut state, event| (state.transition(event), state));
    }
}
