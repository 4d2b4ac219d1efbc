//! An operator of a fleet, who has workers drain.

use super::{ClientConfig, ClientError, coordinator::Coordinator};
use crate::{
    bus::SharedBus,
    identity::{ClientId, WorkerId},
    subjects::{self, Subject},
    wire::{self, FleetStatus, FromOperator, MAX_DRAINED, OperatorReply, StatusQuestion, WorkerDrain},
};
use std::sync::Arc;

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
            let message = wire::encode(&FromOperator::Drain { workers: workers.to_vec() });
            let OperatorReply::Drains(these) = self.coordinator.ask_encoded(&self.requests, &message).await?;
            drains.extend(these);
        }
        Ok(drains)
    }
}
