//! Announcements of coordinators that become active. They know nothing: the client tells them its active leaves, and
//! every request that waits submits itself again. Where an announcement is lost, the first message of the new
//! coordinator has the same effect.

use super::{coordinator::Coordinator, leaves::Leaves};
use crate::{
    bus::Subscription,
    retry,
    terms::Terms,
    wire::{self, Announcement, FromClient, SubmitReply},
};
use futures::StreamExt as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Clients spread what they say to a new coordinator over this time.
const SPREAD: Duration = Duration::from_millis(50);

/// Follows announcements.
pub(super) struct Announcements {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) leaves: Arc<Leaves>,
    pub(super) terms: Arc<Terms>,
    /// The highest token that was announced, for the requests.
    pub(super) announced: Arc<watch::Sender<u64>>,
}

impl Announcements {
    /// Follows them until the bus ends. An announcement may be lost: then the first answer or verdict of the new
    /// coordinator stands for it.
    pub(super) async fn follow(self, mut messages: Subscription) {
        loop {
            let (term, is_announced) = tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else { return };
                    if let Err(error) = wire::decode::<Announcement>(&message.payload) {
                        tracing::warn!(%error, "ignoring a malformed announcement");
                        continue;
                    }
                    match wire::term_of(&message.payload).filter(|term| self.terms.obey(Some(*term))) {
                        Some(term) => (term.token, true),
                        None => continue,
                    }
                }
                token = self.terms.raised() => (token, false),
            };
            let before = *self.announced.borrow();
            // A coordinator announces itself more than once.
            if before >= term.0 {
                continue;
            }
            if before == 0 && !is_announced {
                // The first coordinator that this client hears of: nothing was told to one before.
                self.announced.send_if_modified(|announced| {
                    *announced = term.0;
                    false
                });
                continue;
            }
            tracing::info!(token = term.0, "another coordinator is active: submitting again what waits");
            tokio::time::sleep(retry::jitter(SPREAD)).await;
            // Before the requests: a request whose leaf is not active would expire.
            self.repeat_leaves().await;
            self.announced.send_replace(term.0);
        }
    }

    async fn repeat_leaves(&self) {
        for update in self.leaves.repetition() {
            let message = wire::encode(&FromClient::Leaves { update });
            match self.coordinator.ask_once(&message, self.coordinator.ack()).await {
                Ok(SubmitReply::Accepted) => {}
                Ok(SubmitReply::Refused(refusal)) => return tracing::warn!(%refusal, "the active leaves were refused"),
                Err(error) => return tracing::warn!(%error, "the active leaves could not be told"),
            }
        }
    }
}

/// Waits for the next announcement, and a little longer at random.
pub(super) async fn next(announced: &mut watch::Receiver<u64>) {
    match announced.changed().await {
        Ok(()) => tokio::time::sleep(retry::jitter(SPREAD)).await,
        // Without a task that follows announcements there is none.
        Err(_) => std::future::pending().await,
    }
}
