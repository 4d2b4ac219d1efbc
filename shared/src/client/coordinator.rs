//! Messages of a client to the coordinator. Each is repeated until it is answered, so a coordinator may be replaced at
//! any time. Submissions, which are repeated for longer, are repeated by `acceptance`.

use super::{ClientConfig, ClientError};
use crate::{
    bus::{BusError, SharedBus},
    config::ProtocolTimeouts,
    identity::ClientId,
    ids::FleetName,
    retry::{self, Retryable as _},
    subjects::{self, Subject},
    terms::Terms,
    wire::{self, FleetStatus, FromClient, StatusQuestion, SubmitReply, WireMessage},
};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// State of a fleet, with all workers or only those of one machine. Unlike a [`ValidationHost`](super::ValidationHost)
/// this needs no permission but to ask: any role has it.
///
/// # Errors
/// No coordinator answers within the patience of the configuration, or the answer cannot be decoded.
pub async fn fleet_status(
    bus: SharedBus,
    config: &ClientConfig,
    host: Option<&str>,
) -> Result<FleetStatus, ClientError> {
    let client = ClientId::new(bus.user());
    Coordinator::new(bus, client, config, Arc::default())
        .status(&StatusQuestion { host: host.map(str::to_owned) })
        .await
}

/// The coordinator of a fleet, as a client reaches it.
pub(super) struct Coordinator {
    bus: SharedBus,
    fleet: FleetName,
    /// Subject of this client's requests.
    requests: Subject,
    timing: ProtocolTimeouts,
    /// How long a message is repeated while no coordinator answers.
    patience: Duration,
    /// Whether a coordinator has ever answered.
    heard: AtomicBool,
    /// Which coordinator is obeyed.
    terms: Arc<Terms>,
}

impl Coordinator {
    pub(super) fn new(bus: SharedBus, client: ClientId, config: &ClientConfig, terms: Arc<Terms>) -> Self {
        let requests = subjects::client_requests(&config.fleet, &client);
        let (fleet, timing, patience) = (config.fleet.clone(), config.timing, config.patience);
        Self { bus, fleet, requests, timing, patience, heard: AtomicBool::new(false), terms }
    }

    /// Interval of [`FromClient::Ask`].
    pub(super) fn ask_interval(&self) -> Duration {
        self.timing.ask_again
    }

    /// How long one message waits for its answer.
    pub(super) fn ack(&self) -> Duration {
        self.timing.ack
    }

    /// Sends a message and decodes its answer. The message is repeated while no coordinator answers, for as long as the
    /// client's patience lasts.
    pub(super) async fn ask<R: WireMessage>(&self, message: &FromClient) -> Result<R, ClientError> {
        self.ask_encoded(&self.requests, &wire::encode(message)).await
    }

    /// The state of the fleet, asked for as often as a message.
    pub(super) async fn status(&self, question: &StatusQuestion) -> Result<FleetStatus, ClientError> {
        self.ask_encoded(&subjects::status(&self.fleet), &wire::encode(question)).await
    }

    /// Sends an encoded message once, waits this long for its answer, and decodes that.
    pub(super) async fn ask_once<R: WireMessage>(&self, message: &Bytes, wait: Duration) -> Result<R, ClientError> {
        self.ask_once_at(&self.requests, message, wait).await
    }

    /// The same with a message on this subject.
    pub(super) async fn ask_once_at<R: WireMessage>(
        &self,
        subject: &Subject,
        message: &Bytes,
        wait: Duration,
    ) -> Result<R, ClientError> {
        self.decoded(self.exchange(subject, message.clone(), wait).await)
    }

    /// Whether a coordinator has ever answered this client.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// One message and its answer. The answer of a coordinator that was replaced is none.
    async fn exchange(&self, to: &Subject, message: Bytes, wait: Duration) -> Result<Bytes, BusError> {
        let answer = self.bus.request(to, message, wait).await?;
        if self.terms.obey_message(&answer) { Ok(answer) } else { Err(BusError::TimedOut(to.to_string())) }
    }

    pub(super) async fn ask_encoded<R: WireMessage>(
        &self,
        subject: &Subject,
        message: &Bytes,
    ) -> Result<R, ClientError> {
        let give_up = Instant::now() + self.patience;
        let answer = (|| self.exchange(subject, message.clone(), self.timing.ack))
            .retry(retry::CLIENT_REQUEST)
            .when(|error| !matches!(error, BusError::TooLarge { .. }))
            .adjust(|_, delay| delay.filter(|delay| Instant::now() + *delay <= give_up))
            .notify(|error, _| tracing::debug!(%error, "no answer from the coordinator, retrying"))
            .await;
        self.decoded(answer)
    }

    fn decoded<R: WireMessage>(&self, answer: Result<Bytes, BusError>) -> Result<R, ClientError> {
        match answer {
            Ok(answer) => {
                self.heard.store(true, Ordering::Relaxed);
                decode_answer(&answer)
            }
            Err(BusError::NoResponders(_)) => Err(ClientError::NoCoordinator { fleet: self.fleet.to_string() }),
            Err(error) => Err(error.into()),
        }
    }
}

/// Decodes the expected answer. A coordinator that cannot decode a message answers with a refusal instead, whatever the
/// message is.
fn decode_answer<R: WireMessage>(bytes: &[u8]) -> Result<R, ClientError> {
    match wire::decode::<R>(bytes) {
        Ok(answer) => Ok(answer),
        Err(error) => match wire::decode::<SubmitReply>(bytes) {
            Ok(SubmitReply::Refused(refusal)) => Err(refusal.into()),
            _ => Err(error.into()),
        },
    }
}
