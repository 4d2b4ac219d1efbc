//! Requests that wait for their verdict, and the one question for all of them: where is it?

use super::outbound::Outbound;
use crate::{
    bus::Subscription,
    ids::{NodeId, RequestId},
    wire::{self, AskReply, FromNode, ToNode, Verdict},
};
use futures::StreamExt as _;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

/// What a request that waits is told.
pub(super) enum Note {
    /// Its verdict.
    Verdict(Box<Verdict>),
    /// The coordinator knows nothing of it.
    Unknown,
}

struct Entry {
    notes: UnboundedSender<Note>,
    /// Since when a coordinator has it; absent: it is being submitted.
    accepted: Option<Instant>,
}

/// Who waits for what.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<RequestId, Entry>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait.
    pub(super) fn expect(&self, id: RequestId) -> UnboundedReceiver<Note> {
        let (notes, receiver) = unbounded_channel();
        self.lock().insert(id, Entry { notes, accepted: None });
        receiver
    }

    /// A coordinator has it, or (`false`) it is being submitted again.
    pub(super) fn accepted(&self, id: &RequestId, accepted: bool) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.accepted = accepted.then(Instant::now);
        }
    }

    /// Stops waiting.
    pub(super) fn forget(&self, id: &RequestId) {
        self.lock().remove(id);
    }

    fn tell(&self, id: &RequestId, note: Note) {
        // Nobody: a duplicate, or it was cancelled meanwhile.
        if let Some(entry) = self.lock().get(id) {
            let _ = entry.notes.send(note);
        }
    }

    fn longer_than(&self, time: Duration) -> Vec<RequestId> {
        let waits = |entry: &Entry| entry.accepted.is_some_and(|at| at.elapsed() >= time);
        self.lock().iter().filter(|(_, entry)| waits(entry)).map(|(id, _)| *id).collect()
    }
}

/// Hands verdicts to those who wait, until the bus ends.
pub(super) async fn listen(mut verdicts: Subscription, pending: Arc<Pending>) {
    while let Some(message) = verdicts.next().await {
        match wire::decode::<ToNode>(&message.payload) {
            Ok(ToNode::Verdict(verdict)) => pending.tell(&verdict.request.clone(), Note::Verdict(verdict)),
            Err(error) => tracing::warn!(%error, "message to this node is not understood"),
        }
    }
}

/// Asks again and again for verdicts that have not come: lost on the way, or their coordinator was replaced. Also
/// tells the coordinator that this node is still there.
pub(super) async fn keep_asking(node: NodeId, out: Arc<Outbound>, pending: Arc<Pending>) {
    let every = out.timing.ask_again;
    loop {
        tokio::time::sleep(every).await;
        let waiting = pending.longer_than(every);
        for requests in waiting.chunks(wire::MAX_ASKED) {
            let question = FromNode::Ask { node, requests: requests.to_vec() };
            match out.ask::<AskReply>(&question).await {
                Ok(AskReply { unknown }) => {
                    for id in unknown {
                        pending.accepted(&id, false);
                        pending.tell(&id, Note::Unknown);
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot ask for verdicts, will try again"),
            }
        }
    }
}
