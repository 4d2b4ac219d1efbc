//! The only loop of the worker: one event at a time into the core, then all actions out.

use super::{
    Worker,
    context::JobContext,
    coordinator::CoordinatorClient,
    fetches::Fetches,
    jobs::{self, JobTask},
    messages::TaskMessage,
    notices,
    runs::Runs,
    self_test::SelfTests,
    service::{conditions, service},
};
use crate::{metrics::WorkerMetrics, supervise::CompileMeter};
use futures::StreamExt as _;
use pvf_shared::{
    bus::{BusError, Message, Offered, Subscription},
    content::Content,
    http::Http,
    identity::WorkerId,
    pull, subjects,
    time::Timestamp,
    wire::{self, Dispatch, FromWorker, Holding, ToWorker},
};
use pvf_worker_core::{Action, Agent, AttemptKey, Event, FetchId, Request, RunId};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
    time::Instant,
};

/// What the worker shows of itself.
pub(super) struct Status {
    pub(super) metrics: WorkerMetrics,
    pub(super) http: Http,
}

/// The core's clock: never goes back, and begins at the wall clock's time.
struct Clock {
    started: Instant,
    epoch: Timestamp,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch: Timestamp::at(since_epoch) }
    }

    fn now(&self) -> Timestamp {
        self.epoch.after(self.started.elapsed())
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.epoch)
    }
}

/// A registration or heartbeat that is under way.
struct Beat {
    n: u64,
    request: Request,
    task: AbortHandle,
}

/// The task that answers pulls of results, until this is dropped.
struct Holder(AbortHandle);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often it is looked at what templates and copies take up.
const FOOTPRINT_INTERVAL: Duration = Duration::from_secs(1);

/// The shell of a worker's agent.
pub(super) struct Shell {
    core: Agent,
    clock: Clock,
    client: CoordinatorClient,
    commands: Subscription,
    announcements: Subscription,
    /// The registration or heartbeat that is under way.
    beat: Option<Beat>,
    last_beat: u64,
    jobs: Arc<JobContext>,
    fetches: Fetches,
    runs: Runs,
    self_tests: SelfTests,
    status: Status,
    to_loop: UnboundedSender<TaskMessage>,
    from_tasks: UnboundedReceiver<TaskMessage>,
    left: bool,
    footprint_shown: Option<Instant>,
    _holder: Holder,
    /// Others find this worker on the bus while it is here.
    _offered: Option<Offered>,
}

impl Shell {
    /// Subscribes to the worker's commands.
    pub(super) async fn open(worker: Worker) -> Result<Self, BusError> {
        let Worker { config, fleet, bus, jobs, status, self_test } = worker;
        let own = &config.registration;
        let id = WorkerId::new(config.kind, bus.user());
        let pulls = bus.subscribe(&subjects::worker_pulls(&fleet, &id)).await?;
        let (results, records) = (jobs.results.clone(), jobs.records.clone());
        let find = move |content: &Content| results.find(content).or_else(|| records.find(content));
        let holder = tokio::spawn(pull::serve(bus.clone(), pulls, find));
        let offered = bus.offer(service(&id, own, &fleet)).await?;
        let client = CoordinatorClient::new(bus, fleet, id, config.timing.ack);
        let commands = client.commands().await?;
        let announcements = client.announcements().await?;
        tracing::info!(worker = %id, slots = own.slots, engine = %own.engine, host = %own.host,
            "worker is ready");
        let clock = Clock::start();
        let core = Agent::new(config, clock.now());
        let (to_loop, from_tasks) = unbounded_channel();
        let (fetches, runs, self_tests) = (Fetches::default(), Runs::default(), SelfTests::new(self_test));
        let left = false;
        let holder = Holder(holder.abort_handle());
        Ok(Self {
            core,
            clock,
            client,
            commands,
            announcements,
            beat: None,
            last_beat: 0,
            jobs,
            fetches,
            runs,
            self_tests,
            status,
            to_loop,
            from_tasks,
            left,
            footprint_shown: None,
            _offered: offered,
            _holder: holder,
        })
    }

    /// Runs until the core has left.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut shutting_down = false;
        while !self.left {
            let due = self.core.poll_timeout().map(|at| self.clock.instant(at));
            let event = tokio::select! {
                () = &mut shutdown, if !shutting_down => {
                    shutting_down = true;
                    Some(Event::Shutdown)
                }
                message = self.commands.next() => self.command(message),
                Some(message) = self.announcements.next() => self.announced(&message),
                Some(message) = self.from_tasks.recv() => self.event_of(message),
                () = until(due) => None,
            };
            // The newest facts about processes first, so that the event is judged by them.
            while let Some(fact) = self.runs.next_fact() {
                self.handle(fact).await;
            }
            if let Some(event) = event {
                self.handle(event).await;
            }
            let now = self.clock.now();
            if self.core.poll_timeout().is_some_and(|at| at <= now) {
                self.core.handle_timeout(now);
                self.execute_actions().await;
            }
            self.fetches.retain(|attempt| self.core.needs_inputs(attempt));
            self.show_status();
        }
    }

    /// A message on the worker's subject, or its end. The core refuses commands of a coordinator that was replaced;
    /// acknowledgements say no token.
    fn command(&self, message: Option<Message>) -> Option<Event> {
        let Some(Message { payload, reply, trace, .. }) = message else { return Some(Event::BusClosed) };
        let obeyed = self.client.obeys(&payload);
        Some(match wire::decode::<ToWorker>(&payload) {
            Ok(ToWorker::Acknowledge { .. }) if !obeyed => return None,
            Ok(message) => {
                if let ToWorker::Dispatch(dispatch) = &message {
                    self.jobs.traces.arrived((&**dispatch).into(), trace);
                }
                Event::Command { message, reply }
            }
            Err(error) => Event::MalformedCommand { why: error.to_string(), reply },
        })
    }

    /// A coordinator announces itself. What the worker asked the one before is not waited for.
    fn announced(&mut self, message: &Message) -> Option<Event> {
        let term = self.client.announced(&message.payload)?;
        if !self.core.knows(term.token)
            && let Some(beat) = self.beat.take()
        {
            beat.task.abort();
            let answer = Err("another coordinator announced itself".into());
            self.core.handle(Event::Answered { request: beat.request, answer }, self.clock.now());
        }
        Some(Event::Announced { token: term.token })
    }

    /// What a task's message means to the core. Outcomes of runs that were stopped meanwhile mean nothing.
    fn event_of(&mut self, message: TaskMessage) -> Option<Event> {
        match message {
            TaskMessage::Progress => None,
            TaskMessage::Fetched { fetch, result } => {
                let attempt = self.fetches.ended(fetch)?;
                Some(match result {
                    Ok(fetched) => {
                        self.fetches.keep(attempt, fetched);
                        Event::Fetched { fetch }
                    }
                    Err((outcome, usage)) => {
                        let why = jobs::summary(&outcome);
                        tracing::info!(%attempt, outcome = %why, "job ended before it began");
                        self.jobs.traces.not_fetched(attempt, &why);
                        Event::FetchFailed { fetch, outcome, usage }
                    }
                })
            }
            TaskMessage::Ended { run, outcome, usage } => Some(Event::Ended { run, outcome, usage }),
            TaskMessage::Answered { request, answer, beat } => {
                if beat.is_some() && self.beat.take_if(|of| Some(of.n) == beat).is_none() {
                    // It was given up, and answered then.
                    return None;
                }
                Some(Event::Answered { request, answer })
            }
            TaskMessage::SelfTested(result) => {
                Some(Event::Fit(self.self_tests.tested(result, &self.jobs, &self.to_loop)))
            }
        }
    }

    async fn handle(&mut self, event: Event) {
        if let Event::Ended { run, .. } = &event
            && !self.runs.remove(*run)
        {
            return;
        }
        if let Event::Ended { outcome, .. } | Event::FetchFailed { outcome, .. } = &event {
            self.status.metrics.job_finished(outcome);
            self.self_tests.note(outcome, &self.jobs, &self.to_loop);
        }
        self.core.handle(event, self.clock.now());
        self.execute_actions().await;
    }

    async fn execute_actions(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Reply { to, reply } => self.client.reply(&to, &reply).await,
                Action::Register(mut hello) => {
                    hello.holds = self.jobs.cache.list().into_iter().map(Holding::OnDisk).collect();
                    self.request(Request::Register, FromWorker::Hello(hello));
                }
                Action::Heartbeat(mut heartbeat) => {
                    heartbeat.holdings = self.jobs.cache.take_evicted().into_iter().map(Holding::Gone).collect();
                    heartbeat.compiling = self.runs.compiling();
                    self.request(Request::Heartbeat, FromWorker::Heartbeat(*heartbeat));
                }
                Action::Report(report) => {
                    self.request(Request::Report((&*report).into()), FromWorker::Report(report));
                }
                Action::Fetch { fetch, dispatch } => self.fetch(fetch, dispatch),
                Action::StopFetch { fetch } => self.fetches.stop(fetch),
                Action::Start { run, dispatch, behind } => self.start(run, dispatch, behind),
                Action::GrantSlot { run } => self.runs.grant_slot(run),
                Action::Stop { run } => drop(self.runs.remove(run)),
                Action::Leave => {
                    self.left = true;
                    self.client.deregister().await;
                }
                Action::Notice(notice) => {
                    self.status.metrics.noticed(&notice);
                    notices::log(&notice);
                }
            }
        }
    }

    fn request(&mut self, request: Request, message: FromWorker) {
        let (client, to_loop) = (self.client.clone(), self.to_loop.clone());
        let beat = match request {
            Request::Register | Request::Heartbeat => {
                self.last_beat += 1;
                Some(self.last_beat)
            }
            Request::Report(_) => None,
        };
        let task = tokio::spawn(async move {
            let answer = client.request(&message).await;
            // The loop has ended, or takes it.
            let _ = to_loop.send(TaskMessage::Answered { request, answer, beat });
        });
        if let Some(n) = beat {
            self.beat = Some(Beat { n, request, task: task.abort_handle() });
        }
    }

    /// A job that has all that it needs at hand is ready at once, without a turn through a task.
    fn fetch(&mut self, fetch: FetchId, dispatch: Arc<Dispatch>) {
        match self.jobs.at_hand(&dispatch.spec) {
            Some(fetched) => {
                self.fetches.keep((&*dispatch).into(), fetched);
                self.core.handle(Event::Fetched { fetch }, self.clock.now());
            }
            None => self.fetches.start(fetch, dispatch, self.jobs.clone(), self.to_loop.clone()),
        }
    }

    fn start(&mut self, run: RunId, dispatch: Arc<Dispatch>, behind: Option<RunId>) {
        let (grant, new) = self.runs.prepare(behind);
        let fetched = self.fetches.of((&*dispatch).into());
        let meter = CompileMeter::default();
        let compiling = (AttemptKey::from(&*dispatch).into(), meter.clone());
        let task = JobTask { run, dispatch, fetched, grant, meter, to_loop: self.to_loop.clone() };
        let task = tokio::spawn(jobs::run(self.jobs.clone(), task));
        self.runs.insert(run, new, compiling, task.abort_handle());
    }

    /// Looks at what costs system calls, once in a while.
    fn show_footprint(&mut self) {
        let now = Instant::now();
        if self.footprint_shown.is_some_and(|at| now.duration_since(at) < FOOTPRINT_INTERVAL) {
            return;
        }
        self.footprint_shown = Some(now);
        let (templates, cache) = (self.jobs.runner.footprint(), self.jobs.cache.footprint());
        self.status.metrics.footprint(templates, cache, self.client.bus_stats());
        let (connected, registered, fit) = (self.client.is_connected(), self.core.is_registered(), self.core.is_fit());
        let security = self.jobs.runner.sandbox().status();
        self.status.http.readiness.show(conditions((connected, registered, fit), &security));
    }

    fn show_status(&mut self) {
        self.show_footprint();
        // Frees those that are too old.
        self.status.metrics.result_bytes(self.jobs.results.bytes() as u64);
        self.status.metrics.show(&self.core, self.client.is_connected());
        let http = &self.status.http;
        http.liveness.tick();
        if self.core.is_draining() {
            http.readiness.not_ready("draining");
        } else if !self.core.is_fit() {
            http.readiness.not_ready("self-test failed");
        } else if !self.client.is_connected() {
            http.readiness.not_ready("bus disconnected");
        } else if !self.core.is_registered() {
            http.readiness.not_ready("not registered with a coordinator");
        } else {
            http.readiness.ready();
        }
    }
}

/// Completes at this time, if there is one.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
