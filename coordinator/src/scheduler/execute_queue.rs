//! Executions whose artifact is there and that wait for a slot: for each engine and each kind a fair queue, and
//! the share window that says which kind goes next.

use super::{
    clients::ClientKey,
    fair::{FairQueue, Place, Spot},
    fleet::EngineKey,
    shares::{Shares, Window},
};
use pvf_shared::{ids::JobId, priority::ExecuteKind};

#[derive(Debug, Default)]
struct Engine {
    kinds: [FairQueue; 4],
    window: Window,
}

/// Executions that wait for a slot.
#[derive(Debug)]
pub(super) struct ExecuteQueue {
    shares: Shares,
    engines: Vec<Engine>,
}

impl ExecuteQueue {
    pub(super) fn new(shares: Shares) -> Self {
        Self { shares, engines: Vec::new() }
    }

    fn engine(&mut self, engine: EngineKey) -> &mut Engine {
        let at = engine.0 as usize;
        if self.engines.len() <= at {
            self.engines.resize_with(at + 1, Engine::default);
        }
        &mut self.engines[at]
    }

    pub(super) fn push(&mut self, engine: EngineKey, kind: ExecuteKind, spot: Spot) {
        self.engine(engine).kinds[kind as usize].push(spot);
    }

    /// Takes a job out that is not to be dispatched; whether it was there.
    pub(super) fn remove(&mut self, engine: EngineKey, kind: ExecuteKind, spot: Spot) -> bool {
        self.engine(engine).kinds[kind as usize].remove(spot)
    }

    /// Takes a job out that is dispatched, and counts it for the shares.
    pub(super) fn dispatch(&mut self, engine: EngineKey, kind: ExecuteKind, spot: Spot) {
        let shares = self.shares;
        let engine = self.engine(engine);
        engine.kinds[kind as usize].dispatch(spot);
        engine.window.took(kind, &shares);
    }

    /// A dispatched job of this kind came back without having begun.
    pub(super) fn came_back(&mut self, engine: EngineKey, kind: ExecuteKind) {
        self.engine(engine).window.came_back(kind);
    }

    /// The kinds that have jobs waiting, in the order in which they should be dispatched.
    pub(super) fn order(&self, engine: EngineKey) -> impl Iterator<Item = ExecuteKind> + '_ {
        let engine = self.engines.get(engine.0 as usize);
        let waiting = |e: &Engine| ExecuteKind::ALL.map(|kind| e.kinds[kind as usize].len() > 0);
        engine.map(|e| e.window.order(waiting(e), &self.shares)).into_iter().flatten()
    }

    /// The jobs of a kind that were dispatched before, most urgent first.
    pub(super) fn retries(&self, engine: EngineKey, kind: ExecuteKind) -> impl Iterator<Item = Place> + '_ {
        self.engines.get(engine.0 as usize).into_iter().flat_map(move |e| e.kinds[kind as usize].retries())
    }

    /// The job of a kind whose turn it is.
    pub(super) fn next(&self, engine: EngineKey, kind: ExecuteKind) -> Option<JobId> {
        self.engines.get(engine.0 as usize)?.kinds[kind as usize].next()
    }

    /// The jobs of a kind that are next, up to so many, if every client had one: for reading ahead.
    pub(super) fn heads(&self, engine: EngineKey, kind: ExecuteKind, n: usize) -> impl Iterator<Item = JobId> + '_ {
        self.engines.get(engine.0 as usize).into_iter().flat_map(move |e| e.kinds[kind as usize].heads(n))
    }

    /// Any job of an engine.
    pub(super) fn any(&self, engine: EngineKey) -> Option<JobId> {
        self.engines.get(engine.0 as usize)?.kinds.iter().find_map(FairQueue::any)
    }

    /// Whether a client is still to be told from others: it has jobs here or had more than its share lately.
    pub(super) fn remembers(&self, client: ClientKey) -> bool {
        self.engines.iter().flat_map(|engine| &engine.kinds).any(|kind| kind.remembers(client))
    }

    /// How many wait for an engine.
    pub(super) fn len(&self, engine: EngineKey) -> usize {
        self.engines.get(engine.0 as usize).map_or(0, |e| e.kinds.iter().map(FairQueue::len).sum())
    }

    /// How many of a kind wait for an engine.
    pub(super) fn len_of(&self, engine: EngineKey, kind: ExecuteKind) -> usize {
        self.engines.get(engine.0 as usize).map_or(0, |e| e.kinds[kind as usize].len())
    }

    /// How many wait that were not dispatched before, by kind.
    pub(super) fn depths_in_turn(&self) -> [u64; 4] {
        ExecuteKind::ALL.map(|kind| self.engines.iter().map(|e| e.kinds[kind as usize].len_in_turn() as u64).sum())
    }

    /// How many wait, by kind.
    pub(super) fn depths(&self) -> [u64; 4] {
        ExecuteKind::ALL.map(|kind| self.engines.iter().map(|e| e.kinds[kind as usize].len() as u64).sum())
    }
}
