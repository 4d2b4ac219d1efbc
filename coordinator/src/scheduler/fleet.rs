//! The workers: who is there, what each has, and whom to give a job.

use super::timers::Moment;
use pvf_shared::{
    ids::{ArtifactId, Attempt, EngineId, JobId, WorkerId},
    wire::{WorkerHello, WorkerKind, WorkerStatus},
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) hello: WorkerHello,
    /// Jobs that take up its slots: dispatched and neither reported nor known to be stopped.
    pub(super) jobs: HashMap<JobId, Slot>,
    /// Artifacts that it has executed, so that it has them at hand.
    pub(super) warm: HashSet<ArtifactId>,
    /// It refused or missed a dispatch: no more until it is heard of.
    pub(super) suspect: bool,
}

impl Worker {
    fn free(&self) -> bool {
        !self.suspect && (self.jobs.len() as u32) < self.hello.slots
    }
}

/// A slot that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) attempt: Attempt,
    /// When the worker said that it has the job.
    pub(super) taken: Option<Moment>,
}

/// Workers that a job should not go to again, with their machines.
pub(super) type Avoid = Vec<(WorkerId, String)>;

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) workers: BTreeMap<WorkerId, Worker>,
}

/// What became of the search for a worker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pick {
    /// This one.
    Worker(WorkerId),
    /// No worker of this engine has a free slot.
    NoSlot,
    /// A slot is free, but only where this job should not go while there is another worker.
    OnlyAvoided,
}

impl Fleet {
    /// Whether any worker of this kind and engine is there, busy or not.
    pub(super) fn has(&self, kind: WorkerKind, engine: &EngineId) -> bool {
        self.of(kind, engine).next().is_some()
    }

    fn of<'a>(&'a self, kind: WorkerKind, engine: &'a EngineId) -> impl Iterator<Item = (&'a WorkerId, &'a Worker)> {
        self.workers.iter().filter(move |(_, w)| w.hello.kind == kind && w.hello.engine == *engine)
    }

    /// The engine with the most slots of this kind.
    pub(super) fn main_engine(&self, kind: WorkerKind) -> Option<EngineId> {
        let mut slots = BTreeMap::<&EngineId, u64>::new();
        for worker in self.workers.values().filter(|w| w.hello.kind == kind) {
            *slots.entry(&worker.hello.engine).or_default() += u64::from(worker.hello.slots);
        }
        slots.into_iter().max_by_key(|(_, n)| *n).map(|(engine, _)| engine.clone())
    }

    /// The best free worker: not one to be avoided, on another machine than those, with the artifact at hand,
    /// least loaded.
    pub(super) fn pick(&self, kind: WorkerKind, artifact: &ArtifactId, avoid: &Avoid) -> Pick {
        let mut others = 0;
        let mut best = None;
        for (id, worker) in self.of(kind, &artifact.engine) {
            let avoided = avoid.iter().any(|(w, _)| w == id);
            others += usize::from(!avoided);
            if !worker.free() {
                continue;
            }
            let same_host = avoid.iter().any(|(_, host)| *host == worker.hello.host);
            let load = worker.jobs.len() as u64 * 1000 / u64::from(worker.hello.slots.max(1));
            let score = (avoided, same_host, !worker.warm.contains(artifact), load);
            if best.is_none_or(|(s, _)| score < s) {
                best = Some((score, *id));
            }
        }
        match best {
            None => Pick::NoSlot,
            Some(((true, ..), _)) if others > 0 => Pick::OnlyAvoided,
            Some((_, id)) => Pick::Worker(id),
        }
    }

    /// What a person wants to know.
    pub(super) fn status(&self) -> Vec<WorkerStatus> {
        let status = |(id, w): (&WorkerId, &Worker)| WorkerStatus {
            id: *id,
            kind: w.hello.kind,
            slots: w.hello.slots,
            running: w.jobs.len() as u32,
            engine: w.hello.engine.clone(),
            host: w.hello.host.clone(),
        };
        self.workers.iter().map(status).collect()
    }
}
