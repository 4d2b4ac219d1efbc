//! The workers: who is registered, in which pool, with which jobs.

use crate::{
    collections::ShardedMap,
    keys::{ArtifactKey, AttemptKey, EngineKey, UserKey},
    tables::{
        health::Health,
        held::HeldArtifacts,
        hosts::Hosts,
        known_attempts::KnownAttempts,
        lifecycle::IllegalTransition,
        pool::Pool,
        slot::{FetchStage, NewSlot, Slot, SlotState, WorkerIndex},
        worker::{Worker, WorkerEvent, WorkerState},
    },
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    ids::{EngineId, JobId},
    wire::{MAX_OTHER_ENGINES, WorkerHello, WorkerKind},
};
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

/// Most workers that may be registered at once.
pub(crate) const MAX_WORKERS: u32 = 100_000;

/// The workers, with a pool for each kind and engine.
#[derive(Debug)]
pub(crate) struct Workers {
    by_id: ShardedMap<WorkerId, Box<Worker>>,
    hosts: Hosts,
    engines: Vec<EngineId>,
    engine_keys: BTreeMap<EngineId, EngineKey>,
    pools: Vec<[Pool; 2]>,
    /// The engines whose prepare workers compile for each engine, its own first.
    makers: Vec<SmallVec<[EngineKey; 1]>>,
    /// Jobs that may be staged at an execute worker for each of its slots.
    staged_per_slot: u32,
    /// Executions at workers, by user.
    jobs_of: HashMap<UserKey, u32>,
}

impl Workers {
    pub(crate) fn new(staged_per_slot: u32) -> Self {
        Self {
            by_id: ShardedMap::default(),
            hosts: Hosts::default(),
            engines: Vec::new(),
            engine_keys: BTreeMap::new(),
            pools: Vec::new(),
            makers: Vec::new(),
            staged_per_slot,
            jobs_of: HashMap::new(),
        }
    }

    pub(crate) fn get(&self, id: &WorkerId) -> Option<&Worker> {
        self.by_id.get(id).map(|worker| &**worker)
    }

    pub(crate) fn get_mut(&mut self, id: &WorkerId) -> Option<&mut Worker> {
        self.by_id.get_mut(id).map(|worker| &mut **worker)
    }

    pub(crate) fn contains(&self, id: &WorkerId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn find_engine(&self, engine: &EngineId) -> Option<EngineKey> {
        self.engine_keys.get(engine).copied()
    }

    /// The key of an engine, which gets one if it is new.
    pub(crate) fn engine_key(&mut self, engine: &EngineId) -> EngineKey {
        if let Some(key) = self.find_engine(engine) {
            return key;
        }
        let key = EngineKey(self.engines.len() as u32);
        self.engines.push(engine.clone());
        self.pools.push(Default::default());
        self.makers.push(SmallVec::from_elem(key, 1));
        self.engine_keys.insert(engine.clone(), key);
        key
    }

    pub(crate) fn engine(&self, key: EngineKey) -> &EngineId {
        &self.engines[key.0 as usize]
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = EngineKey> + use<> {
        (0..self.engines.len() as u32).map(EngineKey)
    }

    /// The workers of a kind and an engine.
    pub(crate) fn pool(&self, kind: WorkerKind, engine: EngineKey) -> &Pool {
        &self.pools[engine.0 as usize][kind as usize]
    }

    /// All pools of a kind.
    pub(crate) fn pools(&self, kind: WorkerKind) -> impl Iterator<Item = &Pool> {
        self.pools.iter().map(move |pools| &pools[kind as usize])
    }

    /// Whether any worker is of this engine.
    pub(crate) fn has_workers(&self, engine: EngineKey) -> bool {
        self.pools[engine.0 as usize].iter().any(|pool| !pool.is_empty())
    }

    /// Whether an engine has no workers of a kind while another has.
    pub(crate) fn is_stranded(&self, kind: WorkerKind, engine: EngineKey) -> bool {
        self.pool(kind, engine).is_empty() && self.pools(kind).any(|pool| !pool.is_empty())
    }

    /// The pools of prepare workers that compile for an engine, that of its own workers first.
    pub(crate) fn prepare_pools(&self, engine: EngineKey) -> impl Iterator<Item = &Pool> {
        self.makers[engine.0 as usize].iter().map(|maker| self.pool(WorkerKind::Prepare, *maker))
    }

    /// Whether a prepare worker compiles for an engine.
    pub(crate) fn can_prepare(&self, engine: EngineKey) -> bool {
        self.prepare_pools(engine).any(|pool| !pool.is_empty())
    }

    /// Whether no prepare worker compiles for an engine, while one does for another engine that has execute workers.
    pub(crate) fn is_prepared_elsewhere(&self, engine: EngineKey) -> bool {
        let is_complete =
            |other: EngineKey| !self.pool(WorkerKind::Execute, other).is_empty() && self.can_prepare(other);
        !self.can_prepare(engine) && self.engines().any(is_complete)
    }

    /// Engines with execute workers that no prepare worker compiles for.
    pub(crate) fn not_compiled_for(&self) -> impl Iterator<Item = EngineKey> {
        let executes = |engine: &EngineKey| !self.pool(WorkerKind::Execute, *engine).is_empty();
        self.engines().filter(executes).filter(|engine| !self.can_prepare(*engine))
    }

    pub(crate) fn add(&mut self, id: WorkerId, hello: Box<WorkerHello>, now: Timestamp, silence_timer: Timestamp) {
        let engine = self.engine_key(&hello.engine);
        if id.kind == WorkerKind::Prepare {
            for other in hello.also_compiles_for.iter().take(MAX_OTHER_ENGINES) {
                let other = self.engine_key(other);
                let makers = &mut self.makers[other.0 as usize];
                if !makers.contains(&engine) {
                    makers.push(engine);
                }
            }
        }
        let origin = Arc::new(self.hosts.origin_of(&hello));
        self.pools[engine.0 as usize][id.kind as usize].join(id, origin.host, hello.slots);
        let worker = Box::new(Worker {
            id,
            kind: id.kind,
            engine,
            slots: hello.slots,
            origin,
            hello,
            jobs: SmallVec::new(),
            state: WorkerState::Available,
            told_to_drain: false,
            joined: now,
            heard: now,
            silence_timer,
            held: HeldArtifacts::default(),
            foreign: KnownAttempts::default(),
            health: Health::default(),
            index: WorkerIndex::None,
        });
        self.by_id.insert(id, worker);
        self.change(&id, |_, _| ());
    }

    pub(crate) fn remove(&mut self, id: &WorkerId) -> Option<Box<Worker>> {
        let worker = self.by_id.remove(id)?;
        let pool = &mut self.pools[worker.engine.0 as usize][worker.kind as usize];
        pool.index(*id, worker.index, WorkerIndex::None);
        for slot in &worker.jobs {
            pool.forget(slot);
        }
        if worker.health.paused_until().is_some() {
            pool.resume();
        }
        pool.leave(*id, worker.host(), worker.slots);
        if worker.kind == WorkerKind::Prepare && pool.is_empty() {
            // What the workers of this engine compiled for is not known of those that come later.
            for (other, makers) in self.makers.iter_mut().enumerate() {
                makers.retain(|maker| *maker != worker.engine || other == worker.engine.0 as usize);
            }
        }
        worker.jobs.iter().for_each(|slot| self.uncount(slot));
        Some(worker)
    }

    /// Changes a worker together with its pool, and brings the pool's index up to date.
    pub(super) fn change<R>(&mut self, id: &WorkerId, change: impl FnOnce(&mut Worker, &mut Pool) -> R) -> Option<R> {
        let worker = self.by_id.get_mut(id)?;
        let pool = &mut self.pools[worker.engine.0 as usize][worker.kind as usize];
        let result = change(worker, pool);
        worker.reindex(pool, self.staged_per_slot);
        Some(result)
    }

    /// See [`WorkerState::transition`]; `None` if the worker is not registered.
    pub(crate) fn transition(
        &mut self,
        id: &WorkerId,
        event: WorkerEvent,
    ) -> Option<Result<WorkerState, IllegalTransition>> {
        self.change(id, |worker, _| worker.state.transition(event))
    }

    /// A worker is to drain: it gets no more jobs. Returns whether that is new.
    pub(crate) fn tell_to_drain(&mut self, id: &WorkerId) -> bool {
        self.change(id, |worker, _| !std::mem::replace(&mut worker.told_to_drain, true)).unwrap_or_default()
    }

    /// Whether a worker has a free slot and may get a job for it.
    pub(crate) fn has_free_slot(&self, id: &WorkerId) -> bool {
        self.get(id).is_some_and(|worker| matches!(worker.index, WorkerIndex::Free(_)))
    }

    /// A job is dispatched to a worker: into a slot, or staged if all are taken. Returns whether the worker is there.
    pub(crate) fn occupy(&mut self, id: &WorkerId, new: NewSlot) -> bool {
        let occupied = self.change(id, |worker, pool| {
            let state = if worker.placed() >= worker.slots { SlotState::Staged } else { SlotState::Running };
            let slot = Slot { state, ..new.slot() };
            worker.jobs.push(slot);
            pool.remember(worker.id, &slot);
        });
        if occupied.is_some()
            && let Some(user) = new.user
        {
            self.count(user);
        }
        occupied.is_some()
    }

    /// A job of this user is at a worker.
    pub(super) fn count(&mut self, user: UserKey) {
        *self.jobs_of.entry(user).or_default() += 1;
    }

    /// A worker does not have an attempt any more; the most urgent staged job of it begins. Returns the slot, if the
    /// attempt was there.
    pub(crate) fn vacate(&mut self, id: &WorkerId, at: AttemptKey) -> Option<Slot> {
        let gone = self.change(id, |worker, pool| {
            let position = worker.jobs.iter().position(|slot| slot.at == at)?;
            let gone = worker.jobs.swap_remove(position);
            pool.forget(&gone);
            worker.fill_slots(pool);
            Some(gone)
        })??;
        self.uncount(&gone);
        Some(gone)
    }

    /// A job is not at its worker any more.
    fn uncount(&mut self, slot: &Slot) {
        if let Some(user) = slot.user
            && let Entry::Occupied(mut jobs) = self.jobs_of.entry(user)
        {
            *jobs.get_mut() -= 1;
            if *jobs.get() == 0 {
                jobs.remove();
            }
        }
    }

    /// Executions at workers for a user.
    pub(crate) fn jobs_of(&self, user: UserKey) -> u32 {
        self.jobs_of.get(&user).copied().unwrap_or_default()
    }

    /// A heartbeat lists these attempts, and says which of them are only being fetched: these take no slot from now on,
    /// as many as the worker has [credit](Worker::credit). What is fetched takes a slot, or waits for one like a staged
    /// job, also above the credit.
    pub(crate) fn note_listed(
        &mut self,
        id: &WorkerId,
        listed: &HashSet<AttemptKey>,
        being_fetched: &HashSet<AttemptKey>,
    ) {
        let staged_per_slot = self.staged_per_slot;
        self.change(id, |worker, pool| {
            for slot in worker.jobs.iter_mut().filter(|slot| listed.contains(&slot.at)) {
                let stage = if being_fetched.contains(&slot.at) { FetchStage::UnderWay } else { FetchStage::Over };
                (slot.acknowledged, slot.fetch) = (true, slot.fetch.max(stage));
                if slot.is_fetching() && slot.fetch == FetchStage::Over {
                    (slot.state, slot.lease) = (SlotState::Staged, None);
                    pool.remember(worker.id, slot);
                }
            }
            let room = worker.credit(staged_per_slot).saturating_sub(worker.fetching());
            let is_counted = |slot: &&mut Slot| {
                slot.fetch == FetchStage::UnderWay && matches!(slot.state, SlotState::Running | SlotState::Staged)
            };
            for slot in worker.jobs.iter_mut().filter(is_counted).take(room as usize) {
                pool.forget(slot);
                slot.state = SlotState::Fetching;
            }
            worker.fill_slots(pool);
        });
    }

    /// Changes the state of a job at a worker. Returns whether it is there.
    pub(crate) fn set_slot(
        &mut self,
        id: &WorkerId,
        at: AttemptKey,
        change: impl FnOnce(SlotState) -> SlotState,
    ) -> bool {
        let changed = self.change(id, |worker, pool| {
            let slot = worker.jobs.iter_mut().find(|slot| slot.at == at)?;
            pool.forget(slot);
            slot.state = change(slot.state);
            pool.remember(worker.id, slot);
            Some(())
        });
        changed.flatten().is_some()
    }

    /// A job succeeded at a worker.
    pub(crate) fn note_success(&mut self, id: &WorkerId) {
        if let Some(worker) = self.get_mut(id) {
            worker.health.note_success();
        }
    }

    /// A job failed at a worker, see [`Health::note_failure`]. Returns for how long it should get no jobs. At most half
    /// of a pool are paused: what the others fail for as well is not their doing.
    pub(crate) fn note_failure(&mut self, id: &WorkerId, job: JobId, why: String, now: Timestamp) -> Option<Duration> {
        let worker = self.by_id.get_mut(id)?;
        let pause = worker.health.note_failure(job, why, now)?;
        let pool = self.pools[worker.engine.0 as usize].get_mut(worker.kind as usize)?;
        (2 * (pool.paused() + 1) <= pool.len()).then_some(pause)
    }

    /// A worker gets no jobs until then.
    pub(crate) fn pause(&mut self, id: &WorkerId, until: Timestamp) {
        self.change(id, |worker, pool| {
            worker.health.pause(until);
            pool.pause();
        });
    }

    /// A worker that was paused gets jobs again. Returns whether it is there.
    pub(crate) fn resume(&mut self, id: &WorkerId) -> bool {
        let resumed = self.change(id, |worker, pool| {
            worker.health.resume();
            pool.resume();
        });
        resumed.is_some()
    }

    /// Notes that a worker has an artifact. Returns whether that is new.
    pub(crate) fn note_held(&mut self, id: &WorkerId, artifact: ArtifactKey, warm: bool) -> bool {
        self.get_mut(id).is_some_and(|worker| worker.held.note(artifact, warm))
    }

    /// Notes that a worker does not have an artifact any more.
    pub(crate) fn note_not_held(&mut self, id: &WorkerId, artifact: ArtifactKey) {
        if let Some(worker) = self.get_mut(id) {
            worker.held.remove(artifact);
        }
    }

    pub(crate) fn staged_per_slot(&self) -> u32 {
        self.staged_per_slot
    }

    /// Workers and slots of a kind.
    pub(crate) fn totals(&self, kind: WorkerKind) -> (u64, u64) {
        self.pools(kind).fold((0, 0), |(workers, slots), pool| (workers + pool.len() as u64, slots + pool.slots()))
    }

    /// Every worker, in no particular order: for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.by_id.iter().map(|(_, worker)| &**worker)
    }
}
