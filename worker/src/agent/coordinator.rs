//! The worker's side of the bus: requests to the coordinator and answers to its commands.

use pvf_shared::{
    bus::{BusStats, SharedBus, Subscription},
    identity::WorkerId,
    ids::{FleetName, Term},
    subjects::{self, Subject},
    terms::Terms,
    wire::{self, DispatchReply, FromWorker, WorkerReply},
};
use std::{sync::Arc, time::Duration};

/// A client of the coordinator.
#[derive(Clone)]
pub(super) struct CoordinatorClient {
    bus: SharedBus,
    fleet: FleetName,
    worker: WorkerId,
    /// How long it waits for an answer.
    timeout: Duration,
    /// Which coordinator is obeyed.
    terms: Arc<Terms>,
}

impl CoordinatorClient {
    pub(super) fn new(bus: SharedBus, fleet: FleetName, worker: WorkerId, timeout: Duration) -> Self {
        Self { bus, fleet, worker, timeout, terms: Arc::default() }
    }

    /// The commands to this worker. Ends when the bus does.
    pub(super) async fn commands(&self) -> Result<Subscription, pvf_shared::bus::BusError> {
        self.bus.subscribe(&subjects::worker_commands(&self.fleet, &self.worker)).await
    }

    /// Announcements of coordinators that become active.
    pub(super) async fn announcements(&self) -> Result<Subscription, pvf_shared::bus::BusError> {
        self.bus.subscribe(&subjects::announcements(&self.fleet)).await
    }

    /// The term of an announcement, if it is the highest.
    pub(super) fn announced(&self, message: &[u8]) -> Option<Term> {
        wire::term_of(message).filter(|term| self.terms.obey(Some(*term)))
    }

    /// One request and its answer, or why there is none.
    pub(super) async fn request(&self, message: &FromWorker) -> Result<WorkerReply, String> {
        let to = subjects::worker_requests(&self.fleet, &self.worker);
        let answer = self.bus.request(&to, wire::encode(message), self.timeout).await.map_err(|e| e.to_string())?;
        if !self.obeys(&answer) {
            return Err("the answer is of a coordinator that was replaced".into());
        }
        wire::decode(&answer).map_err(|e| e.to_string())
    }

    /// Whether a message is of the coordinator with the highest token.
    pub(super) fn obeys(&self, message: &[u8]) -> bool {
        self.terms.obey_message(message)
    }

    /// Answers a command. If the answer is lost the coordinator repeats the command.
    pub(super) async fn reply(&self, to: &Subject, reply: &DispatchReply) {
        if let Err(error) = self.bus.publish(to, wire::encode(reply)).await {
            tracing::warn!(%error, "cannot send the answer to a command");
        }
    }

    /// Deregisters. If that is lost the coordinator learns it from the worker's silence.
    pub(super) async fn deregister(&self) {
        if let Err(error) = self.request(&FromWorker::Goodbye).await {
            tracing::debug!(%error, "the deregistration was not acknowledged");
        }
        let _ = self.bus.flush().await;
    }

    pub(super) fn bus_stats(&self) -> BusStats {
        self.bus.stats()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.bus.is_connected()
    }
}
