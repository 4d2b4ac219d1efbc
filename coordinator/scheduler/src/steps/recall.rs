//! Recall: staged jobs are taken back, for a more urgent job in the queue or because another worker is idle.

use crate::{
    core::{Core, Out},
    effect::Effect,
    keys::{AttemptKey, EngineKey},
    policies::{DISPATCHES, staged_rank},
    tables::SlotState,
};
use pvf_proto::{
    priority::ExecuteKind,
    wire::{ToWorker, WorkerKind},
};

/// Recalls staged jobs of an engine, as many as are worth it.
pub(crate) fn recall_staged(core: &mut Core, out: &mut Out, engine: EngineKey) {
    let pool = core.workers.pool(WorkerKind::Execute, engine);
    let Some(((last, ..), _)) = pool.last_staged() else { return };
    // The usual case: every worker has what it may have, and no staged job is less urgent than another.
    if last <= staged_rank(ExecuteKind::ALL[0]) && !pool.has_room() {
        return;
    }
    let (wanted, above) = match core.execute_queue.order(engine).next() {
        // More urgent jobs are queued: each may replace a staged one.
        Some(kind) if !pool.has_room() => (core.execute_queue.len_of(engine, kind), Some(staged_rank(kind))),
        Some(_) => (0, None),
        // Nothing is queued: idle workers may have staged jobs of others.
        None => (pool.free().len(), None),
    };
    let mut wanted = wanted.saturating_sub(pool.recalled()).min(DISPATCHES);
    while wanted > 0
        && let Some(((rank, job, attempt), worker)) = core.workers.pool(WorkerKind::Execute, engine).last_staged()
        && above.is_none_or(|above| rank > above)
        && core.workers.set_slot(&worker, AttemptKey { job, attempt }, |_| SlotState::Recalled)
    {
        wanted -= 1;
        out.counts.recalled += 1;
        let message = ToWorker::Recall { token: core.config.token, job, attempt };
        out.effect(Effect::ToWorker { worker, message });
    }
}
