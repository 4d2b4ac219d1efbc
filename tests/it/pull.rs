//! Bytes that are pulled over a real nats-server.

use futures::StreamExt as _;
use pvf_shared::{
    Bytes,
    bus::{BusError, SharedBus},
    content::Content,
    pull::{HolderFault, Holdings, PullError, PullSettings, Puller, Wanted, serve},
    subjects::Subject,
    units::{KIB, MIB},
    wire::{self, Pull, PullReply},
};
use pvf_testkit::nats::{DEFAULT_PAYLOAD, NatsServer};
use std::{future::ready, sync::Arc};

fn subject(name: &str) -> Subject {
    Subject::received(&format!("pvf.holder.{name}"))
}

async fn connect(nats: &NatsServer) -> SharedBus {
    Arc::new(crate::bus::connect(&nats.url).await)
}

fn bytes(len: usize) -> Bytes {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}

/// A holder of this content on a connection of its own.
async fn holder(nats: &NatsServer, name: &str, holdings: &Holdings) {
    let bus = connect(nats).await;
    let requests = bus.subscribe(&subject(name)).await.unwrap();
    let holdings = holdings.clone();
    tokio::spawn(serve(bus, requests, move |content| holdings.find(content)));
}

async fn fetch(puller: &Puller, wanted: &Wanted) -> Result<Bytes, PullError> {
    puller.fetch(wanted, |_| ready(())).await.map(|(bytes, ())| bytes)
}

fn wanted(content: Content, held: &Bytes, holders: &[&str]) -> Wanted {
    Wanted {
        content,
        expected_len: Some(held.len() as u64),
        max_len: 64 * MIB as u64,
        holders: holders.iter().map(|name| subject(name)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_larger_than_any_message_is_pulled() {
    for max_payload in [4 * KIB, 64 * KIB, DEFAULT_PAYLOAD] {
        let nats = NatsServer::start(max_payload).await;
        let holdings = Holdings::default();
        holder(&nats, "a", &holdings).await;
        let puller = Puller::new(connect(&nats).await, PullSettings::default());
        for len in [0, 1, max_payload, 3 * MIB + 17] {
            let held = bytes(len);
            for content in [Content::of_code(&held), Content::of_blob(&held)] {
                let _hold = holdings.hold(content, held.clone());
                let known = wanted(content, &held, &["a"]);
                assert!(fetch(&puller, &known).await.unwrap() == held, "{len} bytes, messages of {max_payload}");
                let unknown = Wanted { expected_len: None, ..known };
                assert!(fetch(&puller, &unknown).await.unwrap() == held, "{len} bytes, messages of {max_payload}");
            }
        }
    }
}

/// More is asked for at once than the server holds back for a slow connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pulls_at_once_stay_within_what_the_server_holds_back() {
    let nats = NatsServer::start_with(DEFAULT_PAYLOAD, "max_pending: 24MB").await;
    let holdings = Holdings::default();
    holder(&nats, "a", &holdings).await;
    let puller = Puller::new(connect(&nats).await, PullSettings::default());
    let held: Vec<_> = (0..16).map(|n| bytes(5 * MIB + n)).collect();
    let holds: Vec<_> = held.iter().map(|held| holdings.hold(Content::of_blob(held), held.clone())).collect();
    let pulls = held.iter().zip(&holds).map(|(held, hold)| {
        let (puller, wanted) = (puller.clone(), wanted(hold.content(), held, &["a"]));
        tokio::spawn(async move { fetch(&puller, &wanted).await })
    });
    let pulls: Vec<_> = pulls.collect();
    for (pull, held) in pulls.into_iter().zip(&held) {
        assert!(pull.await.unwrap().unwrap() == *held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_holder_goes_on_when_one_is_gone() {
    let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
    let held = bytes(3 * MIB);
    let content = Content::of_blob(&held);
    // The first holder answers once and unsubscribes, with requests outstanding.
    let bus = connect(&nats).await;
    let mut requests = bus.subscribe(&subject("first")).await.unwrap();
    let of_holder = held.clone();
    let first = tokio::spawn(async move {
        let request = requests.next().await.unwrap();
        let pull: Pull = wire::decode(&request.payload).unwrap();
        let reply = PullReply::Chunk { total: of_holder.len() as u64, bytes: of_holder.slice(..pull.len as usize) };
        bus.publish(&request.reply.unwrap(), wire::encode(&reply)).await.unwrap();
    });
    let holdings = Holdings::default();
    let hold = holdings.hold(content, held.clone());
    holder(&nats, "second", &holdings).await;
    let puller = Puller::new(connect(&nats).await, PullSettings::default());
    let both = wanted(content, &held, &["first", "second"]);
    assert!(fetch(&puller, &both).await.unwrap() == held);
    first.await.unwrap();

    drop(hold);
    let error = fetch(&puller, &both).await.unwrap_err();
    assert!(error.is_held_by_nobody(), "{error}");
    let PullError::Failed { holders, .. } = &error else { panic!("{error}") };
    let faults: Vec<_> = holders.iter().map(|(_, fault)| fault.as_ref().unwrap()).collect();
    assert!(matches!(faults[..], [HolderFault::Bus(BusError::NoResponders(_)), HolderFault::Missing]), "{error}");
}
