//! The side that holds the bytes.

use super::largest_chunk;
use crate::{
    bus::{BusError, SharedBus, Subscription},
    content::Content,
    subjects::Subject,
    units::MIB,
    wire::{self, Pull, PullReply},
};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

/// How much is handed to the bus before what was handed to it before must be written, bytes. There may be twice as much
/// in memory.
const HANDED_OVER: usize = 2 * MIB;

/// Answers requests for chunks of what `find` finds, until the subscription ends. It answers one after the other; the
/// answers that the bus has not written yet are at most a few MiB.
pub async fn serve(bus: SharedBus, mut requests: Subscription, find: impl Fn(&Content) -> Option<Bytes> + Send) {
    let mut outbox = Outbox::new(bus);
    while let Some(request) = requests.next().await {
        let Some(reply) = request.reply.filter(Subject::is_inbox) else {
            // A holder may publish to inboxes, and must not be made to publish elsewhere.
            tracing::debug!("pull: request without an inbox for the answer ignored");
            continue;
        };
        let answer = match wire::decode::<Pull>(&request.payload) {
            Ok(pull) => answer(&pull, find(&pull.content), outbox.largest_chunk()),
            Err(error) => PullReply::NotUnderstood(error.to_string()),
        };
        match &answer {
            PullReply::Chunk { .. } => {}
            PullReply::Missing | PullReply::OutOfRange { .. } | PullReply::NotUnderstood(_) => {
                tracing::debug!(?answer, "pull: request refused");
            }
        }
        outbox.send(&reply, wire::encode(&answer)).await;
    }
}

/// The answer to a request for content that is held, or not.
fn answer(pull: &Pull, held: Option<Bytes>, largest_chunk: usize) -> PullReply {
    let Some(held) = held else { return PullReply::Missing };
    let total = held.len() as u64;
    let Some(begin) = usize::try_from(pull.offset).ok().filter(|begin| *begin < held.len() || *begin == 0) else {
        return PullReply::OutOfRange { total };
    };
    let len = (pull.len as usize).min(largest_chunk).min(held.len() - begin);
    PullReply::Chunk { total, bytes: held.slice(begin..begin + len) }
}

/// Publishes answers, and waits for the bus before too many are on their way.
struct Outbox {
    bus: SharedBus,
    /// What was handed over since the last flush began, bytes.
    handed_over: usize,
    flush: Option<JoinHandle<Result<(), BusError>>>,
}

impl Outbox {
    fn new(bus: SharedBus) -> Self {
        Self { bus, handed_over: 0, flush: None }
    }

    fn largest_chunk(&self) -> usize {
        largest_chunk(self.bus.max_payload())
    }

    async fn send(&mut self, to: &Subject, answer: Bytes) {
        self.handed_over += answer.len();
        if let Err(error) = self.bus.publish(to, answer).await {
            tracing::debug!(%error, "pull: answer not sent");
        }
        if self.handed_over < HANDED_OVER {
            return;
        }
        self.handed_over = 0;
        if let Some(flush) = self.flush.take() {
            // Without a connection the flush takes its time-out, and so the answers stay bounded.
            if let Ok(Err(error)) = flush.await {
                tracing::debug!(%error, "pull: answers not written");
            }
        }
        let bus = self.bus.clone();
        self.flush = Some(tokio::spawn(async move { bus.flush().await }));
    }
}
