//! The client of a fleet: [`ValidationHost`], which a node holds.
//!
//! A request passes through these modules:
//!
//! 1. `in_flight` carries it from its submission to its answer, with one deadline for all of it.
//! 2. `payloads` holds its code and block data for as long as it lives, for workers to pull, and encodes it.
//! 3. `acceptance` submits it until a coordinator accepts it: while none answers, while the coordinator is
//!    overloaded. `coordinator` has the messages to it.
//! 4. `pending` hands over the verdict that the coordinator publishes on the client's own subject. It asks for verdicts
//!    that do not arrive; a request that the coordinator does not know, because it was replaced, is submitted again
//!    with the same id.
//! 5. `payloads` pulls a large result from the worker that made it. If that worker is gone, `in_flight` has the
//!    validation done again: an execution is deterministic.
//! 6. `bundles` writes a replay bundle of what was not valid, if the configuration has a folder for them.
//!
//! When another coordinator announces itself (`announcements`), the active leaves are told to it (`leaves`), and every
//! request that waits is submitted again.
//!
//! Dropping the future of a request cancels the request. Dropping the last handle ends the client.

mod acceptance;
mod announcements;
mod bundles;
mod coordinator;
mod in_flight;
mod leaves;
mod operator;
mod payloads;
mod pending;
mod request;
#[cfg(test)]
mod tests;
mod trouble;

pub use bundles::BundleSettings;
pub use coordinator::fleet_status;
pub use operator::Operator;
pub use request::{Answer, ExecuteRequest, Pvf};

use crate::{
    bundle::Bundle,
    bus::{BusError, SharedBus},
    config::{INLINE_MAX, ProtocolTimeouts},
    identity::ClientId,
    ids::FleetName,
    pull::{self, Holdings},
    subjects,
    terms::Terms,
    wire::{
        self, ActiveLeavesUpdate, CompileProgress, FleetStatus, FromClient, Refusal, StatusQuestion, SubmitReply, Work,
    },
};
use announcements::Announcements;
use bundles::{Answered, BundleWriter};
use coordinator::Coordinator;
use leaves::Leaves;
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
    /// An input is too large: for a message of the bus, or for any host.
    #[error("{field}: {len} bytes are over the limit of {limit} bytes")]
    TooLarge {
        /// The input that is too large.
        field: &'static str,
        /// Its size, bytes.
        len: u64,
        /// The largest size, bytes.
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
    /// The most bytes of block data that travel in a message; larger block data is pulled by the worker (default and
    /// maximum [`INLINE_MAX`], less on a bus with small messages).
    pub inline_max: usize,
    /// Which requests have a replay bundle, and where (default: none).
    pub bundles: Option<BundleSettings>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            fleet: FleetName::default(),
            timing: ProtocolTimeouts::default(),
            patience: Duration::from_secs(5),
            answer_within: Duration::from_secs(1800),
            inline_max: INLINE_MAX,
            bundles: None,
        }
    }
}

/// State of a client, shared by its handles and its requests in flight.
struct Inner {
    id: ClientId,
    config: ClientConfig,
    coordinator: Arc<Coordinator>,
    payloads: Arc<Payloads>,
    bundles: Option<BundleWriter>,
    pending: Arc<Pending>,
    trouble: Arc<Trouble>,
    compiling: Arc<watch::Sender<Option<CompileProgress>>>,
    leaves: Arc<Leaves>,
    /// The highest token that a coordinator announced.
    announced: Arc<watch::Sender<u64>>,
    /// The tasks of `pending`, and those that answer pulls and follow announcements.
    tasks: [AbortHandle; 4],
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
    /// Creates a client of the fleet on `bus`. Does not wait for a coordinator. Must be called within a tokio runtime.
    ///
    /// Workers pull the inputs of its requests from this process, so it must run, with its connection, until they have
    /// their verdicts.
    pub async fn connect(bus: SharedBus, config: ClientConfig) -> Result<Self, ClientError> {
        let id = ClientId::new(bus.user());
        let pending = Arc::new(Pending::default());
        let trouble = Arc::new(Trouble::default());
        let terms = Arc::<Terms>::default();
        let coordinator = Arc::new(Coordinator::new(bus.clone(), id, &config, terms.clone()));
        let verdicts = bus.subscribe(&subjects::client_verdicts(&config.fleet, &id)).await?;
        let receiver = tokio::spawn(pending::receive_verdicts(verdicts, pending.clone(), terms.clone()));
        let compiling = Arc::new(watch::Sender::new(None));
        let (asks, shows) = (coordinator.clone(), compiling.clone());
        let questions = Questions { coordinator: asks, trouble: trouble.clone(), compiling: shows };
        let poller = tokio::spawn(questions.ask_for_verdicts(pending.clone()));
        let holdings = Holdings::default();
        let pulls = bus.subscribe(&subjects::client_pulls(&config.fleet, &id)).await?;
        let payloads = Arc::new(Payloads::new(bus.clone(), &config, holdings.clone()));
        let bundles = config.bundles.clone().map(|settings| BundleWriter::start(settings, payloads.clone()));
        let holder = tokio::spawn(pull::serve(bus.clone(), pulls, move |content| holdings.find(content)));
        let (leaves, announced) = (Arc::<Leaves>::default(), Arc::new(watch::Sender::new(0)));
        let messages = bus.subscribe(&subjects::announcements(&config.fleet)).await?;
        let follower = Announcements {
            coordinator: coordinator.clone(),
            leaves: leaves.clone(),
            terms,
            announced: announced.clone(),
        };
        let follower = tokio::spawn(follower.follow(messages));
        let inner = Inner {
            id,
            config,
            coordinator,
            payloads,
            bundles,
            pending,
            trouble,
            compiling,
            leaves,
            announced,
            tasks: [receiver, poller, holder, follower].map(|task| task.abort_handle()),
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

    /// How far the compiler has come with the codes that this client's requests wait for, all of them together, for
    /// showing to people; `None` while none is being compiled. It is what the coordinator said last, when the client
    /// asked for verdicts ([`ProtocolTimeouts::ask_again`]).
    pub fn compiling(&self) -> watch::Receiver<Option<CompileProgress>> {
        self.inner.compiling.subscribe()
    }

    /// Pre-checks code: prepares it under the strict limits of pre-checking.
    pub async fn precheck_pvf(&self, pvf: Pvf) -> Result<Answer, ClientError> {
        self.bundled(pvf.clone(), None, in_flight::run(&self.inner, pvf, Work::Precheck, None)).await
    }

    /// Validates a candidate.
    pub async fn execute_pvf(&self, pvf: Pvf, request: ExecuteRequest) -> Result<Answer, ClientError> {
        let (answer_within, asked) = (request.answer_within, request.clone());
        let work = Work::Execute(Box::new(request.into_wire()));
        self.bundled(pvf.clone(), Some(asked), in_flight::run(&self.inner, pvf, work, answer_within)).await
    }

    /// Has a replay bundle of the answer written, if the configuration wants it; the answer does not wait for that.
    async fn bundled(
        &self,
        pvf: Pvf,
        request: Option<ExecuteRequest>,
        answer: impl Future<Output = Result<Answer, ClientError>>,
    ) -> Result<Answer, ClientError> {
        let answer = answer.await?;
        if let Some(bundles) = self.inner.bundles.as_ref().filter(|bundles| bundles.want(&answer)) {
            bundles.offer(Answered { pvf, request, answer: answer.clone() });
        }
        Ok(answer)
    }

    /// The replay bundle of an answered request, with what the workers have kept of its jobs: they keep it for ten
    /// minutes. `request` is `None` for a precheck. Waits at most three seconds for the workers.
    pub async fn bundle(&self, pvf: &Pvf, request: Option<&ExecuteRequest>, answer: &Answer) -> Bundle {
        bundles::make(&self.inner.payloads, pvf, request, answer).await
    }

    /// Waits until the replay bundles of all requests that were answered before are written. To be called before the
    /// last handle is dropped; bundles that wait are made without what the workers have kept otherwise.
    pub async fn bundles_written(&self) {
        if let Some(bundles) = &self.inner.bundles {
            bundles.finish().await;
        }
    }

    /// Announces codes that may be needed soon: the fleet prepares them in the background. Returns when a worker has
    /// each code ([`HeadsUpTaken`](crate::verdict::Outcome::HeadsUpTaken)), or its artifact is there
    /// ([`HeadsUpPrepared`](crate::verdict::Outcome::HeadsUpPrepared)); with `wait_prepared` only when the artifact is
    /// there. A code is announced until then: dropping the future takes back what no worker has yet.
    pub async fn heads_up(&self, pvfs: Vec<Pvf>, wait_prepared: bool) -> Result<Vec<Answer>, ClientError> {
        let one = |pvf| in_flight::run(&self.inner, pvf, Work::HeadsUp { wait_prepared }, None);
        futures::future::try_join_all(pvfs.into_iter().map(one)).await
    }

    /// Updates the active leaves of the relay chain: queued backing requests whose leaf is in no active fork expire.
    /// The client tells them again to a coordinator that takes over.
    pub async fn update_active_leaves(&self, update: ActiveLeavesUpdate) -> Result<(), ClientError> {
        self.inner.leaves.note(&update);
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
