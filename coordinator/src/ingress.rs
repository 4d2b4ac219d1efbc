//! Bytes off the bus become events. A submission's code is brought into the store and checked against its
//! hash first, so that the scheduler only ever sees code that is there and is what it says.

use crate::scheduler::{Event, check};
use futures::StreamExt as _;
use pvf_shared::{
    bus::{Message, SharedBus, Subscription},
    ids::{CodeHash, FleetName},
    job::BlobRef,
    store::{BlobStore, StoreError},
    subjects::Subject,
    wire::{self, FromNode, FromWorker, MAX_ASKED, Refusal, Submission, SubmitReply, Work, WorkerReply},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc::UnboundedSender};

/// Codes that are known to be in the store; more than these are looked up again.
const MAX_KNOWN_CODES: usize = 16_384;

/// A code that was seen in the store longer ago is looked for again: somebody may have tidied up there.
const SEEN_LATELY: Duration = Duration::from_secs(600);
/// Largest code or PoV that may be left in the store, bytes.
const MAX_REFERENCED: u64 = 256 << 20;
/// Bytes of messages that may wait for the store at once, KiB.
const MAX_ADMITTING_KIB: usize = 512 * 1024;

/// Codes that are known to be in the store.
#[derive(Clone, Default)]
pub(crate) struct KnownCode(Arc<Mutex<HashMap<CodeHash, (BlobRef, Instant)>>>);

impl KnownCode {
    /// The code's blob, and whether that was seen lately.
    fn get(&self, code: &CodeHash) -> Option<(BlobRef, bool)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(code).map(|(blob, seen)| (blob.clone(), seen.elapsed() < SEEN_LATELY))
    }

    fn insert(&self, code: CodeHash, blob: BlobRef) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN_CODES {
            known.clear();
        }
        known.insert(code, (blob, Instant::now()));
    }

    /// It is not there after all.
    pub(crate) fn forget(&self, code: &CodeHash) -> Option<BlobRef> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(code).map(|(blob, _)| blob)
    }
}

/// What turns messages into events.
#[derive(Clone)]
pub(crate) struct Ingress {
    pub(crate) bus: SharedBus,
    pub(crate) store: BlobStore,
    pub(crate) fleet: FleetName,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) known_code: KnownCode,
    /// Room for messages that wait for the store, KiB.
    pub(crate) admitting: Arc<Semaphore>,
    /// Bytes that the scheduler's requests hold.
    pub(crate) held_bytes: Arc<AtomicU64>,
    /// Above this many, block data is moved into the store.
    pub(crate) inline_budget: u64,
}

impl Ingress {
    /// Room for messages that wait for the store.
    pub(crate) fn room() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_ADMITTING_KIB))
    }

    /// Reads what nodes send, until the bus ends.
    pub(crate) async fn nodes(self, mut messages: Subscription) {
        while let Some(Message { payload, reply }) = messages.next().await {
            let event = match wire::decode::<FromNode>(&payload) {
                Ok(FromNode::Submit(submission)) => {
                    let kib = u32::try_from(payload.len() / 1024 + 1).unwrap_or(u32::MAX);
                    match self.admitting.clone().try_acquire_many_owned(kib) {
                        Ok(room) => drop(tokio::spawn(self.clone().admit(submission, reply, room))),
                        Err(_) => {
                            let what = format!("requests that wait for the store (limit {MAX_ADMITTING_KIB} KiB)");
                            let refusal = Refusal::Overloaded { what, retry_after: Duration::from_secs(1) };
                            self.answer(reply, wire::encode(&SubmitReply::Refused(refusal))).await;
                        }
                    }
                    continue;
                }
                Ok(FromNode::Ask { node, mut requests }) => {
                    requests.truncate(MAX_ASKED);
                    Event::Ask { node, requests, reply }
                }
                Ok(FromNode::Cancel { request, node }) => Event::Cancel { request, node, reply },
                Ok(FromNode::Leaves { node, update }) => Event::Leaves { node, update, reply },
                Ok(FromNode::Status { host }) => Event::Status { host, reply },
                Err(error) => {
                    tracing::warn!(%error, fleet = %self.fleet, "message from a node is not understood");
                    let answer = SubmitReply::Refused(Refusal::Malformed(error.to_string()));
                    self.answer(reply, wire::encode(&answer)).await;
                    continue;
                }
            };
            let _ = self.events.send(event);
        }
    }

    /// Reads what workers send, until the bus ends.
    pub(crate) async fn workers(self, mut messages: Subscription) {
        while let Some(Message { payload, reply }) = messages.next().await {
            let event = match wire::decode::<FromWorker>(&payload) {
                Ok(FromWorker::Hello(hello)) => Event::Hello { hello, reply },
                Ok(FromWorker::Heartbeat(heartbeat)) => Event::Heartbeat { heartbeat, reply },
                Ok(FromWorker::Report(report)) => Event::Report { report, reply },
                Ok(FromWorker::Goodbye { worker }) => Event::Goodbye { worker, reply },
                Err(error) => {
                    tracing::warn!(%error, fleet = %self.fleet, "message from a worker is not understood");
                    self.answer(reply, wire::encode(&WorkerReply::Refused(error.to_string()))).await;
                    continue;
                }
            };
            let _ = self.events.send(event);
        }
    }

    async fn answer(&self, reply: Option<Subject>, bytes: bytes::Bytes) {
        if let Some(reply) = reply
            && let Err(error) = self.bus.publish(&reply, bytes).await
        {
            tracing::warn!(%error, "an answer could not be sent");
        }
    }

    async fn admit(self, mut submission: Box<Submission>, reply: Option<Subject>, _room: OwnedSemaphorePermit) {
        match self.secure(&mut submission).await {
            Ok(()) => {
                let identity = submission.validation_key();
                let _ = self.events.send(Event::Submit { submission, identity, reply });
            }
            Err(refusal) => {
                tracing::info!(request = %submission.id, node = %submission.node, %refusal, "request refused");
                self.answer(reply, wire::encode(&SubmitReply::Refused(refusal))).await;
            }
        }
    }

    async fn secure(&self, submission: &mut Submission) -> Result<(), Refusal> {
        check(submission)?;
        let code = &mut submission.code;
        let known = match self.known_code.get(&code.hash) {
            Some((blob, true)) => Some((blob, true)),
            Some((blob, false)) if self.must_have("code", &blob).await.is_ok() => Some((blob, false)),
            _ => None,
        };
        let (blob, lately) = match known {
            Some(known) => known,
            None => (self.secure_code(code.hash, &code.blob).await?, false),
        };
        if !lately {
            self.known_code.insert(code.hash, blob.clone());
        }
        code.blob = blob;
        if let Work::Execute(execute) = &mut submission.work {
            self.must_have("block data", &execute.block_data).await?;
            let BlobRef::Inline(bytes) = &execute.block_data else { return Ok(()) };
            let held = self.held_bytes.load(Ordering::Relaxed);
            if held.saturating_add(bytes.len() as u64) > self.inline_budget {
                // The queues hold enough: from here on inputs wait in the store.
                execute.block_data = self.store.put_blob(bytes.clone()).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }

    async fn secure_code(&self, claimed: CodeHash, blob: &BlobRef) -> Result<BlobRef, Refusal> {
        self.must_have("code", blob).await?;
        let bytes = self.store.fetch(blob).await.map_err(unavailable)?;
        let actual = CodeHash::of(&bytes);
        if actual != claimed {
            return Err(Refusal::CodeHash { claimed, actual });
        }
        match blob {
            BlobRef::Inline(_) => self.store.put_blob(bytes).await.map_err(unavailable),
            BlobRef::Stored { .. } => Ok(blob.clone()),
        }
    }

    async fn must_have(&self, field: &str, blob: &BlobRef) -> Result<(), Refusal> {
        let BlobRef::Stored { hash, len } = blob else { return Ok(()) };
        if *len > MAX_REFERENCED {
            let (field, unit) = (field.into(), "bytes".into());
            return Err(Refusal::OutOfRange { field, value: *len, min: 0, max: MAX_REFERENCED, unit });
        }
        if self.store.has_blob(hash, *len).await.map_err(unavailable)? {
            return Ok(());
        }
        Err(Refusal::BlobMissing { field: field.into(), blob: hash.to_string(), len: *len })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn unavailable(error: StoreError) -> Refusal {
    tracing::error!(%error, "the store cannot be used");
    Refusal::StoreUnavailable(error.to_string())
}
