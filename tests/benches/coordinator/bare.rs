//! Messages from one connection to another with nothing behind them.

use futures::StreamExt as _;
use pvf_shared::{
    Bytes,
    bus::{Bus as _, Subscription, nats::NatsBus},
    subjects::Subject,
};

/// As long as the subjects of the fleet are in the mean.
const SUBJECT: &str = "pvf.v4.bench.default.00000000000000000000000000000000.bare";

/// Two connections.
pub struct Bare {
    sender: NatsBus,
    received: Subscription,
    subject: Subject,
    /// It must live as long as its subscription.
    _receiver: NatsBus,
}

/// What is sent.
pub struct Messages {
    /// Number of messages.
    pub count: u64,
    /// Length of each, bytes.
    pub len: usize,
    /// Those that are under way at once.
    pub in_flight: u64,
}

impl Bare {
    pub async fn open(sender: NatsBus, receiver: NatsBus) -> Self {
        let subject = Subject::received(SUBJECT);
        let received = receiver.subscribe(&subject).await.expect("a subscription");
        Self { sender, received, subject, _receiver: receiver }
    }

    /// Sends messages until all have arrived.
    pub async fn send(&mut self, messages: &Messages) {
        let payload = Bytes::from(vec![7; messages.len]);
        let (mut sent, mut received) = (0, 0);
        while received < messages.count {
            while sent < messages.count && sent - received < messages.in_flight {
                self.sender.publish(&self.subject, payload.clone()).await.expect("the bus is there");
                sent += 1;
            }
            self.received.next().await.expect("the bus is there");
            received += 1;
        }
    }
}
