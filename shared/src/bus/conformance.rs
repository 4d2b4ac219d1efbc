//! Conformance test for implementations of [`Bus`](super::Bus). It runs here on the local bus, and in the tests crate
//! (feature `conformance`) on a real NATS server.

use super::{BusError, SharedBus};
use crate::{
    identity::ClientId,
    ids::FleetName,
    subjects::{self, Subject},
    traces::{self, TraceContext},
};
use bytes::Bytes;
use futures::StreamExt as _;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Checks the whole contract on two connections to one unused bus.
///
/// # Panics
/// Panics if an implementation breaks the contract.
pub async fn check(client: SharedBus, server: SharedBus) {
    let subject = subjects::status(&FleetName::default());
    let unanswered = client.request(&subject, Bytes::new(), TIMEOUT).await;
    assert!(matches!(unanswered, Err(BusError::NoResponders(_))), "no subscriber yet: {unanswered:?}");

    // A subscriber receives in order what another connection sends after the subscription.
    let mut listener = server.subscribe(&subject).await.expect("a subscription");
    let answers = server.clone();
    let responder = tokio::spawn(async move {
        let mut received = Vec::new();
        for _ in 0..3 {
            let message = listener.next().await.expect("a message");
            received.push(message.payload[0]);
            if let Some(reply) = message.reply {
                answers.publish(&reply, message.payload).await.expect("an answer");
            }
        }
        received
    });
    for n in 0..2u8 {
        let answer = client.request(&subject, Bytes::from(vec![n]), TIMEOUT).await.expect("an answer");
        assert_eq!(answer[..], [n]);
    }
    client.publish(&subject, Bytes::from_static(&[2])).await.expect("published");
    assert_eq!(responder.await.expect("the responder ends"), [0, 1, 2]);

    subjects_say_who_speaks(&client, &server).await;
    messages_carry_their_trace(&client, &server, &subject).await;
    requests_keep_their_order(&client, &server, &subject).await;

    let limit = client.max_payload();
    let large = Bytes::from(vec![0; limit + 1]);
    for refused in
        [client.publish(&subject, large.clone()).await, client.request(&subject, large, TIMEOUT).await.map(drop)]
    {
        assert!(matches!(refused, Err(BusError::TooLarge { len, limit: l }) if len == limit + 1 && l == limit));
    }
    client.flush().await.expect("flushed");
    assert!(client.is_connected());
}

/// What is sent for a span says so, up to the largest message.
async fn messages_carry_their_trace(client: &SharedBus, server: &SharedBus, subject: &Subject) {
    let context: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("a context");
    let mut listener = server.subscribe(subject).await.expect("a subscription");
    let largest = Bytes::from(vec![0; client.max_payload()]);
    traces::within(Some(context), async {
        client.publish(subject, Bytes::new()).await.expect("published");
        let _unanswered = client.send_request(subject, Bytes::new(), TIMEOUT).await.expect("sent");
        client.publish(subject, largest).await.expect("published");
    })
    .await;
    client.publish(subject, Bytes::new()).await.expect("published");
    for expected in [Some(context), Some(context)] {
        assert_eq!(listener.next().await.expect("a message").trace, expected);
    }
    assert_eq!(listener.next().await.expect("the largest message").payload.len(), client.max_payload());
    assert_eq!(listener.next().await.expect("a message").trace, None);
}

/// A subscription for all clients gets the messages of each with its own subject, and answers go to the inboxes of the
/// user who asked.
async fn subjects_say_who_speaks(client: &SharedBus, server: &SharedBus) {
    let fleet = FleetName::default();
    let mut all = server.subscribe(&subjects::all_client_requests(&fleet)).await.expect("a subscription");
    let sessions = [ClientId::new(client.user()), ClientId::new(client.user())];
    for session in &sessions {
        let subject = subjects::client_requests(&fleet, session);
        let answer = client.send_request(&subject, Bytes::new(), TIMEOUT).await.expect("sent");
        let serve = async {
            let message = all.next().await.expect("a message");
            let reply = message.reply.expect("a request has a reply subject");
            assert!(reply.is_inbox_of(&client.user()), "{reply}");
            server.publish(&reply, Bytes::new()).await.expect("an answer");
            message.subject
        };
        let (answer, sender) = futures::join!(answer, serve);
        answer.expect("an answer");
        assert_eq!(subjects::requesting_client(&fleet, &sender), Some(*session));
    }
    let verdict = subjects::client_verdicts(&fleet, &sessions[0]);
    let unanswered = client.request(&verdict, Bytes::new(), TIMEOUT).await;
    assert!(matches!(unanswered, Err(BusError::NoResponders(_))), "another subject matches: {unanswered:?}");
}

/// Requests that are sent one after the other arrive in that order, and each gets its own answer, although none is
/// awaited before the next is sent and the answers come in reverse. There are more of them than the queue of a NATS
/// connection holds.
async fn requests_keep_their_order(client: &SharedBus, server: &SharedBus, subject: &Subject) {
    const REQUESTS: u32 = 5000;
    let mut listener = server.subscribe(subject).await.expect("a subscription");
    let server = server.clone();
    let responder = tokio::spawn(async move {
        let mut received = Vec::new();
        while received.len() < REQUESTS as usize {
            received.push(listener.next().await.expect("a message"));
        }
        let order: Vec<_> = received.iter().map(|message| message.payload.clone()).collect();
        for message in received.into_iter().rev() {
            let reply = message.reply.expect("a request has a reply subject");
            server.publish(&reply, message.payload).await.expect("an answer");
        }
        order
    });
    let payloads: Vec<_> = (0..REQUESTS).map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
    let mut answers = Vec::new();
    for payload in &payloads {
        answers.push(client.send_request(subject, payload.clone(), TIMEOUT).await.expect("sent"));
    }
    let answers = futures::future::join_all(answers).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
    assert_eq!(answers, payloads);
    assert_eq!(responder.await.expect("the responder ends"), payloads);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Bus, local::LocalBus};
    use std::sync::Arc;

    #[tokio::test]
    async fn the_local_bus_keeps_the_contract() {
        let bus = Arc::new(LocalBus::with_max_payload(4096));
        check(bus.clone(), bus.clone()).await;
        // The responder has ended, and its subscription with it.
        let subject = subjects::status(&FleetName::default());
        let unanswered = Bus::request(&*bus, &subject, Bytes::new(), TIMEOUT).await;
        assert!(matches!(unanswered, Err(BusError::NoResponders(_))), "a dropped subscription counts: {unanswered:?}");
    }
}
