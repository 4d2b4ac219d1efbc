//! The contract of [`Bus`](super::Bus), run here on the local bus and in the tests crate on a real NATS.

use super::{Bus, BusError, local::LocalBus};
use crate::subjects::Subject;
use bytes::Bytes;
use futures::StreamExt as _;
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn requests_are_answered_in_order() {
    let bus = Arc::new(LocalBus::new());
    let subject = Subject::for_test("x");
    let mut listener = bus.subscribe(&subject).await.unwrap();
    let server = tokio::spawn({
        let bus = bus.clone();
        async move {
            for n in 0..3u8 {
                let message = listener.next().await.unwrap();
                assert_eq!(message.payload[..], [n]);
                bus.publish(&message.reply.unwrap(), message.payload).await.unwrap();
            }
        }
    });
    for n in 0..3u8 {
        let answer = bus.request(&subject, Bytes::from(vec![n]), Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer[..], [n]);
    }
    server.await.unwrap();
}

#[tokio::test]
async fn nobody_there_and_too_large() {
    let bus = LocalBus::with_max_payload(4);
    let subject = Subject::for_test("x");
    let one = Duration::from_secs(1);
    let error = bus.request(&subject, Bytes::new(), one).await.unwrap_err();
    assert!(matches!(error, BusError::NoResponders(_)));
    let error = bus.publish(&subject, Bytes::from_static(b"12345")).await.unwrap_err();
    assert!(matches!(error, BusError::TooLarge { len: 5, limit: 4 }));
    drop(bus.subscribe(&subject).await.unwrap());
    let error = bus.request(&subject, Bytes::new(), one).await.unwrap_err();
    assert!(matches!(error, BusError::NoResponders(_)), "a dropped listener is nobody");
}
