//! Workers, as people see them.

use super::page::Page;
use crate::{
    core::Core,
    steps::status,
    tables::{Worker, WorkerCondition},
    time::Timestamp,
};
use pvf_proto::wire::{WorkerKind, WorkerStatus};
use std::time::Duration;

/// Which workers are listed.
#[derive(Debug, Clone, Default)]
pub struct WorkerFilter {
    /// Only those of this machine.
    pub host: Option<String>,
    /// Only those of this kind.
    pub kind: Option<WorkerKind>,
    /// Only those in this condition.
    pub condition: Option<WorkerCondition>,
    /// At most so many.
    pub limit: usize,
}

/// A worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// As in the fleet's status.
    pub status: WorkerStatus,
    /// Whether it gets jobs.
    pub condition: WorkerCondition,
    /// When it registered.
    pub joined: Timestamp,
    /// How long ago it was heard from.
    pub silent: Duration,
    /// Jobs that wait there for a slot.
    pub staged: u32,
    /// Jobs whose artifact or input it fetches.
    pub fetching: u32,
}

pub(crate) fn list(core: &Core, filter: &WorkerFilter, now: Timestamp) -> Page<WorkerView> {
    let matches = |worker: &&Worker| {
        filter.host.as_ref().is_none_or(|host| worker.hello.host == *host)
            && filter.kind.is_none_or(|kind| worker.kind == kind)
            && filter.condition.is_none_or(|wanted| worker.condition() == wanted)
    };
    let mut found: Vec<&Worker> = core.workers.iter().filter(matches).collect();
    found.sort_unstable_by_key(|worker| worker.id);
    let matching = found.len();
    let entries = found.into_iter().take(filter.limit).map(|worker| view(worker, now)).collect();
    Page { entries, matching, complete: true }
}

fn view(worker: &Worker, now: Timestamp) -> WorkerView {
    let (placed, running) = (worker.placed(), worker.running());
    WorkerView {
        status: status::status(worker, now),
        condition: worker.condition(),
        joined: worker.joined,
        silent: now.since(worker.heard),
        staged: placed.saturating_sub(running),
        fetching: worker.fetching(),
    }
}
