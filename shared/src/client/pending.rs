//! Requests that wait for their verdict.

use crate::{
    bus::Subscription,
    ids::RequestId,
    wire::{self, ToNode, Verdict},
};
use futures::StreamExt as _;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Who waits for what.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<RequestId, oneshot::Sender<Verdict>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, oneshot::Sender<Verdict>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait.
    pub(super) fn expect(&self, id: RequestId) -> oneshot::Receiver<Verdict> {
        let (tx, rx) = oneshot::channel();
        self.lock().insert(id, tx);
        rx
    }

    /// Stops waiting.
    pub(super) fn forget(&self, id: &RequestId) {
        self.lock().remove(id);
    }

    fn deliver(&self, verdict: Verdict) {
        // Nobody: a duplicate, or it was cancelled meanwhile.
        if let Some(waiting) = self.lock().remove(&verdict.request) {
            let _ = waiting.send(verdict);
        }
    }
}

/// Hands verdicts to those who wait, until the bus ends.
pub(super) async fn listen(mut verdicts: Subscription, pending: Arc<Pending>) {
    while let Some(message) = verdicts.next().await {
        match wire::decode::<ToNode>(&message.payload) {
            Ok(ToNode::Verdict(verdict)) => pending.deliver(*verdict),
            Err(error) => tracing::warn!(%error, "message to this node is not understood"),
        }
    }
}
