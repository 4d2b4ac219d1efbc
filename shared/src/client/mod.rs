//! The handle that a node holds: [`ValidationHost`]. Requests go out as bus requests, verdicts come back on the
//! node's own subject; a verdict that does not come is asked for by id, and a request that the coordinator has
//! forgotten is submitted again under the same id. Dropping a request's future cancels it; dropping the last
//! handle ends the client.

mod outbound;
mod pending;
mod request;

pub use request::{Answer, ExecuteRequest, Pvf};

use crate::{
    bus::{BusError, SharedBus},
    candidate::ValidationResult,
    config::Timing,
    ids::{FleetName, NodeId, RequestId},
    store::{BlobStore, StoreError},
    subjects,
    verdict::{InternalError, Outcome, WireOutcome},
    wire::{self, ActiveLeavesUpdate, FleetStatus, FromNode, Refusal, Submission, SubmitReply, Verdict, Work},
};
use outbound::{Left, Outbound};
use parity_scale_codec::DecodeAll as _;
use pending::{Note, Pending};
use std::{sync::Arc, time::Duration};

/// Why a request has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The coordinator refused it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// There is no coordinator on the bus.
    #[error("no coordinator answers for fleet {fleet:?} on this bus (is it running? same --fleet?)")]
    NoCoordinator {
        /// The fleet's name.
        fleet: String,
    },
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too large for the bus, and there is no store to leave it in.
    #[error(
        "{field}: {len} bytes do not fit the bus's limit of {limit} bytes, and no store shared with the fleet is configured (--store)"
    )]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// Its size, bytes.
        len: u64,
        /// What there is room for, bytes.
        limit: u64,
    },
    /// No verdict in time.
    #[error("no verdict within {} s", .0.as_secs_f32())]
    NotAnswered(Duration),
    /// The coordinator's answer is not understood.
    #[error("answer of the coordinator: {0}")]
    Wire(#[from] wire::WireError),
    /// The host has ended.
    #[error("the validation host has ended")]
    Ended,
}

/// How a client finds and uses its fleet.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The fleet's name.
    pub fleet: FleetName,
    /// The fleet's clockwork.
    pub timing: Timing,
    /// How long to look for a coordinator before giving up.
    pub patience: Duration,
    /// How long to wait for a verdict, for requests that do not say.
    pub answer_within: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            fleet: FleetName::default(),
            timing: Timing::default(),
            patience: Duration::from_secs(5),
            answer_within: Duration::from_secs(1800),
        }
    }
}

struct Inner {
    node: NodeId,
    out: Arc<Outbound>,
    pending: Arc<Pending>,
    config: ClientConfig,
    tasks: [tokio::task::AbortHandle; 2],
    /// Closed when the last handle is dropped.
    alive: tokio::sync::watch::Sender<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// A validation host: prepares and executes PVFs, wherever its workers are. Cheap to clone.
#[derive(Clone)]
pub struct ValidationHost {
    inner: Arc<Inner>,
}

impl ValidationHost {
    /// A handle on the fleet behind `bus`. With a `store` that the fleet shares, inputs over the bus's limit
    /// travel through it. Does not wait for a coordinator. Must be called within a tokio runtime.
    pub async fn connect(bus: SharedBus, store: Option<BlobStore>, config: ClientConfig) -> Result<Self, ClientError> {
        let node = NodeId::new();
        let pending = Arc::new(Pending::default());
        let verdicts = bus.subscribe(&subjects::node(&config.fleet, &node)).await?;
        let listener = tokio::spawn(pending::listen(verdicts, pending.clone())).abort_handle();
        let out = Outbound {
            left: Left::default(),
            bus,
            store,
            fleet: config.fleet.clone(),
            timing: config.timing,
            patience: config.patience,
        };
        let out = Arc::new(out);
        let keeper = tokio::spawn(pending::keep_asking(node, out.clone(), pending.clone())).abort_handle();
        let alive = tokio::sync::watch::Sender::new(());
        Ok(Self { inner: Arc::new(Inner { node, out, pending, config, tasks: [listener, keeper], alive }) })
    }

    /// Completes when the last handle is dropped; is no handle itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.inner.alive.subscribe();
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Can this code be prepared? The strict limits of pre-checking apply.
    pub async fn precheck_pvf(&self, pvf: Pvf) -> Result<Answer, ClientError> {
        self.run(pvf, Work::Precheck, None).await
    }

    /// Is this candidate valid?
    pub async fn execute_pvf(&self, pvf: Pvf, request: ExecuteRequest) -> Result<Answer, ClientError> {
        let within = request.answer_within;
        self.run(pvf, Work::Execute(Box::new(request.into_wire())), within).await
    }

    /// These codes may be needed soon: prepare them when there is nothing more urgent. Returns when the fleet
    /// has taken note.
    pub async fn heads_up(&self, pvfs: Vec<Pvf>) -> Result<Vec<Answer>, ClientError> {
        let mut answers = Vec::with_capacity(pvfs.len());
        for pvf in pvfs {
            answers.push(self.run(pvf, Work::HeadsUp, None).await?);
        }
        Ok(answers)
    }

    /// The relay chain's forks moved: queued backing work whose leaf is in no active fork is dropped.
    pub async fn update_active_leaves(&self, update: ActiveLeavesUpdate) -> Result<(), ClientError> {
        let message = FromNode::Leaves { node: self.inner.node, update };
        match self.inner.out.ask::<SubmitReply>(&message).await? {
            SubmitReply::Accepted => Ok(()),
            SubmitReply::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// The fleet as its coordinator sees it.
    pub async fn status(&self) -> Result<FleetStatus, ClientError> {
        self.inner.out.ask::<FleetStatus>(&FromNode::Status { host: None }).await
    }

    /// The same, but of the workers only those of this machine are listed.
    pub async fn status_of(&self, host: &str) -> Result<FleetStatus, ClientError> {
        self.inner.out.ask::<FleetStatus>(&FromNode::Status { host: Some(host.into()) }).await
    }

    async fn run(&self, pvf: Pvf, work: Work, within: Option<Duration>) -> Result<Answer, ClientError> {
        let inner = &self.inner;
        let answer_within = within.unwrap_or(inner.config.answer_within);
        let id = RequestId::new();
        let submission = Submission {
            id,
            node: inner.node,
            code: pvf.code,
            code_bomb_limit: pvf.code_bomb_limit,
            executor_params: pvf.executor_params,
            prepare_timeout: pvf.prepare_timeout,
            answer_within,
            work,
        };
        let mut waiting = Waiting { host: self.clone(), id, notes: inner.pending.expect(id), answered: false };
        let deadline = tokio::time::Instant::now() + answer_within + inner.config.timing.ask_again;
        let result = tokio::time::timeout_at(deadline, waiting.obtain(submission)).await;
        match result {
            Ok(Ok(verdict)) => {
                waiting.answered = true;
                self.parse(verdict).await
            }
            Ok(Err(error)) => {
                // A refusal left nothing behind; after any other error the coordinator may still have it.
                waiting.answered = matches!(error, ClientError::Refused(_));
                Err(error)
            }
            Err(_) => Err(ClientError::NotAnswered(answer_within)),
        }
    }

    async fn parse(&self, verdict: Verdict) -> Result<Answer, ClientError> {
        let outcome = self.parse_outcome(verdict.outcome).await?;
        Ok(Answer {
            request: verdict.request,
            outcome,
            code_hash: verdict.code_hash,
            artifact: verdict.artifact,
            timings: verdict.timings,
            worker: verdict.worker,
            attempts: verdict.attempts,
        })
    }

    async fn parse_outcome(&self, outcome: WireOutcome) -> Result<Outcome, ClientError> {
        Ok(match outcome {
            Outcome::Valid(blob) => {
                // How large its result is the guest decides: if we cannot get it, that is no verdict.
                let bytes = self.inner.out.fetch(&blob).await?;
                match ValidationResult::decode_all(&mut &bytes[..]) {
                    Ok(result) => Outcome::Valid(Box::new(result)),
                    // The worker decoded it: if we cannot, it was changed on the way.
                    Err(e) => Outcome::Internal(InternalError::Store(format!("result does not decode: {e}"))),
                }
            }
            Outcome::PrecheckOk => Outcome::PrecheckOk,
            Outcome::HeadsUpTaken => Outcome::HeadsUpTaken,
            Outcome::Invalid(reason) => Outcome::Invalid(reason),
            Outcome::PossiblyInvalid(reason) => Outcome::PossiblyInvalid(reason),
            Outcome::PreparationFailed(reason) => Outcome::PreparationFailed(reason),
            Outcome::Internal(reason) => Outcome::Internal(reason),
            Outcome::ExecutionDeadline => Outcome::ExecutionDeadline,
        })
    }
}

/// One request on its way. Dropped before it was answered, it is cancelled.
struct Waiting {
    host: ValidationHost,
    id: RequestId,
    notes: tokio::sync::mpsc::UnboundedReceiver<Note>,
    answered: bool,
}

impl Waiting {
    async fn obtain(&mut self, submission: Submission) -> Result<Verdict, ClientError> {
        let inner = self.host.inner.clone();
        let (code, again) = (submission.code.hash, submission.clone());
        let mut message = inner.out.fit(submission).await?;
        let early = match self.submit(&message).await {
            // What this node left in the store is not there any more: it is brought once more.
            Err(ClientError::Refused(refusal))
                if matches!(refusal, Refusal::BlobMissing { .. }) && inner.out.left.forget(&code) =>
            {
                message = inner.out.fit(again).await?;
                self.submit(&message).await?
            }
            submitted => submitted?,
        };
        if let Some(verdict) = early {
            return Ok(verdict);
        }
        loop {
            inner.pending.accepted(&self.id, true);
            match self.notes.recv().await {
                Some(Note::Verdict(verdict)) => return Ok(*verdict),
                Some(Note::Unknown) => {
                    tracing::info!(request = %self.id, "the coordinator does not know this request: submitting it again");
                    if let Some(verdict) = self.submit_again(&message).await? {
                        return Ok(verdict);
                    }
                }
                None => return Err(ClientError::Ended),
            }
        }
    }
}

impl Waiting {
    /// Submits. A verdict that comes before the answer says that the request was accepted.
    async fn submit(&mut self, message: &bytes::Bytes) -> Result<Option<Verdict>, ClientError> {
        tokio::select! {
            biased;
            Some(Note::Verdict(verdict)) = self.notes.recv() => Ok(Some(*verdict)),
            submitted = self.host.inner.out.submit(message) => submitted.map(|()| None),
        }
    }

    /// Submits what was accepted before, until somebody has it: only the request's own deadline ends this.
    async fn submit_again(&mut self, message: &bytes::Bytes) -> Result<Option<Verdict>, ClientError> {
        let inner = self.host.inner.clone();
        loop {
            match self.submit(message).await {
                Ok(early) => return Ok(early),
                Err(ClientError::Refused(refusal)) => return Err(refusal.into()),
                Err(error) => tracing::warn!(request = %self.id, %error, "cannot submit again, will try once more"),
            }
            tokio::time::sleep(inner.config.timing.ask_again).await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.host.inner.pending.forget(&self.id);
        if self.answered {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (inner, request) = (self.host.inner.clone(), self.id);
            runtime.spawn(async move {
                let message = FromNode::Cancel { request, node: inner.node };
                if let Err(error) = inner.out.ask::<SubmitReply>(&message).await {
                    tracing::debug!(%request, %error, "cancellation did not arrive");
                }
            });
        }
    }
}
