//! A coordinator process on a `nats-server`, and what is counted of both during a measurement.

use crate::{
    bare::{Bare, Messages},
    clients::Client,
    workers::Worker,
};
use futures::future::join_all;
use parity_scale_codec::Encode as _;
use pvf_shared::{
    Bytes,
    bus::nats::{NatsBus, NatsConnection},
    candidate::ValidationResult,
    identity::WorkerKind,
};
use pvf_testkit::{
    DEADLINE,
    nats::{DEFAULT_PAYLOAD, NatsServer},
    processes::{Process, cpu_ticks},
};
use pvf_tests::fleet::{client, command};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The shape of the fleet.
#[derive(Clone, Copy)]
pub struct Size {
    /// Sessions of clients.
    pub clients: u64,
    /// Execute workers.
    pub workers: u64,
    /// Slots of each.
    pub slots: u64,
    /// Requests in flight, of all clients together.
    pub in_flight: u64,
}

/// What was counted while requests had their verdicts.
pub struct Traffic {
    /// Verdicts.
    pub verdicts: u64,
    /// Time from the first submission to the last verdict.
    pub took: Duration,
    /// Messages that the server received.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// CPU time that everything used.
    pub cpu: Cpu,
}

impl Traffic {
    /// Mean length of a message, bytes.
    pub fn message_len(&self) -> u64 {
        self.bytes.div_ceil(self.messages.max(1))
    }
}

/// CPU time of the processes, clock ticks.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// The coordinator.
    pub coordinator: u64,
    /// The server.
    pub server: u64,
    /// This process: clients and workers.
    pub bench: u64,
}

impl Cpu {
    fn since(self, before: Self) -> Self {
        Self {
            coordinator: self.coordinator - before.coordinator,
            server: self.server - before.server,
            bench: self.bench - before.bench,
        }
    }
}

/// A coordinator with its clients and workers.
pub struct Fleet {
    clients: Vec<Client>,
    bare: Bare,
    in_flight: u64,
    coordinator: Process,
    nats: NatsServer,
    _workers: JoinSet<()>,
    _dir: TempDir,
}

impl Fleet {
    /// Starts a server and a coordinator, and registers a prepare worker and the execute workers.
    pub async fn start(size: Size) -> Self {
        let nats = NatsServer::start(DEFAULT_PAYLOAD).await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let coordinator = Process::start(&mut command("pvf-coordinator", &nats.url, &dir.path().join("store")));
        client(&nats.url).await.status().await.expect("a coordinator that answers");
        let result = result();
        let mut workers = JoinSet::new();
        let prepares = Worker::register(bus(&nats).await, WorkerKind::Prepare, 1, result.clone()).await;
        workers.spawn(prepares.run());
        for _ in 0..size.workers {
            let slots = size.slots as u32;
            let executes = Worker::register(bus(&nats).await, WorkerKind::Execute, slots, result.clone()).await;
            workers.spawn(executes.run());
        }
        let mut clients = Vec::new();
        for _ in 0..size.clients {
            clients.push(Client::open(bus(&nats).await).await);
        }
        let bare = Bare::open(bus(&nats).await, bus(&nats).await).await;
        Self { clients, bare, in_flight: size.in_flight, coordinator, nats, _workers: workers, _dir: dir }
    }

    /// Has the clients submit this many requests, and waits for their verdicts.
    pub async fn verdicts(&mut self, requests: u64) -> Traffic {
        let count = ["in_msgs", "in_bytes"].map(|name| self.nats.varz(name));
        let cpu = self.cpu();
        let start = Instant::now();
        let clients = self.clients.len() as u64;
        let running = self.clients.iter_mut().zip(0..).map(|(client, n)| {
            let share = |all: u64| all / clients + u64::from(n < all % clients);
            client.run(share(requests), share(self.in_flight))
        });
        // A message of the bus may be lost, and these clients do not ask again.
        let limit = DEADLINE + Duration::from_millis(requests);
        tokio::time::timeout(limit, join_all(running)).await.expect("every request gets its verdict");
        let took = start.elapsed();
        let [messages, bytes] = ["in_msgs", "in_bytes"].map(|name| self.nats.varz(name));
        Traffic {
            verdicts: requests,
            took,
            messages: messages - count[0],
            bytes: bytes - count[1],
            cpu: self.cpu().since(cpu),
        }
    }

    /// Sends as many bare messages of the same mean length; gives the time that they took.
    pub async fn bare(&mut self, traffic: &Traffic) -> Duration {
        let a_verdict = traffic.messages.div_ceil(traffic.verdicts);
        let messages = Messages {
            count: traffic.messages,
            len: traffic.message_len() as usize,
            in_flight: self.in_flight * a_verdict,
        };
        let start = Instant::now();
        tokio::time::timeout(DEADLINE, self.bare.send(&messages)).await.expect("every message arrives");
        start.elapsed()
    }

    fn cpu(&self) -> Cpu {
        Cpu {
            coordinator: cpu_ticks(self.coordinator.pid()),
            server: cpu_ticks(self.nats.pid()),
            bench: cpu_ticks(std::process::id() as i32),
        }
    }
}

async fn bus(nats: &NatsServer) -> NatsBus {
    let to = NatsConnection::to(&nats.url).expect("a URL");
    NatsBus::connect(&to, "bench", Duration::from_secs(10)).await.expect("a bus")
}

/// The encoded result of a candidate without messages.
fn result() -> Bytes {
    let result = ValidationResult {
        head_data: vec![7; 200],
        new_validation_code: None,
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 0,
        hrmp_watermark: 7,
    };
    result.encode().into()
}
