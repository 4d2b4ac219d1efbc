//! What leaves a node: messages to the coordinator, and inputs that are too large for the bus.

use super::ClientError;
use crate::{
    bus::{BusError, SharedBus},
    config::{ENVELOPE_RESERVE, Timing},
    ids::{CodeHash, FleetName},
    job::BlobRef,
    store::BlobStore,
    subjects,
    wire::{self, CodeRef, FromNode, Refusal, Submission, SubmitReply, WireMessage, Work},
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How often a result is tried to be fetched.
const FETCHES: u32 = 3;

/// A code that was left in the store longer ago is looked for again: somebody may have tidied up there.
const LEFT_LATELY: Duration = Duration::from_secs(600);
/// Codes that are remembered to be in the store.
const MAX_LEFT: usize = 1024;

/// Codes that this node left in the store: neither their hash nor the store is asked again for each request.
#[derive(Default)]
pub(super) struct Left(Mutex<HashMap<CodeHash, (BlobRef, Instant)>>);

impl Left {
    fn get(&self, code: &CodeHash) -> Option<BlobRef> {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(code).filter(|(_, at)| at.elapsed() < LEFT_LATELY).map(|(blob, _)| blob.clone())
    }

    fn note(&self, code: CodeHash, blob: BlobRef) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= MAX_LEFT {
            left.clear();
        }
        left.insert(code, (blob, Instant::now()));
    }

    /// It is not there after all; whether it was thought to be.
    pub(super) fn forget(&self, code: &CodeHash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(code).is_some()
    }
}

/// The way out of a node.
pub(super) struct Outbound {
    pub(super) left: Left,
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
            submission.code.blob = self.code_to_store(&submission.code, room).await?;
            code = 0;
        }
        let message = wire::encode(&FromNode::Submit(Box::new(submission)));
        if message.len() > limit {
            let len = (message.len() - code - data) as u64;
            return Err(ClientError::TooLarge { field: "parent head and parameters", len, limit: limit as u64 });
        }
        Ok(message)
    }

    async fn code_to_store(&self, code: &CodeRef, room: usize) -> Result<BlobRef, ClientError> {
        if let Some(blob) = self.left.get(&code.hash) {
            return Ok(blob);
        }
        let blob = self.to_store("code", &code.blob, room).await?;
        self.left.note(code.hash, blob.clone());
        Ok(blob)
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
