//! A witness on the bus: it sees the verdicts that coordinators send, and finds those that contradict each other.

use crate::fleet::client_of;
use futures::StreamExt as _;
use pvf::ValidationHost;
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    bus::{
        Bus as _,
        nats::{NatsBus, NatsConnection},
    },
    ids::{BlobHash, FleetName, RequestId},
    subjects::{self, Subject},
    verdict::{Outcome, WireOutcome},
    wire::{self, ToClient},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::Runtime;

/// How long it tries to connect.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a question for the state of the fleet is repeated.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer about the leader of a stream is waited for.
const LEADER_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Seen {
    /// The first verdict of each request that says something.
    verdicts: HashMap<RequestId, String>,
    contradictions: Vec<String>,
    messages: u64,
}

/// The witness.
pub struct Witness {
    runtime: Runtime,
    host: ValidationHost,
    bus: Arc<NatsBus>,
    seen: Arc<Mutex<Seen>>,
}

impl Witness {
    /// Connects it.
    pub fn start(urls: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let seen = Arc::<Mutex<Seen>>::default();
        let bus = NatsConnection::to(urls).expect("URLs");
        let bus = runtime.block_on(NatsBus::connect(&bus, "witness", PATIENCE)).expect("a bus");
        let bus = Arc::new(bus);
        let all = subjects::all_client_requests(&FleetName::default());
        let verdicts = all.as_str().strip_suffix("req").map(|before| format!("{before}verdict"));
        let verdicts = Subject::received(&verdicts.expect("subjects of requests end so"));
        let mut messages = runtime.block_on(bus.subscribe(&verdicts)).expect("a subscription");
        let noted = seen.clone();
        runtime.spawn(async move {
            while let Some(message) = messages.next().await {
                if let Ok(ToClient::Verdict(verdict)) = wire::decode(&message.payload) {
                    let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.note(verdict.request, &verdict.outcome);
                }
            }
        });
        let host = runtime.block_on(client_of(urls, "observer", STATUS_PATIENCE));
        Self { runtime, host, bus, seen }
    }

    /// Waits for what a handle on the fleet gives.
    pub fn wait<T>(&self, what: impl AsyncFnOnce(&ValidationHost) -> T) -> T {
        self.runtime.block_on(what(&self.host))
    }

    /// The name of the server that leads the stream of the coordinators' lease, if the bus answers.
    pub fn leader(&self) -> Option<String> {
        let question = Subject::received(&format!("$JS.API.STREAM.INFO.KV_{}-coordinator", FleetName::default()));
        let answer = self.runtime.block_on(self.bus.request(&question, Bytes::new(), LEADER_PATIENCE)).ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).ok()?;
        answer["cluster"]["leader"].as_str().map(str::to_owned)
    }

    /// Verdicts that were seen, and those that contradict each other.
    pub fn found(&self) -> (u64, Vec<String>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.messages, seen.contradictions.clone())
    }
}

impl Seen {
    fn note(&mut self, request: RequestId, outcome: &WireOutcome) {
        self.messages += 1;
        // These say nothing about the candidate; another attempt may.
        if matches!(outcome, Outcome::Internal(_) | Outcome::Expired) {
            return;
        }
        let text = match outcome {
            Outcome::Valid(result) => {
                let hash = match result {
                    BlobRef::Inline(bytes) => BlobHash::of(bytes),
                    BlobRef::Held { hash, .. } => *hash,
                };
                format!("valid {hash}")
            }
            other => other.name().into(),
        };
        let first = self.verdicts.entry(request).or_insert_with(|| text.clone());
        if *first != text {
            self.contradictions.push(format!("{request}: {first}, then {text}"));
        }
    }
}
