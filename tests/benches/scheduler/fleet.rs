//! A scheduler with an imaginary fleet around it: all workers are busy, each job that ends makes room for the next,
//! and every effect is answered at once. Only calls of the scheduler are measured, not what the fleet does.

use crate::account::{SlowOperation, ThreadAccount, allocated_by};
use pvf_scheduler::{
    Answer, Command, Delivery, Effect, Event, Limit, Policy, Scheduler, SchedulerConfig, Timestamp, UserLimits,
};
use pvf_shared::{
    Bytes,
    artifact::{ArtifactDigest, ArtifactInfo, StoredArtifact},
    blob::BlobRef,
    config::ProtocolTimeouts,
    identity::{ClientId, UserName, WorkerId},
    ids::{BlobHash, CodeHash, FencingToken, RelayHash, RequestId, ValidationKey},
    job::{ExecuteOutcome, JobOutcome, JobUsage},
    keys::KeyFingerprint,
    priority::ExecuteKind,
    wire::{
        CommandRefusal, Dispatch, ExecuteSubmission, Heartbeat, JobReport, RunningJob, Submission, SubmitReply,
        ToWorker, Work, WorkerHello, WorkerKind,
    },
};
use pvf_testkit::fixtures;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// No operation may use the processor for longer than this.
pub const LONGEST: Duration = Duration::from_millis(1);
/// The thread's account is read once in this many operations.
pub const ACCOUNT_EVERY: usize = 32;
/// Clients that submit requests.
const CLIENTS: u64 = 300;
/// Longer than any measurement by the scheduler's clock.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// What is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// Requests in the queue.
    pub queued: u64,
    /// Workers; a tenth of them prepare.
    pub workers: u64,
    /// Artifacts that the requests need.
    pub artifacts: u64,
    /// Events to measure.
    pub events: u64,
}

/// Measurements of the scheduler's calls.
pub struct Measured {
    /// Events that the scheduler handled.
    pub events: u64,
    /// Wall time in the scheduler.
    pub spent: Duration,
    /// Wall time of each operation: an event or a timeout, with the effects drained.
    pub operations: Vec<Duration>,
    /// Operations over [`LONGEST`] by the wall clock.
    pub slow: Vec<SlowOperation>,
    account: ThreadAccount,
}

impl Measured {
    fn new(capacity: usize) -> Self {
        Self {
            events: 0,
            spent: Duration::ZERO,
            operations: Vec::with_capacity(capacity),
            slow: Vec::new(),
            account: ThreadAccount::read(),
        }
    }
}

/// The scheduler and its imaginary fleet.
pub struct Fleet {
    scheduler: Scheduler,
    now: Timestamp,
    /// Events that the scheduler is given next.
    inbox: VecDeque<Event>,
    effects: VecDeque<Effect>,
    running: VecDeque<(WorkerId, RunningJob)>,
    size: Size,
    submitted: u64,
    measured: Measured,
}

/// Like a UUID of version 7: the time in front, random bits behind it.
fn request_id(n: u64) -> RequestId {
    RequestId(Uuid::from_u128((u128::from(n) << 80) | u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

fn worker_id(n: u64) -> WorkerId {
    let kind = if n.is_multiple_of(10) { WorkerKind::Prepare } else { WorkerKind::Execute };
    WorkerId { kind, user: UserName::default(), session: Uuid::from_u128(u128::from(n) << 64 | 7) }
}

fn client_of(n: u64) -> ClientId {
    ClientId { user: UserName::default(), session: Uuid::from_u128(u128::from(n % CLIENTS) << 64 | 9) }
}

fn hello(n: u64) -> WorkerHello {
    WorkerHello { slots: 2, host: format!("host{}", n / 4), ..fixtures::hello() }
}

impl Fleet {
    /// An empty scheduler without limits on what is queued.
    pub fn new(size: Size) -> Self {
        let unlimited = Limit { requests: u64::MAX, bytes: u64::MAX };
        let per_user = UserLimits { requests: u64::MAX, bytes: u64::MAX, ..UserLimits::default() };
        let dispatch_delay = Duration::ZERO;
        let policy =
            Policy { per_kind: unlimited, per_user, client_silence: NEVER, dispatch_delay, ..Policy::default() };
        let now = Timestamp::at(Duration::from_secs(1_700_000_000));
        let config = SchedulerConfig {
            token: FencingToken(1),
            timing: ProtocolTimeouts { worker_silence: NEVER, ..ProtocolTimeouts::default() },
            policy,
            version: "bench".into(),
            trusted_keys: vec![KeyFingerprint::Unsigned],
        };
        Self {
            scheduler: Scheduler::new(config, now),
            now,
            inbox: VecDeque::new(),
            effects: VecDeque::new(),
            running: VecDeque::new(),
            size,
            submitted: 0,
            measured: Measured::new(0),
        }
    }

    /// Registers the workers, fills their slots and the queue; returns the memory of a queued request, bytes.
    pub fn fill(&mut self) -> f64 {
        for n in 0..self.size.workers {
            self.inbox.push_back(Event::Hello { worker: worker_id(n), hello: Box::new(hello(n)), reply: None });
            self.drive();
        }
        // Every slot is taken (one more job is staged for each worker) and every artifact is known before memory is
        // counted.
        let slots = (self.size.workers - self.size.workers.div_ceil(10)) * 3;
        self.submit_many(slots.max(self.size.artifacts));
        self.measured = Measured::new(0);
        self.effects.shrink_to_fit();
        let bytes = allocated_by(|| {
            self.submit_many(self.size.queued);
            self.measured = Measured::new(0);
        });
        bytes as f64 / self.size.queued as f64
    }

    /// Measures the steady state: for each job that ends another request is submitted; workers send heartbeats, and
    /// now and then a client queries or cancels a request.
    pub fn run(mut self) -> Measured {
        self.measured = Measured::new(self.size.events as usize * 2);
        let mut n = 0;
        while self.measured.events < self.size.events {
            n += 1;
            self.submit();
            self.finish_one();
            if n % 2 == 0 {
                let worker = worker_id(n % self.size.workers);
                let heartbeat = Heartbeat::default();
                self.inbox.push_back(Event::Heartbeat { worker, heartbeat, reply: None });
            }
            if n % 20 == 0 {
                let of = self.submitted - n % self.size.queued;
                let (client, request) = (client_of(of), request_id(of));
                self.inbox.push_back(Event::Ask { client, requests: vec![request], heard: vec![], reply: None });
                self.inbox.push_back(Event::Cancel { client, request, reply: None });
                // In place of the cancelled one, so that the queue keeps its length.
                self.submit();
            }
            self.drive();
        }
        self.measured
    }

    fn submit_many(&mut self, requests: u64) {
        for _ in 0..requests {
            self.submit();
            self.drive();
            // Filling is not measured, and the list would count as the scheduler's memory.
            self.measured.operations.clear();
        }
    }

    /// Gives the scheduler its events, and answers its effects, until there are none.
    fn drive(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            self.now = self.now.after(Duration::from_micros(1));
            let now = self.now;
            self.operation(|scheduler| scheduler.handle(event, now));
            self.measured.events += 1;
            while self.scheduler.poll_timeout().is_some_and(|due| due <= now) {
                self.operation(|scheduler| scheduler.handle_timeout(now));
            }
            while let Some(effect) = self.effects.pop_front() {
                self.answer(effect);
            }
        }
    }

    fn operation(&mut self, operation: impl FnOnce(&mut Scheduler)) {
        if self.measured.operations.len().is_multiple_of(ACCOUNT_EVERY) {
            self.measured.account = ThreadAccount::read();
        }
        let started = Instant::now();
        operation(&mut self.scheduler);
        while let Some(effect) = self.scheduler.poll_effect() {
            self.effects.push_back(effect);
        }
        let took = started.elapsed();
        self.measured.spent += took;
        self.measured.operations.push(took);
        if took > LONGEST {
            self.measured.slow.push(SlowOperation::since(self.measured.account, took));
        }
    }

    /// Answers an effect. Jobs stay at their workers until [`Fleet::finish_one`].
    fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::LookUp { artifact } => {
                let found =
                    Ok(Some(StoredArtifact::Prepared(ArtifactInfo { bytes: 1000, digest: ArtifactDigest([1; 32]) })));
                self.inbox.push_back(Event::LookedUp { artifact, found });
            }
            Effect::ToWorker { worker, message: ToWorker::Dispatch(dispatch) } => {
                let Dispatch { token, job, attempt, .. } = *dispatch;
                self.running.push_back((worker, RunningJob { token, job, attempt }));
                let (command, delivery) = (Command::Dispatch, Delivery::Taken);
                self.inbox.push_back(Event::Delivered { worker, job, attempt, command, delivery });
            }
            Effect::ToWorker { worker, message: ToWorker::Recall { job, attempt, .. } } => {
                let (command, delivery) = (Command::Recall, Delivery::Refused(CommandRefusal::NotStaged));
                self.inbox.push_back(Event::Delivered { worker, job, attempt, command, delivery });
            }
            Effect::Reply { answer: Answer::Submit(SubmitReply::Refused(why)), .. } => panic!("refused: {why}"),
            _ => {}
        }
    }

    fn finish_one(&mut self) {
        let Some((worker, RunningJob { token, job, attempt })) = self.running.pop_front() else { return };
        let outcome = ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from_static(b"result")));
        let (outcome, usage) = (JobOutcome::Execute(outcome), JobUsage::default());
        let report = Box::new(JobReport { token, job, attempt, outcome, usage });
        self.inbox.push_back(Event::Report { worker, report, reply: None });
    }

    fn submit(&mut self) {
        self.submitted += 1;
        let (submission, identity) = self.submission(self.submitted);
        let client = client_of(self.submitted);
        self.inbox.push_back(Event::Submit { client, submission, identity, reply: None });
    }

    fn submission(&self, n: u64) -> (Box<Submission>, Option<ValidationKey>) {
        let code = n.wrapping_mul(0x9e37_79b9) % self.size.artifacts;
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&code.to_le_bytes());
        let mut block = [0; 32];
        block[..8].copy_from_slice(&n.to_le_bytes());
        let kind = ExecuteKind::ALL[(n % 4) as usize];
        // A PoV of its own for each, so that none is coalesced with another.
        let block_data = BlobRef::Held { hash: BlobHash(block), len: n };
        let work = ExecuteSubmission {
            relay_leaf: (n % 4 > 1).then_some(RelayHash([(n % 13) as u8; 32])),
            ..fixtures::execution(kind, block_data)
        };
        let answer_within = Duration::from_millis(10_000_000 + n.wrapping_mul(7919) % 1_000_000);
        let work = Work::Execute(Box::new(work));
        let submission = Submission { answer_within, ..fixtures::submission(request_id(n), CodeHash(hash), work) };
        let identity = submission.validation_key();
        (Box::new(submission), identity)
    }
}
