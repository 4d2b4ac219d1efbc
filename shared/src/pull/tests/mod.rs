//! Pulls over the local bus, with holders that follow a script.

mod faults;
mod holder;
mod windows;

use super::*;
use crate::{
    bus::{Message, SharedBus, local::LocalBus},
    content::Content,
    subjects::Subject,
    wire::{self, Pull, PullReply},
};
use bytes::Bytes;
use futures::StreamExt as _;
use std::{
    future::ready,
    sync::{Arc, Mutex},
};

const CHUNK: usize = 1000;
const WINDOW: usize = 4 * CHUNK;

fn bus() -> SharedBus {
    Arc::new(LocalBus::new())
}

fn settings() -> PullSettings {
    PullSettings { chunk: CHUNK, window: WINDOW, outstanding: 2 * WINDOW, ..PullSettings::default() }
}

fn puller(bus: &SharedBus) -> Puller {
    Puller::new(bus.clone(), settings())
}

fn subject(name: &str) -> Subject {
    Subject::received(&format!("holder.{name}"))
}

/// Bytes without a period of a chunk.
fn bytes(len: usize) -> Bytes {
    (0..len).map(|n| (n * n / 251) as u8).collect()
}

fn wanted(bytes: &[u8], holders: &[&str]) -> Wanted {
    Wanted {
        content: Content::of_blob(bytes),
        expected_len: Some(bytes.len() as u64),
        max_len: 1 << 20,
        holders: holders.iter().map(|name| subject(name)).collect(),
    }
}

fn of_unknown_length(bytes: &[u8], holders: &[&str]) -> Wanted {
    Wanted { expected_len: None, ..wanted(bytes, holders) }
}

async fn fetch(puller: &Puller, wanted: &Wanted) -> Result<Bytes, PullError> {
    puller.fetch(wanted, |_| ready(())).await.map(|(bytes, ())| bytes)
}

/// The requests that a holder has received.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Pull>>>);

impl Asked {
    fn offsets(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|pull| pull.offset).collect()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A holder that answers as the script says, or not at all.
async fn scripted(
    bus: &SharedBus,
    name: &str,
    mut script: impl FnMut(&Pull, usize) -> Option<Bytes> + Send + 'static,
) -> Asked {
    let mut requests = bus.subscribe(&subject(name)).await.unwrap();
    let (asked, bus) = (Asked::default(), bus.clone());
    let log = asked.clone();
    tokio::spawn(async move {
        while let Some(Message { payload, reply, .. }) = requests.next().await {
            let pull: Pull = wire::decode(&payload).unwrap();
            let n = log.count();
            log.0.lock().unwrap().push(pull.clone());
            if let Some(answer) = script(&pull, n) {
                bus.publish(&reply.unwrap(), answer).await.unwrap();
            }
        }
    });
    asked
}

/// The right answer of one who holds these bytes.
fn chunk(held: &Bytes, pull: &Pull) -> Bytes {
    let begin = pull.offset as usize;
    let end = held.len().min(begin + pull.len as usize);
    wire::encode(&PullReply::Chunk { total: held.len() as u64, bytes: held.slice(begin..end) })
}

/// A holder without faults.
async fn good(bus: &SharedBus, name: &str, held: &Bytes) -> Asked {
    let held = held.clone();
    scripted(bus, name, move |pull, _| Some(chunk(&held, pull))).await
}

/// The faults of a failed pull.
fn faults(failed: Result<Bytes, PullError>) -> Vec<Option<HolderFault>> {
    match failed {
        Err(PullError::Failed { holders, .. }) => holders.into_iter().map(|(_, fault)| fault).collect(),
        other => panic!("{other:?}"),
    }
}

fn fault(failed: Result<Bytes, PullError>) -> HolderFault {
    let mut faults = faults(failed);
    assert_eq!(faults.len(), 1);
    faults.remove(0).expect("a fault")
}
