//! The workers: who is there, what each has, and whom to give a job.

use super::{artifacts::ArtifactKey, held::Held, pool::Pool, table::Table, timers::Moment};
use pvf_shared::{
    config::MAX_AHEAD,
    ids::{Attempt, EngineId, JobId, WorkerId},
    wire::{WorkerHello, WorkerKind, WorkerStatus},
};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Workers that are listed in a status; the totals count all.
const MAX_LISTED: usize = 256;

/// An engine, by the number that it got when it was first heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EngineKey(pub(super) u32);

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// What it said of itself; what is looked at for every job stands here as well.
    pub(super) hello: Box<WorkerHello>,
    pub(super) kind: WorkerKind,
    pub(super) slots: u32,
    pub(super) engine: EngineKey,
    /// Jobs that it has: dispatched and neither reported nor known to be stopped.
    pub(super) jobs: SmallVec<[Slot; 4]>,
    /// It refused or missed a dispatch: no more until it is heard of.
    pub(super) suspect: bool,
    /// It finishes what it has and goes.
    pub(super) draining: bool,
    /// When it was heard of last, and when its silence timer goes off.
    pub(super) heard: Moment,
    pub(super) silence: Moment,
    /// Artifacts that it has.
    pub(super) held: Held,
    /// Under what its pool has it.
    pub(super) indexed: Indexed,
}

/// Under what a pool has a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Indexed {
    /// It gets nothing.
    #[default]
    Nowhere,
    /// It has a free slot; its load.
    Free(u32),
    /// It may hold one more ahead; how many it holds.
    Ahead(u32),
}

/// A job at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) job: JobId,
    pub(super) attempt: Attempt,
    /// When the worker said that it has the job.
    pub(super) taken: Option<Moment>,
    /// Its urgency among the jobs that wait at the worker for one of its slots; absent: it runs.
    pub(super) ahead: Option<u8>,
    /// It is asked back.
    pub(super) recalled: bool,
}

/// Which of the jobs that wait at workers is given up first: the greatest. Less urgent ones, then later ones.
pub(super) type Rank = (u8, JobId, Attempt);

impl Slot {
    /// Its rank among the jobs that wait at workers, if it does.
    pub(super) fn rank(&self) -> Option<Rank> {
        self.ahead.map(|urgency| (urgency, self.job, self.attempt))
    }
}

impl Worker {
    pub(super) fn slot(&mut self, job: JobId, attempt: Attempt) -> Option<&mut Slot> {
        self.jobs.iter_mut().find(|slot| (slot.job, slot.attempt) == (job, attempt))
    }

    /// How many jobs it may have, if an execute worker may hold so many ahead of each slot.
    pub(super) fn credit(&self, ahead: u32) -> u32 {
        match self.kind {
            WorkerKind::Execute => self.slots + (self.slots * ahead).min(MAX_AHEAD),
            WorkerKind::Prepare => self.slots,
        }
    }

    fn reindex(&mut self, id: WorkerId, pool: &mut Pool, ahead: u32) {
        let index = self.index(ahead);
        pool.index(id, std::mem::replace(&mut self.indexed, index), index);
    }

    /// Where a pool should have it.
    pub(super) fn index(&self, ahead: u32) -> Indexed {
        let (jobs, slots) = (self.jobs.len() as u32, self.slots);
        if self.suspect || self.draining {
            Indexed::Nowhere
        } else if jobs < slots {
            Indexed::Free(jobs * 1024 / slots)
        } else if jobs < self.credit(ahead) {
            Indexed::Ahead(jobs - slots)
        } else {
            Indexed::Nowhere
        }
    }
}

/// Workers that a job should not go to again, with their machines.
pub(super) type Avoid = Vec<(WorkerId, String)>;

/// All workers.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) workers: Table<WorkerId, Box<Worker>>,
    engines: Vec<EngineId>,
    by_name: BTreeMap<EngineId, EngineKey>,
    pools: Vec<[Pool; 2]>,
    /// Jobs that an execute worker may hold ahead of each slot.
    pub(super) ahead: u32,
}

impl Fleet {
    pub(super) fn new(ahead: u32) -> Self {
        Self { workers: Table::default(), engines: Vec::new(), by_name: BTreeMap::new(), pools: Vec::new(), ahead }
    }

    /// The number of an engine that was heard of.
    pub(super) fn find_engine(&self, engine: &EngineId) -> Option<EngineKey> {
        self.by_name.get(engine).copied()
    }

    /// The number of an engine; it gets one if it is new.
    pub(super) fn engine_key(&mut self, engine: &EngineId) -> EngineKey {
        if let Some(key) = self.by_name.get(engine) {
            return *key;
        }
        let key = EngineKey(self.engines.len() as u32);
        self.engines.push(engine.clone());
        self.pools.push(Default::default());
        self.by_name.insert(engine.clone(), key);
        key
    }

    pub(super) fn engine(&self, key: EngineKey) -> &EngineId {
        &self.engines[key.0 as usize]
    }

    pub(super) fn engines(&self) -> impl Iterator<Item = EngineKey> + use<> {
        (0..self.engines.len() as u32).map(EngineKey)
    }

    /// The workers of a kind and an engine.
    pub(super) fn pool(&self, kind: WorkerKind, engine: EngineKey) -> &Pool {
        &self.pools[engine.0 as usize][kind as usize]
    }

    pub(super) fn add(&mut self, hello: WorkerHello, heard: Moment, silence: Moment) {
        let (id, engine) = (hello.worker, self.engine_key(&hello.engine));
        let worker = Box::new(Worker {
            kind: hello.kind,
            slots: hello.slots,
            hello: Box::new(hello),
            engine,
            jobs: SmallVec::new(),
            suspect: false,
            draining: false,
            heard,
            silence,
            held: Held::default(),
            indexed: Indexed::Nowhere,
        });
        self.pools[engine.0 as usize][worker.kind as usize].join(id, &worker.hello);
        self.workers.insert(id, worker);
        self.reindex(id);
    }

    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Box<Worker>> {
        let worker = self.workers.remove(&id)?;
        let pool = &mut self.pools[worker.engine.0 as usize][worker.kind as usize];
        pool.index(id, worker.indexed, Indexed::Nowhere);
        for slot in &worker.jobs {
            pool.forget(slot);
        }
        pool.leave(id, &worker.hello);
        Some(worker)
    }

    /// After anything about a worker changed that decides whether it gets jobs.
    pub(super) fn reindex(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.reindex(id, &mut self.pools[worker.engine.0 as usize][worker.kind as usize], self.ahead);
    }

    /// Whether a worker has a free slot and may get a job for it.
    pub(super) fn has_free_slot(&self, id: &WorkerId) -> bool {
        self.workers.get(id).is_some_and(|worker| matches!(worker.indexed, Indexed::Free(_)))
    }

    /// A worker gets a job.
    pub(super) fn occupy(&mut self, id: WorkerId, job: JobId, attempt: Attempt, urgency: u8) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let waits = worker.jobs.len() as u32 >= worker.slots;
        let slot = Slot { job, attempt, taken: None, ahead: waits.then_some(urgency), recalled: false };
        worker.jobs.push(slot);
        let pool = &mut self.pools[worker.engine.0 as usize][worker.kind as usize];
        pool.remember(id, &slot);
        worker.reindex(id, pool, self.ahead);
    }

    /// A worker does not have an attempt any more; gives what it was, if it was there.
    pub(super) fn vacate(&mut self, id: WorkerId, job: JobId, attempt: Attempt) -> Option<Slot> {
        let worker = self.workers.get_mut(&id)?;
        let at = worker.jobs.iter().position(|slot| (slot.job, slot.attempt) == (job, attempt))?;
        let gone = worker.jobs.swap_remove(at);
        let pool = &mut self.pools[worker.engine.0 as usize][worker.kind as usize];
        pool.forget(&gone);
        // The most urgent of those that wait there begins.
        let running = worker.jobs.iter().filter(|slot| slot.ahead.is_none()).count() as u32;
        if running < worker.slots
            && let Some(next) = worker.jobs.iter_mut().filter(|s| s.ahead.is_some()).min_by_key(|s| s.rank())
        {
            pool.forget(next);
            next.ahead = None;
            pool.remember(id, next);
        }
        worker.reindex(id, pool, self.ahead);
        Some(gone)
    }

    /// A job that was thought to wait at its worker has begun there.
    pub(super) fn has_begun(&mut self, id: WorkerId, job: JobId, attempt: Attempt) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (engine, kind) = (worker.engine, worker.kind);
        let Some(slot) = worker.slot(job, attempt) else { return };
        let before = *slot;
        (slot.ahead, slot.recalled) = (None, false);
        let after = *slot;
        let pool = &mut self.pools[engine.0 as usize][kind as usize];
        pool.forget(&before);
        pool.remember(id, &after);
    }

    /// A job that waits at its worker is asked back; whether it was there.
    pub(super) fn mark_recalled(&mut self, id: WorkerId, job: JobId, attempt: Attempt) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let (engine, kind) = (worker.engine, worker.kind);
        let Some(slot) = worker.slot(job, attempt) else { return false };
        let pool = &mut self.pools[engine.0 as usize][kind as usize];
        pool.forget(slot);
        slot.recalled = true;
        pool.remember(id, slot);
        true
    }

    /// Notes that a worker has an artifact; whether that is new.
    pub(super) fn hold(&mut self, id: WorkerId, artifact: ArtifactKey, warm: bool) -> bool {
        self.workers.get_mut(&id).is_some_and(|worker| worker.held.note(artifact, warm))
    }

    /// What a person wants to know.
    pub(super) fn status(&self, host: Option<&str>) -> Vec<WorkerStatus> {
        let all =
            self.pools.iter().flatten().flat_map(Pool::members).filter_map(|id| self.workers.get(id).map(|w| &**w));
        let status = |w: &Worker| WorkerStatus {
            id: w.hello.worker,
            kind: w.hello.kind,
            slots: w.hello.slots,
            running: w.jobs.iter().filter(|slot| slot.ahead.is_none()).count() as u32,
            engine: w.hello.engine.clone(),
            host: w.hello.host.clone(),
            version: w.hello.version.clone(),
            security: w.hello.security.clone(),
            draining: w.draining,
        };
        all.filter(|w| host.is_none_or(|host| w.hello.host == host)).take(MAX_LISTED).map(status).collect()
    }

    /// How many workers of a kind there are, and how many slots they have.
    pub(super) fn totals(&self, kind: WorkerKind) -> (u64, u64) {
        self.pools.iter().map(|p| &p[kind as usize]).fold((0, 0), |(n, s), p| (n + p.len() as u64, s + p.slots()))
    }
}
