//! The only loop: one event in, all effects out.

use crate::{
    config::CoordinatorConfig,
    egress::Egress,
    ingress::{Ingress, KnownCode},
    metrics::Counters,
    scheduler::{Event, Moment, READ_AHEAD, Scheduler, SchedulerConfig},
};
use pvf_shared::{
    bus::{BusError, SharedBus},
    config::Timing,
    ids::{FencingToken, FleetName},
    store::{BlobStore, StoreError},
    subjects,
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

/// How often the link to the bus is looked at.
const LINK_CHECK: Duration = Duration::from_millis(500);

/// What a coordinator needs.
pub struct Coordinator {
    /// Its fleet's name.
    pub fleet: FleetName,
    /// Its fleet's clockwork.
    pub timing: Timing,
    /// How it runs its queues, and what it may hold.
    pub config: CoordinatorConfig,
    /// Where its fleet talks.
    pub bus: SharedBus,
    /// Where its fleet leaves things.
    pub store: BlobStore,
    /// What it counts.
    pub counters: Arc<Counters>,
}

/// Why a coordinator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A coordinator that listens, and may be run.
pub struct Listening {
    scheduler: Scheduler,
    clock: Clock,
    held_bytes: Arc<AtomicU64>,
    bus: SharedBus,
    counters: Arc<Counters>,
    events: mpsc::UnboundedReceiver<Event>,
    egress: Egress,
    tasks: JoinSet<()>,
}

impl Coordinator {
    /// Checks the store and begins to listen: whoever asks from now on is answered once it runs.
    pub async fn listen(self) -> Result<Listening, CoordinatorError> {
        self.store.check().await?;
        let from_nodes = self.bus.subscribe(&subjects::from_node(&self.fleet)).await?;
        let from_workers = self.bus.subscribe(&subjects::from_worker(&self.fleet)).await?;
        let (sender, events) = mpsc::unbounded_channel();
        let (outbox, posted) = mpsc::unbounded_channel();
        let known_code = KnownCode::default();
        let egress = Egress {
            bus: self.bus.clone(),
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            timing: self.timing,
            events: sender.clone(),
            known_code: known_code.clone(),
            outbox,
        };
        let held_bytes = Arc::<AtomicU64>::default();
        let ingress = Ingress {
            bus: self.bus.clone(),
            store: self.store.clone(),
            fleet: self.fleet,
            events: sender,
            known_code,
            admitting: Ingress::room(),
            held_bytes: held_bytes.clone(),
            inline_budget: self.config.inline_budget,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(ingress.clone().nodes(from_nodes));
        tasks.spawn(ingress.workers(from_workers));
        tasks.spawn(egress.clone().post(posted));
        let clock = Clock::start();
        // Higher than that of every earlier coordinator, whatever its clock said.
        let token = FencingToken(self.store.next_token(clock.millis()).await?);
        let config = SchedulerConfig {
            token,
            timing: self.timing,
            policy: self.config.policy,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let scheduler = Scheduler::new(config, clock.now());
        Ok(Listening { scheduler, clock, held_bytes, bus: self.bus, counters: self.counters, events, egress, tasks })
    }
}

impl Listening {
    /// Coordinates until `shutdown` completes.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut link = tokio::time::interval(LINK_CHECK);
        link.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_up = true;
        // What has come already, the next one at the end.
        let mut arrived = Vec::with_capacity(READ_AHEAD);
        tokio::pin!(shutdown);
        loop {
            while let Some(effect) = self.scheduler.poll_effect() {
                self.egress.perform(effect);
            }
            self.counters.set(self.scheduler.counts());
            self.held_bytes.store(self.scheduler.held_bytes(), Ordering::Relaxed);
            if let Some(event) = arrived.pop() {
                self.scheduler.handle(event, self.clock.now());
                continue;
            }
            let due = self.scheduler.poll_timeout();
            let event = tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = self.events.recv_many(&mut arrived, READ_AHEAD) => {
                    self.scheduler.read_ahead(&arrived);
                    arrived.reverse();
                    continue;
                }
                _ = link.tick() => {
                    let up = self.bus.is_connected();
                    let changed = up != std::mem::replace(&mut was_up, up);
                    changed.then_some(Event::Link { up })
                }
                () = self.clock.reach(due), if due.is_some() => None,
            };
            let now = self.clock.now();
            match event {
                Some(event) => self.scheduler.handle(event, now),
                None => self.scheduler.handle_timeout(now),
            }
        }
        tracing::info!("coordinator ends");
        self.tasks.shutdown().await;
        let _ = self.bus.flush().await;
    }
}

/// Says what time it is for the scheduler: since 1970 by the system's clock at the start, steady from there on.
struct Clock {
    start: Instant,
    started: Duration,
}

impl Clock {
    fn start() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), started }
    }

    fn now(&self) -> Moment {
        Moment::at(self.started + self.start.elapsed())
    }

    /// Completes at this moment.
    async fn reach(&self, moment: Option<Moment>) {
        if let Some(moment) = moment {
            tokio::time::sleep_until(self.start + moment.since(Moment::at(self.started))).await;
        }
    }

    /// Milliseconds since 1970, at the start.
    fn millis(&self) -> u64 {
        u64::try_from(self.started.as_millis()).unwrap_or(u64::MAX)
    }
}
