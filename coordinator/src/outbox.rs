//! The queue of everything that the coordinator publishes without waiting for an answer. The publisher is
//! [`crate::outbound`]; the effects of the scheduler and the refusals of [`crate::inbound`] both come through here.

use pvf_scheduler::Answer;
use pvf_shared::{
    Bytes,
    identity::ClientId,
    ids::RequestId,
    subjects::Subject,
    wire::{Announcement, Verdict},
};
use std::sync::Arc;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};

/// A message that is not answered.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// The answer to a bus request.
    Answer(Subject, Box<Answer>),
    /// The acceptance of a client's request. It may be held back, because a verdict implies it.
    Accepted(Subject, (ClientId, RequestId)),
    /// A verdict for a client.
    Verdict(ClientId, Arc<Verdict>),
    /// The refusal of a program of an older version, in its encoding.
    RefusedOlder(Subject, Bytes),
    /// The announcement that this coordinator is active.
    Announcement(Box<Announcement>),
    /// Nothing to send: what was queued before has been published.
    Mark(oneshot::Sender<()>),
}

/// Puts messages into the queue. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(UnboundedSender<Outgoing>);

impl Outbox {
    /// The queue: the end to write to, and the end that the publisher reads.
    pub(crate) fn open() -> (Self, UnboundedReceiver<Outgoing>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Queues the answer to a bus request.
    pub(crate) fn answer(&self, to: Subject, answer: Answer) {
        self.push(match answer {
            Answer::Accepted { client, request } => Outgoing::Accepted(to, (client, request)),
            answer => Outgoing::Answer(to, Box::new(answer)),
        });
    }

    /// Queues a verdict.
    pub(crate) fn verdict(&self, to: ClientId, verdict: Arc<Verdict>) {
        self.push(Outgoing::Verdict(to, verdict));
    }

    /// Queues the refusal of a program of an older version of the protocol.
    pub(crate) fn refuse_older(&self, to: Subject, refusal: Bytes) {
        self.push(Outgoing::RefusedOlder(to, refusal));
    }

    /// Queues an announcement.
    pub(crate) fn announce(&self, announcement: Announcement) {
        self.push(Outgoing::Announcement(Box::new(announcement)));
    }

    /// Completes when everything that is queued now has been published, or nothing is any more.
    pub(crate) async fn published(&self) {
        let (mark, reached) = oneshot::channel();
        self.push(Outgoing::Mark(mark));
        let _ = reached.await;
    }

    fn push(&self, message: Outgoing) {
        // Without a publisher the coordinator is ending, and nothing is to be sent any more.
        let _ = self.0.send(message);
    }
}
