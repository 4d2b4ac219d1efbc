//! The contract of [`Bus`](super::Bus), to be checked on every implementation: here on the local bus, in the tests
//! crate (cargo feature `conformance`) on a real NATS.

use super::{BusError, SharedBus};
use crate::{ids::FleetName, subjects};
use bytes::Bytes;
use futures::StreamExt as _;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// Checks the whole contract on two connections to one fresh bus.
///
/// # Panics
/// If the contract is broken.
pub async fn check(asks: SharedBus, serves: SharedBus) {
    let subject = subjects::from_node(&FleetName::default());
    let nobody = asks.request(&subject, Bytes::new(), SOON).await;
    assert!(matches!(nobody, Err(BusError::NoResponders(_))), "nobody listens yet: {nobody:?}");

    // Whoever has subscribed hears what another connection sends from then on, in order.
    let mut listener = serves.subscribe(&subject).await.expect("a subscription");
    let server = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..3 {
            let message = listener.next().await.expect("a message");
            heard.push(message.payload[0]);
            if let Some(reply) = message.reply {
                serves.publish(&reply, message.payload).await.expect("an answer");
            }
        }
        heard
    });
    for n in 0..2u8 {
        let answer = asks.request(&subject, Bytes::from(vec![n]), SOON).await.expect("an answer");
        assert_eq!(answer[..], [n]);
    }
    asks.publish(&subject, Bytes::from_static(&[2])).await.expect("published");
    assert_eq!(server.await.expect("the server ends"), [0, 1, 2]);

    let limit = asks.max_payload();
    let large = Bytes::from(vec![0; limit + 1]);
    for refused in [asks.publish(&subject, large.clone()).await, asks.request(&subject, large, SOON).await.map(drop)] {
        assert!(matches!(refused, Err(BusError::TooLarge { len, limit: l }) if len == limit + 1 && l == limit));
    }
    asks.flush().await.expect("flushed");
    assert!(asks.is_connected());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::local::LocalBus;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_local_bus_keeps_the_contract() {
        let bus = Arc::new(LocalBus::with_max_payload(4096));
        check(bus.clone(), bus.clone()).await;
        // The server's listener is gone with it.
        let subject = subjects::from_node(&FleetName::default());
        let nobody = super::super::Bus::request(&*bus, &subject, Bytes::new(), SOON).await;
        assert!(matches!(nobody, Err(BusError::NoResponders(_))), "a dropped listener is nobody");
    }
}
