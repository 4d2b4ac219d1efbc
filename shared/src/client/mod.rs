//! The client of a fleet: [`ValidationHost`], which a node holds.
//!
//! A request passes through these modules:
//!
//! 1. `in_flight` carries it from its submission to its answer, with one deadline for all of it.
//! 2. `payloads` encodes it. Code and block data that do not fit a bus message go through the store.
//! 3. `acceptance` submits it until a coordinator accepts it: while none answers, while the store cannot be used, while
//!    the coordinator is overloaded. `coordinator` has the messages to it.
//! 4. `pending` hands over the verdict that the coordinator publishes on the client's own subject. It asks for verdicts
//!    that do not arrive; a request that the coordinator does not know, because it was replaced, is submitted again
//!    with the same id.
//! 5. `payloads` fetches a result that did not fit a bus message.
//!
//! Dropping the future of a request cancels the request. Dropping the last handle ends the client.

mod acceptance;
mod coordinator;
mod in_flight;
mod payloads;
mod pending;
mod request;
#[cfg(test)]
mod tests;
mod trouble;

pub use request::{Answer, ExecuteRequest, Pvf};

use crate::{
    bus::{BusError, SharedBus},
    config::ProtocolTimeouts,
    identity::ClientId,
    ids::FleetName,
    store::{BlobStore, StoreError},
    subjects,
    wire::{self, ActiveLeavesUpdate, FleetStatus, FromClient, Refusal, StatusQuestion, SubmitReply, Work},
};
use coordinator::Coordinator;
use payloads::Payloads;
use pending::{Pending, Questions};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::AbortHandle};
use trouble::Trouble;

/// Why a request has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator refused the request.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// No coordinator of the fleet is connected to the bus.
    #[error("no coordinator answers for fleet {fleet:?} on this bus (is it running? same --fleet?)")]
    NoCoordinator {
        /// Name of the fleet.
        fleet: String,
    },
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes do not fit a bus message, and the client has no store.
    #[error(
        "{field}: {len} bytes do not fit the bus's limit of {limit} bytes, and no store shared with the fleet is \
         configured (--store)"
    )]
    TooLarge {
        /// The input or result that is too large.
        field: &'static str,
        /// Its size, bytes.
        len: u64,
        /// Space in a bus message, bytes.
        limit: u64,
    },
    /// No verdict arrived before the deadline: the request has expired, as with
    /// [`Outcome::Expired`](crate::verdict::Outcome::Expired), which the coordinator says where it can.
    #[error("no verdict within {} s{}", within.as_secs_f32(), because(last.as_deref()))]
    NotAnswered {
        /// How long the request waited for its verdict.
        within: Duration,
        /// What was last in the way of the request, if it is known.
        last: Option<String>,
    },
    /// The coordinator's answer cannot be decoded.
    #[error("answer of the coordinator: {0}")]
    Wire(#[from] wire::WireError),
    /// The client has ended.
    #[error("the validation host has ended")]
    Ended,
}

fn because(last: Option<&str>) -> String {
    last.map(|why| format!(": {why}")).unwrap_or_default()
}

/// Configuration of a client.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Name of the fleet.
    pub fleet: FleetName,
    /// Heartbeat, acknowledgement and retry intervals; they must match across the fleet.
    pub timing: ProtocolTimeouts,
    /// How long a message is repeated while no coordinator answers (default 5 s). For a request it is how long a client
    /// that has never heard of a coordinator looks for one; after that only the request's own deadline counts.
    pub patience: Duration,
    /// How long to wait for a verdict, for requests that set no time of their own (default 30 min).
    pub answer_within: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            fleet: FleetName::default(),
            timing: ProtocolTimeouts::default(),
            patience: Duration::from_secs(5),
            answer_within: Duration::from_secs(1800),
        }
    }
}

/// State of a client, shared by its handles and its requests in flight.
struct Inner {
    id: ClientId,
    config: ClientConfig,
    coordinator: Arc<Coordinator>,
    payloads: Payloads,
    pending: Arc<Pending>,
    trouble: Arc<Trouble>,
    /// The tasks of `pending`.
    tasks: [AbortHandle; 2],
    /// Closes when the last handle is dropped.
    alive: watch::Sender<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A client of a fleet: prepares and executes PVFs on the fleet's workers. Clones are handles of the same client.
#[derive(Clone)]
pub struct ValidationHost {
    inner: Arc<Inner>,
}

impl ValidationHost {
    /// Creates a client of the fleet on `bus`. Inputs over the bus's limit go through `store`, which the fleet must
    /// share. Does not wait for a coordinator. Must be called within a tokio runtime.
    pub async fn connect(bus: SharedBus, store: Option<BlobStore>, config: ClientConfig) -> Result<Self, ClientError> {
        let id = ClientId::new(bus.user());
        let pending = Arc::new(Pending::default());
        let trouble = Arc::new(Trouble::default());
        let coordinator = Arc::new(Coordinator::new(bus.clone(), id, &config));
        let verdicts = bus.subscribe(&subjects::client_verdicts(&config.fleet, &id)).await?;
        let receiver = tokio::spawn(pending::receive_verdicts(verdicts, pending.clone()));
        let questions = Questions { coordinator: coordinator.clone(), trouble: trouble.clone() };
        let poller = tokio::spawn(questions.ask_for_verdicts(pending.clone()));
        let inner = Inner {
            id,
            config,
            coordinator,
            payloads: Payloads::new(bus, store),
            pending,
            trouble,
            tasks: [receiver.abort_handle(), poller.abort_handle()],
            alive: watch::Sender::new(()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who this client is on the bus, as in the logs of all roles.
    pub fn id(&self) -> ClientId {
        self.inner.id
    }

    /// Completes when the last handle is dropped. The future is not a handle itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.inner.alive.subscribe();
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Why requests of this client make no progress at present, for showing to people; `None` while there is no
    /// trouble.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.inner.trouble.subscribe()
    }

    /// Pre-checks code: prepares it under the strict limits of pre-checking.
    pub async fn precheck_pvf(&self, pvf: Pvf) -> Result<Answer, ClientError> {
        in_flight::run(&self.inner, pvf, Work::Precheck, None).await
    }

    /// Validates a candidate.
    pub async fn execute_pvf(&self, pvf: Pvf, request: ExecuteRequest) -> Result<Answer, ClientError> {
        let answer_within = request.answer_within;
        in_flight::run(&self.inner, pvf, Work::Execute(Box::new(request.into_wire())), answer_within).await
    }

    /// Announces codes that may be needed soon: the fleet prepares them in the background. Returns when the fleet has
    /// accepted all of them.
    pub async fn heads_up(&self, pvfs: Vec<Pvf>) -> Result<Vec<Answer>, ClientError> {
        let mut answers = Vec::with_capacity(pvfs.len());
        for pvf in pvfs {
            answers.push(in_flight::run(&self.inner, pvf, Work::HeadsUp, None).await?);
        }
        Ok(answers)
    }

    /// Updates the active leaves of the relay chain: queued backing requests whose leaf is in no active fork expire.
    pub async fn update_active_leaves(&self, update: ActiveLeavesUpdate) -> Result<(), ClientError> {
        let message = FromClient::Leaves { update };
        match self.inner.coordinator.ask::<SubmitReply>(&message).await? {
            SubmitReply::Accepted => Ok(()),
            SubmitReply::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// State of the fleet.
    pub async fn status(&self) -> Result<FleetStatus, ClientError> {
        self.inner.coordinator.status(&StatusQuestion { host: None }).await
    }

    /// State of the fleet with only the workers of one machine.
    pub async fn status_of(&self, host: &str) -> Result<FleetStatus, ClientError> {
        self.inner.coordinator.status(&StatusQuestion { host: Some(host.into()) }).await
    }
}
