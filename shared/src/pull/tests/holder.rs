//! The holder's side.

use super::*;
use crate::{
    bus::{Bus, BusError, PendingAnswer, Subscription},
    identity::UserName,
};
use async_trait::async_trait;
use futures::stream;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

const PATIENCE: Duration = Duration::from_secs(10);

async fn serving(bus: &SharedBus, held: &Bytes) {
    let requests = bus.subscribe(&subject("a")).await.unwrap();
    let (content, held) = (Content::of_blob(held), held.clone());
    tokio::spawn(serve(bus.clone(), requests, move |wanted| (*wanted == content).then(|| held.clone())));
}

async fn ask(bus: &SharedBus, request: Bytes) -> PullReply {
    wire::decode(&bus.request(&subject("a"), request, PATIENCE).await.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_get_what_fits() {
    let (bus, held) = (bus(), bytes(2 * MAX_CHUNK + 5));
    serving(&bus, &held).await;
    let total = held.len() as u64;
    let content = Content::of_blob(&held);
    let chunk = |range| PullReply::Chunk { total, bytes: held.slice(range) };
    for (offset, len, expected) in [
        (0, 0, chunk(0..0)),
        (0, 7, chunk(0..7)),
        (3, u32::MAX, chunk(3..3 + MAX_CHUNK)),
        (total - 1, 100, chunk(held.len() - 1..held.len())),
        (total, 1, PullReply::OutOfRange { total }),
        (u64::MAX, u32::MAX, PullReply::OutOfRange { total }),
    ] {
        assert_eq!(ask(&bus, wire::encode(&Pull { content, offset, len })).await, expected);
    }
    let other = Pull { content: Content::of_code(&held), offset: 0, len: 1 };
    assert_eq!(ask(&bus, wire::encode(&other)).await, PullReply::Missing);
    let PullReply::NotUnderstood(why) = ask(&bus, Bytes::from_static(b"\xc1")).await else { panic!("understood") };
    assert!(why.contains("malformed"), "{why}");
}

/// A holder may publish to inboxes; a stranger must not make it publish elsewhere.
#[tokio::test(start_paused = true)]
async fn answers_go_to_inboxes_only() {
    let (bus, held) = (bus(), bytes(5));
    let request = wire::encode(&Pull { content: Content::of_blob(&held), offset: 0, len: 5 });
    let mut elsewhere = bus.subscribe(&subject("coordinator")).await.unwrap();
    let mut inbox = bus.subscribe(&Subject::received("_INBOX.x")).await.unwrap();
    let replies = [None, Some(subject("coordinator")), Some(Subject::received("_INBOX.x"))];
    let requests =
        replies.map(|reply| Message { subject: subject("holder"), payload: request.clone(), reply, trace: None });
    serve(bus.clone(), stream::iter(requests).boxed(), move |_| Some(held.clone())).await;
    assert!(inbox.next().await.is_some());
    assert!(tokio::time::timeout(PATIENCE, elsewhere.next()).await.is_err());
}

/// A bus that writes nothing until it is told to.
struct Stuck {
    local: LocalBus,
    flushes: Semaphore,
    published: AtomicUsize,
}

#[async_trait]
impl Bus for Stuck {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.published.fetch_add(payload.len(), Ordering::Relaxed);
        self.local.publish(subject, payload).await
    }

    async fn send_request(&self, to: &Subject, payload: Bytes, within: Duration) -> Result<PendingAnswer, BusError> {
        self.local.send_request(to, payload, within).await
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        self.local.subscribe(subject).await
    }

    fn user(&self) -> UserName {
        self.local.user()
    }

    fn max_payload(&self) -> usize {
        self.local.max_payload()
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.flushes.acquire().await.unwrap().forget();
        Ok(())
    }

    fn is_connected(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_the_bus_does_not_write_are_bounded() {
    let (held, requested) = (bytes(MAX_CHUNK), 100);
    let bus = Arc::new(Stuck { local: LocalBus::new(), flushes: Semaphore::new(0), published: AtomicUsize::new(0) });
    let request = wire::encode(&Pull { content: Content::of_blob(&held), offset: 0, len: u32::MAX });
    let reply = Some(Subject::received("_INBOX.x"));
    let requests = vec![Message { subject: subject("holder"), payload: request, reply, trace: None }; requested];
    let serving = tokio::spawn(serve(bus.clone(), stream::iter(requests).boxed(), move |_| Some(held.clone())));
    let idle = async || tokio::time::sleep(Duration::from_secs(1)).await;
    idle().await;
    let first = bus.published.load(Ordering::Relaxed);
    assert!((4 * MIB..5 * MIB).contains(&first), "{first} bytes");
    bus.flushes.add_permits(1);
    idle().await;
    let then = bus.published.load(Ordering::Relaxed) - first;
    assert!((2 * MIB..3 * MIB).contains(&then), "{then} bytes");
    bus.flushes.add_permits(requested);
    serving.await.unwrap();
    assert!(bus.published.load(Ordering::Relaxed) > requested * MAX_CHUNK);
}
