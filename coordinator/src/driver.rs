//! The only loop: one event in, all effects out.

use crate::{
    egress::Egress,
    ingress::{Ingress, KnownCode},
    metrics::Counters,
    scheduler::{Event, Moment, Scheduler, SchedulerConfig},
};
use pvf_shared::{
    bus::{BusError, SharedBus},
    config::Timing,
    ids::{FencingToken, FleetName},
    store::{BlobStore, StoreError},
    subjects,
};
use std::{future::Future, sync::Arc, time::Duration};
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
        let ingress =
            Ingress { bus: self.bus.clone(), store: self.store, fleet: self.fleet, events: sender, known_code };
        let mut tasks = JoinSet::new();
        tasks.spawn(ingress.clone().nodes(from_nodes));
        tasks.spawn(ingress.workers(from_workers));
        tasks.spawn(egress.clone().post(posted));
        let scheduler = Scheduler::new(SchedulerConfig {
            token: new_token(),
            timing: self.timing,
            version: env!("CARGO_PKG_VERSION").into(),
        });
        Ok(Listening { scheduler, bus: self.bus, counters: self.counters, events, egress, tasks })
    }
}

impl Listening {
    /// Coordinates until `shutdown` completes.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let start = Instant::now();
        let mut link = tokio::time::interval(LINK_CHECK);
        link.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_up = true;
        tokio::pin!(shutdown);
        loop {
            let due = self.scheduler.poll_timeout();
            let event = tokio::select! {
                biased;
                () = &mut shutdown => break,
                event = self.events.recv() => event,
                _ = link.tick() => {
                    let up = self.bus.is_connected();
                    let changed = up != std::mem::replace(&mut was_up, up);
                    changed.then_some(Event::Link { up })
                }
                () = sleep_until(start, due), if due.is_some() => None,
            };
            let now = Moment(start.elapsed());
            match event {
                Some(event) => self.scheduler.handle(event, now),
                None => self.scheduler.handle_timeout(now),
            }
            while let Some(effect) = self.scheduler.poll_effect() {
                self.egress.perform(effect);
            }
            self.counters.set(self.scheduler.counts());
        }
        tracing::info!("coordinator ends");
        self.tasks.shutdown().await;
        let _ = self.bus.flush().await;
    }
}

async fn sleep_until(start: Instant, due: Option<Moment>) {
    if let Some(due) = due {
        tokio::time::sleep_until(start + due.0).await;
    }
}

/// Higher than every earlier coordinator's: milliseconds since 1970.
fn new_token() -> FencingToken {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    FencingToken(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
