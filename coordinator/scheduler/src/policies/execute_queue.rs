//! Executions whose artifact is there and that wait for a slot: for each engine and each kind a fair queue, and the
//! share window that decides which kind is next.

use crate::{
    keys::{EngineKey, Spot, UserKey},
    policies::{fair_queue::FairQueue, shares::ShareWindow},
    settings::Shares,
};
use pvf_proto::{ids::JobId, priority::ExecuteKind};

#[derive(Debug, Default)]
struct Engine {
    kinds: [FairQueue; 4],
    window: ShareWindow,
}

/// The queued executions of all engines.
#[derive(Debug)]
pub(crate) struct ExecuteQueue {
    shares: Shares,
    engines: Vec<Engine>,
}

impl ExecuteQueue {
    pub(crate) fn new(shares: Shares) -> Self {
        Self { shares, engines: Vec::new() }
    }

    fn engine(&mut self, engine: EngineKey) -> &mut Engine {
        let at = engine.0 as usize;
        if self.engines.len() <= at {
            self.engines.resize_with(at + 1, Engine::default);
        }
        &mut self.engines[at]
    }

    pub(crate) fn push(&mut self, engine: EngineKey, kind: ExecuteKind, spot: Spot) {
        self.engine(engine).kinds[kind as usize].push(spot);
    }

    /// Removes a job that is not dispatched. Returns whether it was there.
    pub(crate) fn remove(&mut self, engine: EngineKey, kind: ExecuteKind, spot: Spot) -> bool {
        self.engine(engine).kinds[kind as usize].remove(spot)
    }

    /// Removes a job that is dispatched, and counts it for the shares.
    pub(crate) fn dispatch(&mut self, engine: EngineKey, kind: ExecuteKind, spot: Spot) {
        let shares = self.shares;
        let engine = self.engine(engine);
        engine.kinds[kind as usize].dispatch(spot);
        engine.window.count(kind, &shares);
    }

    /// A dispatched job of this kind came back without having begun.
    pub(crate) fn came_back(&mut self, engine: EngineKey, kind: ExecuteKind) {
        self.engine(engine).window.uncount(kind);
    }

    /// The kinds with queued jobs, in the order in which they are to be dispatched.
    pub(crate) fn order(&self, engine: EngineKey) -> impl Iterator<Item = ExecuteKind> + '_ {
        let engine = self.engines.get(engine.0 as usize);
        let waiting = |e: &Engine| ExecuteKind::ALL.map(|kind| e.kinds[kind as usize].len() > 0);
        engine.map(|e| e.window.order(waiting(e), &self.shares)).into_iter().flatten()
    }

    /// The jobs of a kind that were dispatched before, the earliest deadline first.
    pub(crate) fn retries(&self, engine: EngineKey, kind: ExecuteKind) -> impl Iterator<Item = Spot> + '_ {
        self.engines.get(engine.0 as usize).into_iter().flat_map(move |e| e.kinds[kind as usize].retries())
    }

    /// The job of a kind that is next, apart from jobs that were dispatched before, of the users that may have one
    /// more.
    pub(crate) fn next(
        &self,
        engine: EngineKey,
        kind: ExecuteKind,
        may_have_more: impl Fn(UserKey) -> bool,
    ) -> Option<Spot> {
        self.engines.get(engine.0 as usize)?.kinds[kind as usize].next(may_have_more)
    }

    /// Any job of an engine, and its kind.
    pub(crate) fn any(&self, engine: EngineKey) -> Option<(ExecuteKind, Spot)> {
        let engine = self.engines.get(engine.0 as usize)?;
        ExecuteKind::ALL.into_iter().find_map(|kind| Some((kind, engine.kinds[kind as usize].any()?)))
    }

    /// Whether a user has jobs here or a virtual time ahead of the present.
    pub(crate) fn remembers(&self, user: UserKey) -> bool {
        self.engines.iter().flat_map(|engine| &engine.kinds).any(|kind| kind.remembers(user))
    }

    /// How many are queued for an engine.
    pub(crate) fn len(&self, engine: EngineKey) -> usize {
        self.engines.get(engine.0 as usize).map_or(0, |e| e.kinds.iter().map(FairQueue::len).sum())
    }

    /// How many of a kind are queued for an engine.
    pub(crate) fn len_of(&self, engine: EngineKey, kind: ExecuteKind) -> usize {
        self.engines.get(engine.0 as usize).map_or(0, |e| e.kinds[kind as usize].len())
    }

    /// How many are queued that were not dispatched before, by kind.
    pub(crate) fn depths_in_turn(&self) -> [u64; 4] {
        ExecuteKind::ALL.map(|kind| self.engines.iter().map(|e| e.kinds[kind as usize].len_in_turn() as u64).sum())
    }

    /// The job of a kind that arrived first.
    pub(crate) fn oldest(&self, kind: ExecuteKind) -> Option<JobId> {
        self.engines.iter().filter_map(|engine| engine.kinds[kind as usize].oldest()).min()
    }

    /// How many are queued, by kind.
    pub(crate) fn depths(&self) -> [u64; 4] {
        ExecuteKind::ALL.map(|kind| self.engines.iter().map(|e| e.kinds[kind as usize].len() as u64).sum())
    }
}
