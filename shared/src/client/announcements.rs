//! Announcements of coordinators that become active. They know nothing: the client tells them its active leaves, and
//! every request that waits submits itself again. Without an announcement the client's questions find out the same.

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
    /// Follows them until the bus ends.
    pub(super) async fn follow(self, mut messages: Subscription) {
        while let Some(message) = messages.next().await {
            if let Err(error) = wire::decode::<Announcement>(&message.payload) {
                tracing::warn!(%error, "ignoring a malformed announcement");
                continue;
            }
            let Some(term) = wire::term_of(&message.payload).filter(|term| self.terms.obey(Some(*term))) else {
                continue;
            };
            // A coordinator announces itself more than once.
            if *self.announced.borrow() >= term.token.0 {
                continue;
            }
            tracing::info!(%term, "another coordinator is active: submitting again what waits");
            tokio::time::sleep(retry::jitter(SPREAD)).await;
            // Before the requests: a request whose leaf is not active would expire.
            self.repeat_leaves().await;
            self.announced.send_replace(term.token.0);
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
