//! What leaves a node: messages to the coordinator, and inputs that are too large for the bus.

use super::ClientError;
use crate::{
    bus::{BusError, SharedBus},
    config::{ENVELOPE_RESERVE, Timing},
    ids::FleetName,
    job::BlobRef,
    store::BlobStore,
    subjects,
    wire::{self, FromNode, Refusal, Submission, SubmitReply, WireMessage, Work},
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// How often a result is tried to be fetched.
const FETCHES: u32 = 3;

/// The way out of a node.
pub(super) struct Outbound {
    pub(super) bus: SharedBus,
    pub(super) store: Option<BlobStore>,
    pub(super) fleet: FleetName,
    pub(super) timing: Timing,
    pub(super) patience: Duration,
}

impl Outbound {
    /// Sends a message to the coordinator and reads its answer; looks for a coordinator for as long as the
    /// client's patience lasts.
    pub(super) async fn ask<R: WireMessage>(&self, message: &FromNode) -> Result<R, ClientError> {
        self.ask_bytes(wire::encode(message)).await
    }

    async fn ask_bytes<R: WireMessage>(&self, bytes: Bytes) -> Result<R, ClientError> {
        let subject = subjects::from_node(&self.fleet);
        let give_up = Instant::now() + self.patience;
        let mut pause = Duration::from_millis(20);
        loop {
            match self.bus.request(&subject, bytes.clone(), self.timing.ack).await {
                Ok(answer) => return answer_of(&answer),
                Err(error @ BusError::TooLarge { .. }) => return Err(error.into()),
                Err(error) if Instant::now() + pause > give_up => {
                    return Err(match error {
                        BusError::NoResponders(_) => ClientError::NoCoordinator { fleet: self.fleet.to_string() },
                        other => other.into(),
                    });
                }
                Err(error) => tracing::debug!(%error, "no answer from the coordinator, trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Submits; an overloaded coordinator is asked again when it said so, without limit: the caller has a
    /// deadline.
    pub(super) async fn submit(&self, message: &Bytes) -> Result<(), ClientError> {
        loop {
            match self.ask_bytes::<SubmitReply>(message.clone()).await? {
                SubmitReply::Accepted => return Ok(()),
                SubmitReply::Refused(Refusal::Overloaded { what, retry_after }) => {
                    tracing::debug!(%what, ?retry_after, "the coordinator is overloaded");
                    tokio::time::sleep(retry_after + jitter(retry_after)).await;
                }
                SubmitReply::Refused(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// Moves what does not fit a bus message into the store, the block data first, and encodes.
    pub(super) async fn fit(&self, mut submission: Submission) -> Result<Bytes, ClientError> {
        let limit = self.bus.max_payload();
        let room = limit.saturating_sub(ENVELOPE_RESERVE);
        let (mut code, mut data) = (submission.code.blob.inline_len(), 0);
        if let Work::Execute(execute) = &mut submission.work {
            data = execute.block_data.inline_len();
            // The larger one goes first; the other only if it still does not fit.
            if data > room || (code + data > room && data >= code) {
                execute.block_data = self.to_store("block data", &execute.block_data, room).await?;
                data = 0;
            }
        }
        if code + data > room {
            submission.code.blob = self.to_store("code", &submission.code.blob, room).await?;
            code = 0;
        }
        let message = wire::encode(&FromNode::Submit(Box::new(submission)));
        if message.len() > limit {
            let len = (message.len() - code - data) as u64;
            return Err(ClientError::TooLarge { field: "parent head and parameters", len, limit: limit as u64 });
        }
        Ok(message)
    }

    async fn to_store(&self, field: &'static str, blob: &BlobRef, room: usize) -> Result<BlobRef, ClientError> {
        let BlobRef::Inline(bytes) = blob else { return Ok(blob.clone()) };
        match &self.store {
            Some(store) => Ok(store.put_blob(bytes.clone()).await?),
            None => Err(ClientError::TooLarge { field, len: bytes.len() as u64, limit: room as u64 }),
        }
    }

    /// The bytes of a result. A store that does not answer is asked again.
    pub(super) async fn fetch(&self, blob: &BlobRef) -> Result<Bytes, ClientError> {
        let (BlobRef::Stored { len, .. }, store) = (blob, &self.store) else {
            let BlobRef::Inline(bytes) = blob else { unreachable!("seen above") };
            return Ok(bytes.clone());
        };
        let limit = self.bus.max_payload() as u64;
        let Some(store) = store else { return Err(ClientError::TooLarge { field: "result", len: *len, limit }) };
        let mut tries = 0;
        loop {
            tries += 1;
            match store.fetch(blob).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) if tries == FETCHES => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "a result cannot be fetched, trying again"),
            }
            tokio::time::sleep(Duration::from_millis(200) * tries).await;
        }
    }
}

/// The expected answer, or the refusal that a coordinator gives to whatever it does not understand.
fn answer_of<R: WireMessage>(bytes: &[u8]) -> Result<R, ClientError> {
    match wire::decode::<R>(bytes) {
        Ok(answer) => Ok(answer),
        Err(error) => match wire::decode::<SubmitReply>(bytes) {
            Ok(SubmitReply::Refused(refusal)) => Err(refusal.into()),
            _ => Err(error.into()),
        },
    }
}

/// Up to half of `base`, from the clock: enough that clients do not come back together.
fn jitter(base: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    base.mul_f64(f64::from(nanos % 1000) / 2000.0)
}
