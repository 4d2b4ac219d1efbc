//! Acceptances that are held back: the verdict of a request implies that it was accepted, so a verdict that comes soon
//! saves one message for each request.

use pvf_shared::{identity::ClientId, ids::RequestId, subjects::Subject};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// A request: another client may have chosen the same id.
type Key = (ClientId, RequestId);

/// Acceptances that are neither sent nor implied by a verdict. Each is in `due` until its time comes; only those that
/// are also in `to` are sent then.
#[derive(Default)]
pub(super) struct HeldAcceptances {
    due: VecDeque<(Instant, Key)>,
    to: HashMap<Key, Subject>,
}

impl HeldAcceptances {
    /// Holds the acceptance of a request back for `time`, the same for every request. After a re-submission only the
    /// latest reply subject is answered.
    pub(super) fn hold(&mut self, request: Key, to: Subject, time: Duration) {
        self.due.push_back((Instant::now() + time, request));
        self.to.insert(request, to);
    }

    /// Drops the acceptance of a request whose verdict is sent.
    pub(super) fn drop_for(&mut self, request: &Key) {
        self.to.remove(request);
    }

    /// Waits for the next acceptance that has been held back long enough. Cancel safe.
    pub(super) async fn due(&mut self) -> Subject {
        loop {
            let Some((at, request)) = self.due.front().copied() else { return std::future::pending().await };
            if self.to.contains_key(&request) {
                tokio::time::sleep_until(at).await;
            }
            self.due.pop_front();
            if let Some(to) = self.to.remove(&request) {
                return to;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::new_client;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_held_acceptance_is_sent_once_and_not_after_the_verdict() {
        let [first, again] = ["_INBOX.u.1", "_INBOX.u.2"].map(Subject::received);
        let client = new_client();
        let [judged, waiting, later] = [(); 3].map(|()| (client, RequestId::new()));
        let mut held = HeldAcceptances::default();
        held.hold(judged, first.clone(), Duration::ZERO);
        held.hold(waiting, first, Duration::ZERO);
        // A re-submission: the answer goes to the latest reply subject, once.
        held.hold(waiting, again.clone(), Duration::ZERO);
        held.hold(later, again.clone(), Duration::from_secs(3600));
        held.drop_for(&judged);
        assert_eq!(held.due().await, again);
        assert_eq!(held.due().now_or_never(), None);
        held.drop_for(&later);
        assert!(held.to.is_empty());
    }

    #[tokio::test]
    async fn the_verdict_of_another_client_does_not_stand_for_the_acceptance() {
        let [first, other] = ["_INBOX.u.1", "_INBOX.v.1"].map(Subject::received);
        let (id, [client, other_client]) = (RequestId::new(), [new_client(), new_client()]);
        let mut held = HeldAcceptances::default();
        held.hold((client, id), first.clone(), Duration::ZERO);
        held.hold((other_client, id), other, Duration::ZERO);
        held.drop_for(&(other_client, id));
        assert_eq!(held.due().await, first);
        assert!(held.due().now_or_never().is_none() && held.to.is_empty());
    }
}
