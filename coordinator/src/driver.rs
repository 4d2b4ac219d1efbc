//! The coordinator's only loop: one event, then all effects of it, then the next event.

use crate::{
    api::{self, Api, Asked, Moment},
    config::CoordinatorConfig,
    effects::Effects,
    guard::GuardedBus,
    hearing::Hearing,
    history::History,
    inbound::{Inbound, Older},
    lease::Tenure,
    metrics::{Counters, Sizes},
    millis::millis,
    observers::{self, Observers},
    outbound::{Commands, Outbound},
    outbox::Outbox,
    storage::Storage,
    traces::Traces,
};
use pvf_scheduler::{Event, Scheduler, SchedulerConfig, Timestamp};
use pvf_shared::{
    bus::{BusError, Offered, SharedBus},
    config::ProtocolTimeouts,
    http::{Condition, Http, Liveness, Readiness, connection},
    ids::{FencingToken, FleetName, Term},
    store::{BlobStore, StoreError},
    subjects,
    wire::Announcement,
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use uuid::Uuid;

/// How often the link to the bus is checked and the sizes of the queues are published.
const OBSERVATION: Duration = Duration::from_millis(500);

/// How often a coordinator announces itself at its start, once in each [`OBSERVATION`]: the first announcement may be
/// lost.
const ANNOUNCEMENTS: u32 = 3;

/// How long the last messages of a coordinator that stops may take. Another one may wait for its lease.
const LAST_WORDS: Duration = Duration::from_millis(30);

/// What a coordinator needs.
#[derive(Clone)]
pub struct Coordinator {
    /// Name of the fleet.
    pub fleet: FleetName,
    /// Heartbeat, acknowledgement and retry intervals; they must match across the fleet.
    pub timing: ProtocolTimeouts,
    /// Settings of the queues.
    pub config: CoordinatorConfig,
    /// Message bus.
    pub bus: SharedBus,
    /// Object store.
    pub store: BlobStore,
    /// Metrics.
    pub counters: Arc<Counters>,
    /// Questions about its state, and what it remembers for them.
    pub api: Api,
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
    /// Nothing looks after the lease any more: a bug.
    #[error("the lease is not looked after any more")]
    LeaseTask,
}

/// A coordinator that has subscribed to its subjects and is ready to be run.
pub struct Listening {
    scheduler: Scheduler,
    clock: Clock,
    bus: SharedBus,
    hearing: Hearing,
    link_was_up: bool,
    /// How long it heard nothing, in all.
    deaf: Duration,
    token: FencingToken,
    /// When the loop turned last.
    turned: Timestamp,
    metrics: Arc<Counters>,
    liveness: Liveness,
    readiness: Readiness,
    events: mpsc::UnboundedReceiver<Event>,
    /// Questions about the state. There are few, and none takes long.
    asked: mpsc::Receiver<Asked>,
    history: History,
    /// What a question is told of this coordinator, but for the time.
    moment: Moment,
    /// Others find this coordinator on the bus while it is here.
    _offered: Option<Offered>,
    effects: Effects,
    tasks: JoinSet<()>,
}

impl Coordinator {
    /// The only coordinator of its fleet: checks the store and subscribes to the fleet's subjects. Messages that arrive
    /// from now on are answered once the coordinator runs.
    pub async fn listen(self) -> Result<Listening, CoordinatorError> {
        self.store.check().await?;
        // Higher than the token of every earlier coordinator, whatever the clocks said.
        let token = FencingToken(self.store.next_token(Clock::start().millis()).await?);
        self.listen_during(Tenure::unlimited(Term { token, id: Uuid::now_v7() })).await
    }

    /// Subscribes to the fleet's subjects, and acts only during this tenure.
    pub(crate) async fn listen_during(self, tenure: Tenure) -> Result<Listening, CoordinatorError> {
        let Self { fleet, timing, config, bus, store, counters, api } = self;
        let bus: SharedBus = Arc::new(GuardedBus { bus, tenure: tenure.clone() });
        let from_clients = bus.subscribe(&subjects::all_client_requests(&fleet)).await?;
        let from_workers = bus.subscribe(&subjects::all_worker_requests(&fleet)).await?;
        let from_operators = bus.subscribe(&subjects::all_operator_requests(&fleet)).await?;
        let questions = bus.subscribe(&subjects::status(&fleet)).await?;
        let from_older_clients = bus.subscribe(&subjects::from_older_clients(&fleet)).await?;
        let from_older_workers = bus.subscribe(&subjects::from_older_workers(&fleet)).await?;
        let (sender, events) = mpsc::unbounded_channel();
        let (outbox, posted) = Outbox::open();
        let traces = Traces::default();
        let inbound = Inbound {
            fleet: fleet.clone(),
            events: sender.clone(),
            outbox: outbox.clone(),
            ceilings: config.ceilings,
            traces: traces.clone(),
        };
        let term = tenure.term();
        let outbound = Outbound { bus: bus.clone(), fleet: fleet.clone(), timing, term };
        let mut tasks = JoinSet::new();
        tasks.spawn(inbound.clone().clients(from_clients));
        tasks.spawn(inbound.clone().workers(from_workers));
        tasks.spawn(Older::Client.refuse(from_older_clients, outbox.clone()));
        tasks.spawn(Older::Worker.refuse(from_older_workers, outbox.clone()));
        tasks.spawn(inbound.clone().operators(from_operators));
        tasks.spawn(inbound.status(questions));
        tasks.spawn(outbound.publish(posted));
        let (told, queue) = Observers::open();
        tasks.spawn(observers::publish((bus.clone(), api.events.clone()), fleet.clone(), queue));
        let heard = {
            let metrics = counters.clone();
            move |after| metrics.heard_itself(after)
        };
        let (hearing, echo) = Hearing::start((bus.clone(), heard), &fleet, timing.worker_silence).await?;
        tasks.spawn(echo);
        let offered = bus.offer(api::active(&api, &fleet, bus.max_payload())).await?;
        let served = fleet.clone();
        let clock = Clock::start();
        let version = env!("CARGO_PKG_VERSION").into();
        let trusted_keys = store.artifact_keys().trusts();
        let scheduler_config =
            SchedulerConfig { token: term.token, timing, policy: config.policy, version, trusted_keys };
        let scheduler = Scheduler::new(scheduler_config, clock.now());
        let effects = Effects {
            outbox,
            observers: told,
            commands: Commands::new((bus.clone(), traces.clone()), fleet, &timing, term, sender.clone()),
            storage: Storage { store, events: sender, tenure },
            metrics: counters.clone(),
            history: api.history.clone(),
            traces,
            tasks: JoinSet::new(),
        };
        Ok(Listening {
            scheduler,
            asked: api.open(),
            history: api.history,
            _offered: offered,
            moment: Moment { now: clock.now(), active_since: clock.now(), fleet: served },
            turned: clock.now(),
            clock,
            bus,
            hearing,
            link_was_up: true,
            deaf: Duration::ZERO,
            token: term.token,
            metrics: counters,
            liveness: Liveness::default(),
            readiness: Readiness::default(),
            events,
            effects,
            tasks,
        })
    }
}

impl Listening {
    /// Reports progress and readiness to these HTTP endpoints.
    pub fn reporting_to(self, http: &Http) -> Self {
        Self { liveness: http.liveness.clone(), readiness: http.readiness.clone(), ..self }
    }

    /// Coordinates until `shutdown` completes.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut announcements = 0;
        let mut observation = tokio::time::interval(OBSERVATION);
        observation.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        self.turned = self.clock.now();
        loop {
            while let Some(effect) = self.scheduler.poll_effect() {
                self.effects.perform(effect);
            }
            self.effects.reap();
            self.metrics.publish_counts(self.scheduler.counts());
            let due = self.scheduler.poll_timeout();
            let mut observes = false;
            let event = tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = observation.tick() => {
                    observes = true;
                    if announcements < ANNOUNCEMENTS {
                        announcements += 1;
                        self.effects.outbox.announce(Announcement { version: env!("CARGO_PKG_VERSION").into() });
                    }
                    None
                }
                Some(asked) = self.asked.recv() => {
                    asked.answer(&self.scheduler, &Moment { now: self.clock.now(), ..self.moment.clone() });
                    continue;
                }
                Some(event) = self.events.recv() => Some(event),
                () = self.clock.reach(due), if due.is_some() => None,
            };
            let now = self.clock.now();
            self.notice_standstill(now);
            match event {
                Some(event) => self.scheduler.handle(event, now),
                None if observes => {
                    if let Some(link) = self.observe() {
                        self.scheduler.handle(link, now);
                    }
                }
                None => self.scheduler.handle_timeout(now),
            }
        }
        tracing::info!("coordinator stops");
        self.readiness.not_ready("stopping");
        // Verdicts that are decided, so that the next coordinator need not execute again.
        let _ = tokio::time::timeout(LAST_WORDS, self.effects.outbox.published()).await;
        self.tasks.shutdown().await;
        self.effects.tasks.shutdown().await;
        let _ = self.bus.flush().await;
    }

    /// The loop turns at least once in [`OBSERVATION`]. If it did not for long, messages of that time wait to be read,
    /// while the timers of their senders have run out: the coordinator was deaf.
    fn notice_standstill(&mut self, now: Timestamp) {
        let stood_still = now.since(std::mem::replace(&mut self.turned, now));
        if stood_still > self.hearing.deaf_after() {
            self.metrics.stood_still();
            self.deaf += stood_still;
            tracing::warn!(ms = stood_still.as_millis() as u64, "the coordinator stood still");
            self.link_was_up = false;
            self.scheduler.handle(Event::Link { up: false }, now);
        }
    }

    /// Publishes how the coordinator does; gives an event if it begins or ceases to hear over the bus.
    fn observe(&mut self) -> Option<Event> {
        let (connected, hears) = (self.bus.is_connected(), self.hearing.hears());
        let up = connected && hears;
        self.liveness.tick();
        self.readiness.show(vec![
            Condition { name: "bus", is_met: connected, detail: connection(connected).into() },
            Condition { name: "hearing", is_met: hears, detail: "messages to itself arrive".into() },
            Condition { name: "lease", is_met: true, detail: format!("active with token {}", self.token.0) },
        ]);
        match (connected, hears) {
            (true, true) => self.readiness.ready(),
            (false, _) => self.readiness.not_ready("bus disconnected"),
            (true, false) => self.readiness.not_ready("the bus carries no messages"),
        }
        let gauges = self.scheduler.gauges(self.clock.now());
        self.history.observe(&gauges);
        self.metrics.publish_sizes(Sizes {
            scheduler: gauges,
            bus_connected: up,
            active: true,
            token: self.token.0,
            bus: self.bus.stats(),
            deaf: self.deaf,
        });
        if !up {
            self.deaf += OBSERVATION;
        }
        if up == std::mem::replace(&mut self.link_was_up, up) {
            return None;
        }
        if up {
            tracing::info!("the coordinator hears again: workers have their time to be heard from now on");
        } else {
            tracing::warn!(connected, "the bus is silent: workers that are silent meanwhile are not counted as lost");
        }
        Some(Event::Link { up })
    }
}

/// Monotonic clock, anchored to the Unix epoch at its start; the scheduler's only source of time.
struct Clock {
    start: Instant,
    started: Duration,
}

impl Clock {
    fn start() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), started }
    }

    fn now(&self) -> Timestamp {
        Timestamp::at(self.started + self.start.elapsed())
    }

    /// Completes at this time; at once without one.
    async fn reach(&self, due: Option<Timestamp>) {
        if let Some(due) = due {
            tokio::time::sleep_until(self.start + due.since(Timestamp::at(self.started))).await;
        }
    }

    /// When the clock started, milliseconds since the Unix epoch.
    fn millis(&self) -> u64 {
        millis(self.started)
    }
}

#[cfg(test)]
mod tests;
