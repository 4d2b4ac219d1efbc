//! An operator of a fleet, who has workers drain, ends requests, and decides which artifacts stay.

use super::{ClientConfig, ClientError, coordinator::Coordinator};
use crate::{
    bus::SharedBus,
    identity::{ClientId, WorkerId},
    ids::{CodeHash, RequestId},
    subjects::{self, Subject},
    wire::{
        self, Cancellation, FleetStatus, FromOperator, MAX_DRAINED, OperatorReply, Pinning, Removal, StatusQuestion,
        WireError, WorkerDrain,
    },
};
use std::{sync::Arc, time::Duration};

/// How long an action waits for its answer: it comes when the store has answered.
const ACTION: Duration = Duration::from_secs(60);

/// An answer to another request.
fn unexpected() -> ClientError {
    let why = "it answers another request than was sent".to_owned();
    ClientError::Wire(WireError::Malformed { len: 0, why })
}

/// What an operator asks of a fleet's coordinator. On a server with permissions its user must have the
/// [role](crate::permissions::Role::Operator). It obeys the coordinator with the highest token that it has heard of.
pub struct Operator {
    coordinator: Coordinator,
    requests: Subject,
}

impl Operator {
    /// An operator whose name is the bus's user.
    pub fn new(bus: SharedBus, config: &ClientConfig) -> Self {
        let requests = subjects::operator_requests(&config.fleet, &bus.user());
        let client = ClientId::new(bus.user());
        Self { coordinator: Coordinator::new(bus, client, config, Arc::default()), requests }
    }

    /// State of the fleet, with all workers or only those of one machine.
    ///
    /// # Errors
    /// No coordinator answers within the patience of the configuration, or the answer cannot be decoded.
    pub async fn status(&self, host: Option<&str>) -> Result<FleetStatus, ClientError> {
        self.coordinator.status(&StatusQuestion { host: host.map(str::to_owned) }).await
    }

    /// Asks these workers to drain, and what has become of each. To be repeated until they are gone, because a
    /// coordinator that takes over knows nothing of it.
    ///
    /// # Errors
    /// No coordinator answers within the patience of the configuration, for instance because the user may not ask, or
    /// the answer cannot be decoded.
    pub async fn drain(&self, workers: &[WorkerId]) -> Result<Vec<WorkerDrain>, ClientError> {
        let mut drains = Vec::new();
        for workers in workers.chunks(MAX_DRAINED) {
            drains.extend(self.drain_some(workers).await?);
        }
        Ok(drains)
    }

    async fn drain_some(&self, workers: &[WorkerId]) -> Result<Vec<WorkerDrain>, ClientError> {
        let message = wire::encode(&FromOperator::Drain { workers: workers.to_vec() });
        match self.coordinator.ask_encoded(&self.requests, &message).await? {
            OperatorReply::Drains(drains) => Ok(drains),
            _ => Err(unexpected()),
        }
    }

    /// Makes sure that a coordinator answers this user's requests, without asking for anything.
    ///
    /// # Errors
    /// As of [`drain`](Self::drain).
    pub async fn check(&self) -> Result<(), ClientError> {
        self.drain_some(&[]).await.map(drop)
    }

    /// Ends a request, of this client if several have chosen the same id.
    ///
    /// # Errors
    /// No coordinator answers in time, and then it is not known whether it was done; the coordinator refuses the request,
    /// because it is of a version that does not know it; or its answer cannot be decoded.
    pub async fn cancel(&self, request: RequestId, client: Option<ClientId>) -> Result<Cancellation, ClientError> {
        match self.act(&FromOperator::Cancel { request, client }).await? {
            OperatorReply::Cancel(cancellation) => Ok(cancellation),
            _ => Err(unexpected()),
        }
    }

    /// Pins a code, or unpins it.
    ///
    /// # Errors
    /// As of [`cancel`](Self::cancel).
    pub async fn pin(&self, code: CodeHash, pinned: bool) -> Result<Pinning, ClientError> {
        let message = if pinned { FromOperator::Pin { code } } else { FromOperator::Unpin { code } };
        match self.act(&message).await? {
            OperatorReply::Pin(pinning) => Ok(pinning),
            _ => Err(unexpected()),
        }
    }

    /// Removes artifacts: what [`FromOperator::Remove`] or [`FromOperator::Prune`] names, a bounded number.
    ///
    /// # Errors
    /// As of [`cancel`](Self::cancel).
    pub async fn remove(&self, message: &FromOperator) -> Result<Removal, ClientError> {
        match self.act(message).await? {
            OperatorReply::Removal(removal) => Ok(removal),
            _ => Err(unexpected()),
        }
    }

    /// Sends a request once: without an answer it is not known whether it was done.
    ///
    /// # Errors
    /// As of [`cancel`](Self::cancel).
    async fn act(&self, message: &FromOperator) -> Result<OperatorReply, ClientError> {
        self.coordinator.ask_once_at(&self.requests, &wire::encode(message), ACTION).await
    }
}
