//! Clients that speak the protocol and do nothing else: they submit requests and count the verdicts.

use futures::StreamExt as _;
use pvf_shared::{
    blob::BlobRef,
    bus::{Bus as _, Subscription, nats::NatsBus},
    config::ProtocolTimeouts,
    identity::ClientId,
    ids::{BlobHash, CodeHash, FleetName, RequestId},
    priority::ExecuteKind,
    subjects::{self, Subject},
    units::MIB,
    verdict::Outcome,
    wire::{self, FromClient, ToClient, Work},
};
use pvf_testkit::fixtures;
use std::collections::HashSet;

/// A session of a client.
pub struct Client {
    bus: NatsBus,
    requests: Subject,
    verdicts: Subscription,
    /// Requests without a verdict.
    waiting: HashSet<RequestId>,
}

impl Client {
    /// Subscribes to the verdicts of a new session.
    pub async fn open(bus: NatsBus) -> Self {
        let (fleet, id) = (FleetName::default(), ClientId::new(bus.user()));
        let verdicts = bus.subscribe(&subjects::client_verdicts(&fleet, &id)).await.expect("a subscription");
        Self { bus, requests: subjects::client_requests(&fleet, &id), verdicts, waiting: HashSet::new() }
    }

    /// Submits this many requests, so many of them at once, until each has its verdict.
    pub async fn run(&mut self, requests: u64, in_flight: u64) {
        let mut left = requests;
        loop {
            while left > 0 && (self.waiting.len() as u64) < in_flight {
                self.submit().await;
                left -= 1;
            }
            if self.waiting.is_empty() {
                break;
            }
            self.take_verdict().await;
        }
    }

    async fn submit(&mut self) {
        let id = RequestId::new();
        // A PoV of its own, which the client would keep for the worker.
        let block_data = BlobRef::Held { hash: BlobHash::of(id.0.as_bytes()), len: MIB as u64 };
        let work = Work::Execute(Box::new(fixtures::execution(ExecuteKind::Backing, block_data)));
        let submission = fixtures::submission(id, CodeHash([7; 32]), work);
        let message = wire::encode(&FromClient::Submit(Box::new(submission)));
        self.waiting.insert(id);
        // The verdict stands for the acceptance, which is not waited for.
        let sent = self.bus.send_request(&self.requests, message, ProtocolTimeouts::default().ack).await;
        drop(sent.expect("the bus is there"));
    }

    async fn take_verdict(&mut self) {
        let message = self.verdicts.next().await.expect("the bus is there");
        let ToClient::Verdict(verdict) = wire::decode(&message.payload).expect("a verdict");
        assert!(matches!(verdict.outcome, Outcome::Valid(_)), "{:?}", verdict.outcome);
        assert!(self.waiting.remove(&verdict.request), "a verdict of a request that has none to come");
    }
}
