//! The shell of each worker's core: it hands over commands, answers and facts, and executes the core's actions.

use super::{
    checks::WorkerChecks, network::Requester, processes::Run, scheduled::Scheduled, setup::WorkerSetup, world::World,
};
use pvf_scheduler::Event as SchedulerEvent;
use pvf_shared::{
    artifact::ArtifactDigest,
    identity::{UserName, WorkerId},
    ids::{ArtifactId, FencingToken},
    job::JobUsage,
    subjects::Subject,
    time::Timestamp,
    wire::{Dispatch, ToWorker, WorkerReply},
};
use pvf_worker_core::{Action, Agent, Event, FetchId, Notice, Request, RunId};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// A worker: its real core, and what its shell has.
#[derive(Debug)]
pub struct Worker {
    pub setup: WorkerSetup,
    core: Agent,
    /// Changes when the worker loses its state: what was under way for an earlier generation does not reach it.
    pub generation: u64,
    /// It stands still until then; its processes go on.
    pub stopped_until: Option<Timestamp>,
    /// What reached it while it stood still.
    held: Vec<Scheduled>,
    pub runs: BTreeMap<RunId, Run>,
    /// Jobs whose artifact and input are on their way.
    pub fetching: BTreeMap<FetchId, Arc<Dispatch>>,
    /// Its copies of artifacts.
    pub copies: HashMap<ArtifactId, Option<ArtifactDigest>>,
    pub checks: WorkerChecks,
    /// Its machine is broken until then: every job fails at once.
    pub fails_until: Timestamp,
    /// When the core's next timeout is scheduled.
    wake_at: Option<Timestamp>,
}

/// What reaches a worker's core.
#[derive(Debug)]
pub enum Input {
    /// A request was answered, or not in time.
    Answered { request: Request, answer: Result<WorkerReply, String> },
    /// A fetch is over.
    FetchEnds(FetchId),
    /// The worker sees that a staged process has begun.
    Began(RunId),
    /// The worker sees that a process has ended.
    SlotReleased(RunId),
    /// The worker has stored and judged what the process left.
    Ended(RunId),
    /// The core's timeout.
    Timeout,
    /// Whether the machine can run jobs.
    Fit(bool),
    /// The worker is asked to end.
    Shutdown,
    /// The announcement of a coordinator with this token.
    Announced(FencingToken),
}

impl World {
    /// A worker starts.
    pub(super) fn new_worker(&mut self, setup: WorkerSetup) {
        let id = WorkerId { kind: setup.kind, user: UserName::default(), session: self.new_uuid() };
        self.add_worker(id, setup, 0);
    }

    fn add_worker(&mut self, id: WorkerId, setup: WorkerSetup, generation: u64) {
        let delay = self.millis(0..500);
        let worker = Worker {
            core: setup.core(self.now.after(delay)),
            checks: WorkerChecks::default(),
            setup,
            generation,
            stopped_until: None,
            held: Vec::new(),
            runs: BTreeMap::new(),
            fetching: BTreeMap::new(),
            copies: HashMap::new(),
            fails_until: Timestamp::default(),
            wake_at: None,
        };
        self.workers.insert(id, worker);
        self.schedule_wake(id);
    }

    /// A worker dies; another one takes its place after this time.
    pub(super) fn worker_dies(&mut self, id: WorkerId, back: Duration) {
        self.release(id);
        self.checks.worker_fails(self.now);
        if let Some(dead) = self.workers.remove(&id) {
            self.after(back, Scheduled::NewWorker(Box::new(dead.setup)));
        }
    }

    /// A worker loses its state and its processes, and keeps its id.
    pub(super) fn worker_forgets(&mut self, id: WorkerId) {
        self.release(id);
        self.checks.worker_fails(self.now);
        if let Some(old) = self.workers.remove(&id) {
            self.add_worker(id, old.setup, old.generation + 1);
        }
    }

    /// A worker stands still for this long. What reaches it is handled when it goes on.
    pub(super) fn worker_stops(&mut self, id: WorkerId, time: Duration) {
        let until = self.now.after(time);
        self.checks.worker_fails(until);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.stopped_until = Some(until);
            let generation = worker.generation;
            self.after(time, Scheduled::WorkerResumes(id, generation));
        }
    }

    /// The end of a stop: the worker goes on, unless a later stop lasts longer.
    pub(super) fn stop_ends(&mut self, id: WorkerId, generation: u64) {
        let over = |w: &Worker| w.generation == generation && w.stopped_until.is_some_and(|until| until <= self.now);
        if self.workers.get(&id).is_some_and(over) {
            self.worker_resumes(id);
        }
    }

    /// A worker goes on, if it stood still: what was held back reaches it now, in its order.
    pub(super) fn worker_resumes(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.stopped_until.take().is_some() {
            worker.checks.resumed(self.now);
            self.release(id);
        }
    }

    fn release(&mut self, id: WorkerId) {
        let held = self.workers.get_mut(&id).map(|worker| std::mem::take(&mut worker.held));
        for scheduled in held.into_iter().flatten() {
            self.after(Duration::ZERO, scheduled);
        }
    }

    /// Where to hold back what reaches a worker that stands still.
    fn held_back(&mut self, id: WorkerId) -> Option<&mut Vec<Scheduled>> {
        self.workers.get_mut(&id).filter(|worker| worker.stopped_until.is_some()).map(|worker| &mut worker.held)
    }

    /// A command arrives at a worker.
    pub(super) fn command_arrives(
        &mut self,
        id: WorkerId,
        (message, by): (ToWorker, FencingToken),
        reply: Option<Subject>,
    ) {
        if let Some(held) = self.held_back(id) {
            return held.push(Scheduled::CommandArrives(id, message, reply, by));
        }
        // Acknowledgements say no token: the shell looks at the term of the message.
        if matches!(message, ToWorker::Acknowledge { .. }) && self.is_replaced(id, by) {
            return;
        }
        if !self.workers.contains_key(&id) {
            self.command_without_worker(reply.as_ref());
            return;
        }
        let actions = self.handle(id, Event::Command { message: message.clone(), reply: reply.clone() });
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.checks.on_command(&message, reply.as_ref(), &actions, self.now);
        }
        self.execute_all(id, actions);
    }

    /// Whether a worker has heard of a later coordinator than this one.
    pub(super) fn is_replaced(&self, id: WorkerId, coordinator: FencingToken) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.core.knows(FencingToken(coordinator.0 + 1)))
    }

    /// Something reaches a worker of this generation.
    pub(super) fn worker_input(&mut self, id: WorkerId, generation: u64, input: Input) {
        if self.workers.get(&id).is_none_or(|w| w.generation != generation) {
            return;
        }
        if let Some(held) = self.held_back(id) {
            return held.push(Scheduled::Worker(id, generation, input));
        }
        let event = match input {
            Input::Timeout => return self.worker_timeout(id),
            Input::Shutdown => Event::Shutdown,
            Input::Announced(token) => {
                if self.workers.get(&id).is_some_and(|worker| !worker.core.knows(token)) {
                    self.give_up_beat(id, generation);
                }
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.checks.on_announced(token);
                }
                Event::Announced { token }
            }
            Input::Fit(fit) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.checks.fit = fit;
                }
                Event::Fit(fit)
            }
            Input::Answered { request, answer } => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.checks.on_answer(request, &answer);
                }
                Event::Answered { request, answer }
            }
            Input::FetchEnds(fetch) => match self.fetched(id, fetch) {
                Some(event) => event,
                None => return,
            },
            Input::Began(run) | Input::SlotReleased(run) | Input::Ended(run) => match self.fact(id, run, &input) {
                Some(event) => event,
                None => return,
            },
        };
        let actions = self.handle(id, event);
        self.execute_all(id, actions);
    }

    /// A fact about a run, unless the core has stopped it. Its facts come in this order: began, slot released, ended.
    fn fact(&mut self, id: WorkerId, run: RunId, input: &Input) -> Option<Event> {
        let worker = self.workers.get_mut(&id)?;
        let generation = worker.generation;
        let this = worker.runs.get_mut(&run)?;
        match input {
            // Seen after its end was.
            Input::Began(_) if this.released => None,
            Input::Began(_) => Some(Event::Began { run }),
            Input::SlotReleased(_) => {
                this.released = true;
                let latency = self.latency();
                self.after(latency, Scheduled::Worker(id, generation, Input::Ended(run)));
                Some(Event::SlotReleased { run })
            }
            _ => {
                let ended = worker.runs.remove(&run)?;
                let outcome = self.outcome(id, &ended);
                let worker = self.workers.get_mut(&id)?;
                worker.checks.on_ended((&*ended.dispatch).into(), &outcome, self.now);
                Some(Event::Ended { run, outcome, usage: JobUsage::default() })
            }
        }
    }

    fn worker_timeout(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.wake_at.is_some_and(|at| at <= now) {
            worker.wake_at = None;
        }
        if worker.core.poll_timeout().is_some_and(|at| at <= now) {
            worker.core.handle_timeout(now);
            assert!(worker.core.poll_timeout().is_none_or(|at| at > now), "a worker's timeout does nothing");
            let actions = self.drain_worker(id);
            self.execute_all(id, actions);
        }
        self.schedule_wake(id);
    }

    fn handle(&mut self, id: WorkerId, event: Event) -> Vec<Action> {
        let now = self.now;
        if self.verbose {
            eprintln!("{now:?} {id:?} {event:?}");
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.core.handle(event, now);
        }
        self.drain_worker(id)
    }

    fn drain_worker(&mut self, id: WorkerId) -> Vec<Action> {
        let Some(worker) = self.workers.get_mut(&id) else { return vec![] };
        worker.core.assert_invariants();
        std::iter::from_fn(|| worker.core.poll_action()).collect()
    }

    /// Executes the actions of one step in their order.
    fn execute_all(&mut self, id: WorkerId, actions: Vec<Action>) {
        for action in actions {
            self.trace_action(id, &action);
            if self.verbose {
                eprintln!("{:?} {id:?} -> {action:?}", self.now);
            }
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.checks.on_action(&action, self.now);
            }
            self.execute(id, action);
        }
        self.schedule_wake(id);
    }

    fn execute(&mut self, id: WorkerId, action: Action) {
        let Some(generation) = self.workers.get(&id).map(|w| w.generation) else { return };
        let request = |request| Some(Requester::Worker(id, generation, request));
        match action {
            Action::Reply { to, reply } => self.send_command_answer(to, reply),
            Action::Register(hello) => self.send(request(Request::Register), |reply| {
                let hello = hello.clone();
                SchedulerEvent::Hello { worker: id, hello, reply }
            }),
            Action::Heartbeat(heartbeat) => self.send(request(Request::Heartbeat), |reply| {
                let heartbeat = (*heartbeat).clone();
                SchedulerEvent::Heartbeat { worker: id, heartbeat, reply }
            }),
            Action::Report(report) => {
                let attempt = (&*report).into();
                self.send(request(Request::Report(attempt)), |reply| SchedulerEvent::Report {
                    worker: id,
                    report: report.clone(),
                    reply,
                });
            }
            Action::Fetch { fetch, dispatch } => self.start_fetch(id, fetch, dispatch),
            Action::StopFetch { fetch } => {
                let stopped = self.workers.get_mut(&id).and_then(|worker| worker.fetching.remove(&fetch));
                assert!(stopped.is_some(), "{fetch:?} is stopped, and {id:?} does not have it");
            }
            Action::Start { run, dispatch, behind } => self.start_run(id, run, dispatch, behind),
            Action::GrantSlot { run } => self.grant_slot(id, run),
            Action::Stop { run } => self.stop_run(id, run),
            Action::Leave => {
                self.checks.worker_fails(self.now);
                if let Some(left) = self.workers.remove(&id) {
                    self.send(None, |reply| SchedulerEvent::Goodbye { worker: id, reply });
                    self.new_worker(left.setup);
                }
            }
            Action::Notice(Notice::Inconsistent { what }) => panic!("worker {id:?} contradicts itself: {what}"),
            Action::Notice(_) => {}
        }
    }

    /// Has the core's next timeout come when it is due.
    fn schedule_wake(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(at) = worker.core.poll_timeout() else { return };
        if worker.wake_at.is_none_or(|wake_at| at < wake_at) {
            worker.wake_at = Some(at);
            let (generation, delay) = (worker.generation, at.since(self.now));
            self.after(delay, Scheduled::Worker(id, generation, Input::Timeout));
        }
    }
}
