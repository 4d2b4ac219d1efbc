//! Messages of a client to the coordinator. Each is repeated until it is answered, so a coordinator may be replaced at
//! any time.

use super::{ClientConfig, ClientError};
use crate::{
    bus::{BusError, SharedBus},
    config::ProtocolTimeouts,
    ids::{FleetName, RequestId},
    retry::{self, Retryable as _},
    subjects,
    wire::{self, FromNode, Refusal, SubmitReply, WireMessage},
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// The coordinator of a fleet, as a client reaches it.
pub(super) struct Coordinator {
    bus: SharedBus,
    fleet: FleetName,
    timing: ProtocolTimeouts,
    /// How long a message is repeated while no coordinator answers.
    patience: Duration,
}

impl Coordinator {
    pub(super) fn new(bus: SharedBus, config: &ClientConfig) -> Self {
        Self { bus, fleet: config.fleet.clone(), timing: config.timing, patience: config.patience }
    }

    /// Interval of [`FromNode::Ask`].
    pub(super) fn ask_interval(&self) -> Duration {
        self.timing.ask_again
    }

    /// Sends a message and decodes its answer. The message is repeated while no coordinator answers, for as long as the
    /// client's patience lasts.
    pub(super) async fn ask<R: WireMessage>(&self, message: &FromNode) -> Result<R, ClientError> {
        self.ask_encoded(&wire::encode(message)).await
    }

    /// Submits an encoded request. An overloaded coordinator is asked again after the delay that it requests, plus up
    /// to half of that at random, without a bound: the request has a deadline.
    pub(super) async fn submit(&self, message: &Bytes) -> Result<(), ClientError> {
        loop {
            match self.ask_encoded::<SubmitReply>(message).await? {
                SubmitReply::Accepted => return Ok(()),
                SubmitReply::Refused(Refusal::Overloaded { what, retry_after }) => {
                    tracing::debug!(%what, ?retry_after, "the coordinator is overloaded, submitting again later");
                    tokio::time::sleep(retry_after + retry::jitter(retry_after / 2)).await;
                }
                SubmitReply::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// Submits a request that was accepted before. It is repeated until a coordinator accepts or refuses it: only the
    /// request's deadline ends this.
    pub(super) async fn resubmit(&self, request: RequestId, message: &Bytes) -> Result<(), ClientError> {
        (|| self.submit(message))
            .retry(retry::every(self.timing.ask_again))
            .when(|error| !matches!(error, ClientError::Refused(_)))
            .notify(|error, _| tracing::warn!(%request, %error, "cannot submit the request again, retrying"))
            .await
    }

    async fn ask_encoded<R: WireMessage>(&self, message: &Bytes) -> Result<R, ClientError> {
        let subject = subjects::from_node(&self.fleet);
        let give_up = Instant::now() + self.patience;
        let answer = (|| self.bus.request(&subject, message.clone(), self.timing.ack))
            .retry(retry::CLIENT_REQUEST)
            .when(|error| !matches!(error, BusError::TooLarge { .. }))
            .adjust(|_, delay| delay.filter(|delay| Instant::now() + *delay <= give_up))
            .notify(|error, _| tracing::debug!(%error, "no answer from the coordinator, retrying"))
            .await;
        match answer {
            Ok(answer) => decode_answer(&answer),
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
