//! The harness: a scheduler with a clock that the test moves, and messages that go through the wire format.
//!
//! A test takes every effect in its order; when an [`Env`] is dropped it asserts that none is left, and that notices
//! and counters agree. What a worker would list in a heartbeat is derived from the messages between it and the
//! scheduler.

mod effects;
mod messages;

use super::fixtures::*;
use crate::{
    Answer, ArtifactFilter, ArtifactView, Command, Counts, Delivery, Effect, Event, Gauges, JobSubject, Notice, Page,
    Policy, RequestFilter, RequestView, Scheduler, SchedulerConfig, Timestamp, WorkerFilter, WorkerView,
};
use pvf_proto::{
    config::ProtocolTimeouts,
    identity::WorkerId,
    ids::{ArtifactId, FencingToken},
    job::{ExecuteJob, JobSpec, PrepareJob},
    subjects::Subject,
    wire::{Dispatch, RunningJob, ToClient, ToWorker, decode, encode},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// After one event a scheduler has nothing left to do at once within fewer rounds than this.
const MAX_ROUNDS: usize = 10_000;

/// A dispatched job and the worker that has it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) worker: WorkerId,
    pub(super) dispatch: Dispatch,
}

impl std::ops::Deref for Job {
    type Target = Dispatch;
    fn deref(&self) -> &Dispatch {
        &self.dispatch
    }
}

impl Job {
    pub(super) fn prepare(&self) -> &PrepareJob {
        let JobSpec::Prepare(job) = &self.spec else { panic!("a preparation was expected: {self:?}") };
        job
    }

    pub(super) fn execute(&self) -> &ExecuteJob {
        let JobSpec::Execute(job) = &self.spec else { panic!("an execution was expected: {self:?}") };
        job
    }

    /// What notices say that it is for.
    pub(super) fn subject(&self) -> JobSubject {
        match &self.spec {
            JobSpec::Prepare(job) => JobSubject::Preparation(Some(Arc::new(job.artifact.clone()))),
            JobSpec::Execute(_) => JobSubject::Execution(self.request),
        }
    }

    /// The code that is prepared.
    pub(super) fn code(&self) -> u8 {
        self.prepare().artifact.code_hash.0[0]
    }

    /// The attempt as its worker lists it.
    pub(super) fn listed(&self) -> RunningJob {
        RunningJob { token: self.token, job: self.job, attempt: self.attempt }
    }
}

pub(super) struct Env {
    token: FencingToken,
    scheduler: Scheduler,
    now: Timestamp,
    effects: VecDeque<Effect>,
    notices: Vec<Notice>,
    /// Notices that [`Env::new_notices`] has returned.
    notices_taken: usize,
    /// Attempts that each worker has.
    attempts: BTreeMap<WorkerId, Vec<RunningJob>>,
    /// Whether the test has damaged a table: the invariants do not hold any more.
    damaged: bool,
}

impl Env {
    pub(super) fn new() -> Self {
        Self::with(Policy::default())
    }

    /// A coordinator that dispatches from its start on.
    pub(super) fn with(policy: Policy) -> Self {
        Self::of_token(TOKEN, Policy { dispatch_delay: Duration::ZERO, ..policy })
    }

    /// A coordinator that has not heard yet which codes are pinned.
    pub(super) fn before_pins(policy: Policy) -> Self {
        Self::starting(TOKEN, Policy { dispatch_delay: Duration::ZERO, ..policy })
    }

    /// A coordinator with this token.
    pub(super) fn of_token(token: FencingToken, policy: Policy) -> Self {
        let mut env = Self::starting(token, policy);
        env.event(Event::PinsRead { codes: vec![] });
        env
    }

    fn starting(token: FencingToken, policy: Policy) -> Self {
        let config = SchedulerConfig {
            token,
            timing: ProtocolTimeouts::default(),
            policy,
            version: "t".into(),
            trusted_keys: trusted_keys(),
        };
        let now = Timestamp::at(Duration::from_secs(1_000_000_000));
        let mut env = Self {
            token,
            scheduler: Scheduler::new(config, now),
            now,
            effects: VecDeque::new(),
            notices: Vec::new(),
            notices_taken: 0,
            attempts: BTreeMap::new(),
            damaged: false,
        };
        env.settle();
        env.expect(Effect::ListArtifacts);
        env.expect(Effect::ReadPins);
        env
    }

    /// Handles an event and everything that is to be done at once after it.
    pub(super) fn event(&mut self, event: Event) {
        self.scheduler.handle(event, self.now);
        self.settle();
    }

    /// Handles an event only. Returns whether more is to be done at once.
    pub(super) fn event_alone(&mut self, event: Event) -> bool {
        self.scheduler.handle(event, self.now);
        self.collect();
        self.is_due()
    }

    /// Lets the scheduler go on once. Returns whether more is to be done at once.
    pub(super) fn go_on(&mut self) -> bool {
        self.scheduler.handle_timeout(self.now);
        self.collect();
        self.is_due()
    }

    fn settle(&mut self) {
        self.collect();
        for _ in 0..MAX_ROUNDS {
            if !self.is_due() {
                return;
            }
            self.go_on();
        }
        panic!("the scheduler does not come to rest: {:?}", self.effects);
    }

    fn is_due(&self) -> bool {
        self.scheduler.poll_timeout().is_some_and(|due| due <= self.now)
    }

    fn collect(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            match through_the_wire(effect) {
                Effect::Notice(Notice::Inconsistent { what }) if !self.damaged => {
                    panic!("the scheduler contradicts itself: {what}")
                }
                Effect::Notice(notice) => {
                    if let Notice::WorkerLeft { worker, .. } | Notice::WorkerLost { worker, .. } = &notice {
                        self.attempts.remove(worker);
                    }
                    self.notices.push(notice);
                }
                effect => {
                    if let Effect::ToWorker { worker, message: ToWorker::Dispatch(dispatch) } = &effect {
                        let job = Job { worker: *worker, dispatch: (**dispatch).clone() };
                        self.attempts.entry(*worker).or_default().push(job.listed());
                    }
                    self.effects.push_back(effect);
                }
            }
        }
        if !self.damaged {
            self.scheduler.assert_invariants();
        }
    }

    /// Moves the clock; timers fire when they are due.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while let Some(due) = self.scheduler.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.go_on();
        }
        self.now = until;
    }

    /// Moves the clock to a moment at which something is due, and handles the first piece of it. Returns whether more
    /// is to be done at once.
    pub(super) fn pass_until_due(&mut self, time: Duration) -> bool {
        self.now = self.now.after(time);
        assert!(self.is_due());
        self.go_on()
    }

    /// Moves the clock second by second, with a heartbeat of these workers after each.
    pub(super) fn pass_with_heartbeats(&mut self, workers: &[u64], seconds: u64) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            workers.iter().for_each(|n| self.heartbeat(*n));
        }
    }

    /// Time passes in which the scheduler is not called: its process stands still.
    pub(super) fn stand_still(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Damages the scheduler's tables, to see what it does about that. The invariants are not checked from here on.
    pub(super) fn damage(&mut self, damage: impl FnOnce(&mut crate::core::Core)) {
        self.damaged = true;
        damage(&mut self.scheduler.core);
    }

    /// Whether the scheduler counts on it that a worker has an artifact.
    pub(super) fn counts_as_held(&self, n: u64, artifact: &ArtifactId) -> bool {
        let core = &self.scheduler.core;
        let found = core.artifacts.iter().find(|(_, this)| *this.id == *artifact);
        found.is_some_and(|(key, _)| core.workers.get(&worker(n)).is_some_and(|worker| worker.holds(key).is_some()))
    }

    pub(super) fn is_registered(&self, n: u64) -> bool {
        self.scheduler.core.workers.contains(&worker(n))
    }

    pub(super) fn gauges(&self) -> Gauges {
        self.scheduler.gauges(self.now)
    }

    /// The only open request with this id, and what people are told about it.
    pub(super) fn explained(&self, n: u64) -> (RequestView, String) {
        let [view] = <[RequestView; 1]>::try_from(self.scheduler.requests_with_id(request(n))).unwrap();
        let why = self.scheduler.explain(&view, self.now).join("\n");
        (view, why)
    }

    pub(super) fn workers(&self, filter: &WorkerFilter) -> Page<WorkerView> {
        self.scheduler.workers(filter, self.now)
    }

    pub(super) fn requests(&self, filter: &RequestFilter) -> Page<RequestView> {
        self.scheduler.requests(filter)
    }

    pub(super) fn artifacts(&self, filter: &ArtifactFilter) -> Page<ArtifactView> {
        self.scheduler.artifacts(filter)
    }

    pub(super) fn counts(&self) -> Counts {
        self.scheduler.counts()
    }

    /// The notices since the last call.
    pub(super) fn new_notices(&mut self) -> Vec<Notice> {
        let new = self.notices[self.notices_taken..].to_vec();
        self.notices_taken = self.notices.len();
        new
    }

    /// What a worker would list in a heartbeat.
    pub(super) fn attempts_at(&self, n: u64) -> Vec<RunningJob> {
        self.attempts.get(&worker(n)).cloned().unwrap_or_default()
    }

    fn attempt_is_over(&mut self, job: &Job) {
        if let Some(attempts) = self.attempts.get_mut(&job.worker) {
            attempts.retain(|attempt| *attempt != job.listed());
        }
    }

    fn check_counts(&self) {
        let (counts, gauges) = (self.counts(), self.gauges());
        let noticed = |is: fn(&Notice) -> bool| self.notices.iter().filter(|notice| is(notice)).count() as u64;
        let joined = noticed(|notice| matches!(notice, Notice::WorkerJoined { .. }));
        let left = noticed(|notice| matches!(notice, Notice::WorkerLeft { .. }));
        let lost = noticed(|notice| matches!(notice, Notice::WorkerLost { .. }));
        assert_eq!([joined, left, lost], [counts.workers_joined, counts.workers_left, counts.workers_lost]);
        assert_eq!(gauges.workers[0].0 + gauges.workers[1].0, joined - left - lost);
        assert_eq!(noticed(|notice| matches!(notice, Notice::WorkerSuspect { .. })), counts.suspected);
        assert_eq!(noticed(|notice| matches!(notice, Notice::RequestShed { .. })), counts.overloaded);
        let unused = |notice: &Notice| matches!(notice, Notice::ArtifactDropped { why: crate::DropReason::Unused, .. });
        assert_eq!(noticed(unused), counts.artifacts_pruned);
        let quarantined = |notice: &Notice| {
            matches!(notice, Notice::ExecutionQuarantined { .. } | Notice::PreparationQuarantined { .. })
        };
        assert_eq!(noticed(quarantined), counts.quarantined);
        assert_eq!(noticed(|notice| matches!(notice, Notice::Inconsistent { .. })), counts.inconsistencies);
        assert_eq!(counts.execute_selected.iter().sum::<u64>(), counts.execute_dispatched);
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.quiet();
            if !self.damaged {
                self.check_counts();
            }
        }
    }
}

fn reply_subject() -> Subject {
    Subject::received("_INBOX.default.1")
}

/// An effect whose message was encoded and decoded.
fn through_the_wire(effect: Effect) -> Effect {
    match effect {
        Effect::ToWorker { worker, message } => {
            Effect::ToWorker { worker, message: decode(&encode(&message)).unwrap() }
        }
        Effect::Verdict { client, verdict, about } => {
            let ToClient::Verdict(verdict) = decode(&encode(&ToClient::Verdict(Box::new((*verdict).clone())))).unwrap();
            Effect::Verdict { client, verdict: (*verdict).into(), about }
        }
        Effect::Reply { to, answer } => {
            let answer = match answer {
                accepted @ Answer::Accepted { .. } => accepted,
                Answer::Submit(reply) => Answer::Submit(decode(&encode(&reply)).unwrap()),
                Answer::Ask(reply) => Answer::Ask(decode(&encode(&reply)).unwrap()),
                Answer::Status(status) => Answer::Status(Box::new(decode(&encode(&*status)).unwrap())),
                Answer::Operator(reply) => Answer::Operator(decode(&encode(&reply)).unwrap()),
                Answer::Worker(reply) => Answer::Worker(decode(&encode(&reply)).unwrap()),
            };
            Effect::Reply { to, answer }
        }
        effect => effect,
    }
}

/// The answer to a worker, if an effect is one.
pub(super) fn worker_reply(effect: &Effect) -> Option<pvf_proto::wire::WorkerReply> {
    match effect {
        Effect::Reply { answer: Answer::Worker(reply), .. } => Some(reply.clone()),
        _ => None,
    }
}
