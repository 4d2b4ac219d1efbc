//! What there is to see: counts and the fleet's status.

use super::{Answer, Scheduler};
use pvf_shared::{
    subjects::Subject,
    wire::{FleetStatus, WorkerKind},
};

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Preparations put into the queue.
    pub prepare_enqueued: u64,
    /// Preparations dispatched, each attempt.
    pub prepare_dispatched: u64,
    /// Preparations that ended with a report.
    pub prepare_concluded: u64,
    /// Executions put into the queue.
    pub execute_enqueued: u64,
    /// Executions dispatched, each attempt.
    pub execute_dispatched: u64,
    /// The same by kind: dispute, approval, backing of a system parachain, other backing.
    pub execute_selected: [u64; 4],
    /// Executions that ended with a report.
    pub execute_finished: u64,
    /// Requests that joined an execution that was under way.
    pub coalesced: u64,
    /// Executions tried once more after a failure.
    pub retried: u64,
    /// Executions that came back without having begun.
    pub came_back: u64,
    /// Jobs asked back from a worker where they waited.
    pub recalled: u64,
    /// Preparations and executions not tried (again) because they killed workers.
    pub quarantined: u64,
    /// Requests turned away because something was full.
    pub overloaded: u64,
    /// Artifacts dropped because nobody needed them.
    pub artifacts_pruned: u64,
}

impl Scheduler {
    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes that requests hold here.
    pub fn held_bytes(&self) -> u64 {
        self.clients.bytes()
    }

    /// How many executions of each kind wait for a slot, those not counted that were dispatched before and may have
    /// to wait for a certain worker.
    #[doc(hidden)]
    pub fn waiting_in_turn(&self) -> [u64; 4] {
        self.execute_queue.depths_in_turn()
    }

    /// Whether a worker is here.
    #[doc(hidden)]
    pub fn knows_worker(&self, worker: pvf_shared::ids::WorkerId) -> bool {
        self.fleet.workers.contains_key(&worker)
    }

    /// Whether a request is here, answered or not.
    #[doc(hidden)]
    pub fn knows(&self, request: pvf_shared::ids::RequestId) -> bool {
        self.requests.contains_key(&request) || self.verdicts.get(&request).is_some()
    }

    pub(super) fn on_status(&mut self, host: Option<&str>, reply: Option<Subject>) {
        let status = FleetStatus {
            token: self.config.token,
            version: self.config.version.clone(),
            workers: self.fleet.status(host),
            prepare: self.fleet.totals(WorkerKind::Prepare).into(),
            execute: self.fleet.totals(WorkerKind::Execute).into(),
            requests: self.requests.len() as u64,
            request_bytes: self.clients.bytes(),
            clients: self.clients.len() as u64,
            prepare_queue: self.prepare_queue.depths(),
            execute_queue: self.execute_queue.depths(),
            artifacts: self.artifacts.len() as u64,
            artifact_bytes: self.artifacts.bytes(),
            prepared: self.counts.prepare_dispatched,
            executed: self.counts.execute_dispatched - self.counts.came_back,
            coalesced: self.counts.coalesced,
            overloaded: self.counts.overloaded,
        };
        self.reply(reply, Answer::Status(Box::new(status)));
    }
}
