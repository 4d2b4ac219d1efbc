//! The scheduler on an untrusted bus: well-formed messages with arbitrary contents, from clients and workers that may
//! not exist, about jobs that may not exist. The scheduler must not panic, must keep its invariants, and all that it
//! sends must survive encoding and decoding.

mod messages;

use crate::{Seeds, traced};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use messages::{duration, few};
use pvf_scheduler::{
    Answer, Command, Delivery, Effect, Event, Limit, Listed, Policy, Scheduler, SchedulerConfig, Timestamp, UserLimits,
    check,
};
use pvf_shared::{
    artifact::{ArtifactDigest, ArtifactInfo, StoredArtifact},
    config::ProtocolTimeouts,
    identity::{ClientId, UserName, WorkerId},
    ids::{ArtifactId, FencingToken},
    keys::KeyFingerprint,
    subjects::Subject,
    wire::{self, FromClient, FromWorker, MAX_ASKED, StatusQuestion, SubmitReply, ToClient, ToWorker, WireMessage},
};
use std::{sync::Arc, time::Duration};

/// Longer inputs take too long.
const MAX_STEPS: usize = 200;
/// Timeouts that are handled in one wait.
const MAX_TIMEOUTS: usize = 2_000;
/// Timeouts at one moment; more mean that the scheduler does not come to rest.
const MAX_AT_ONCE: usize = 20_000;

/// A scheduler, and the part of the coordinator's shell that it needs.
struct Network {
    scheduler: Scheduler,
    now: Timestamp,
    sent: Vec<(WorkerId, ToWorker)>,
    looked_up: Vec<Arc<ArtifactId>>,
    dropped: Vec<Arc<ArtifactId>>,
    pins_to_save: u32,
}

/// A message as its receiver decodes it.
fn received<T: WireMessage + PartialEq + std::fmt::Debug>(message: &T) -> T {
    let read = wire::decode::<T>(&wire::encode(message)).expect("an encoded message can be decoded");
    assert_eq!(&read, message);
    read
}

fn reply_subject() -> Subject {
    Subject::received("_INBOX.default.1")
}

impl Network {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let mut policy = Policy {
            ahead: u.int_in_range(0..=4)?,
            max_deaths: u.int_in_range(1..=3)?,
            max_preparations: u.int_in_range(1..=2)?,
            ..Policy::default()
        };
        policy.shares.restart = u.arbitrary()?;
        if u.arbitrary()? {
            policy.per_user = UserLimits { requests: 3, bytes: 100, sessions: 2, jobs: 1, ..UserLimits::default() };
            policy.per_kind = Limit { requests: 5, bytes: 150 };
        }
        policy.check().expect("a valid policy");
        let now = Timestamp::at(Duration::from_secs(1_700_000_000));
        let config = SchedulerConfig {
            token: FencingToken(2),
            timing: ProtocolTimeouts::default(),
            policy,
            version: "v".into(),
            trusted_keys: vec![KeyFingerprint::Unsigned],
        };
        let scheduler = Scheduler::new(config, now);
        let mut this = Self { scheduler, now, sent: vec![], looked_up: vec![], dropped: vec![], pins_to_save: 0 };
        this.settle();
        this.handle(Event::PinsRead { codes: vec![] });
        Ok(this)
    }

    fn handle(&mut self, event: Event) {
        if traced() {
            eprintln!("{:?} {event:?}", self.now);
        }
        self.scheduler.handle(event, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(effect) = self.scheduler.poll_effect() {
            if traced() {
                eprintln!("{:?} -> {effect:?}", self.now);
            }
            self.perform(effect);
        }
        self.scheduler.assert_invariants();
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { answer, .. } => match answer {
                Answer::Accepted { .. } => drop(received(&SubmitReply::Accepted)),
                Answer::Submit(answer) => drop(received(&answer)),
                Answer::Ask(answer) => drop(received(&answer)),
                Answer::Status(answer) => drop(received(&*answer)),
                Answer::Operator(answer) => drop(received(&answer)),
                Answer::Worker(answer) => drop(received(&answer)),
            },
            Effect::Verdict { verdict, .. } => drop(received(&ToClient::Verdict(Box::new((*verdict).clone())))),
            Effect::ToWorker { worker, message } => {
                self.sent.push((worker, received(&message)));
                if self.sent.len() > 64 {
                    self.sent.remove(0);
                }
            }
            Effect::LookUp { artifact } => self.looked_up.push(artifact),
            Effect::Drop { artifact } => self.dropped.push(artifact),
            Effect::SavePins { .. } => self.pins_to_save += 1,
            Effect::ListArtifacts | Effect::ReadPins | Effect::SaveNeeded { .. } | Effect::Notice(_) => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        let (mut timeouts, mut at_once) = (0, 0);
        while let Some(at) = self.scheduler.poll_timeout().map(|at| at.max(self.now)).filter(|at| *at <= until) {
            at_once = if at == self.now { at_once + 1 } else { 0 };
            assert!(at_once < MAX_AT_ONCE, "the scheduler does not come to rest");
            timeouts += 1;
            if timeouts > MAX_TIMEOUTS && at_once == 0 {
                // A long silence is cut short.
                self.now = at;
                return;
            }
            self.now = at;
            self.scheduler.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn on_client_message(&mut self, client: ClientId, message: &FromClient) {
        let reply = Some(reply_subject());
        // As the coordinator's shell does it.
        self.handle(match received(message) {
            FromClient::Submit(submission) => {
                if check(&submission).is_err() {
                    return;
                }
                let identity = submission.validation_key();
                Event::Submit { client, submission, identity, reply }
            }
            FromClient::Ask { mut requests, mut heard } => {
                requests.truncate(MAX_ASKED);
                heard.truncate(MAX_ASKED);
                Event::Ask { client, requests, heard, reply }
            }
            FromClient::Cancel { request } => Event::Cancel { client, request, reply },
            FromClient::Leaves { update } => Event::Leaves { client, update, reply },
        });
    }

    fn on_worker_message(&mut self, worker: WorkerId, message: &FromWorker, answers_dispatch: bool) {
        let reply = (!answers_dispatch).then(reply_subject);
        self.handle(match received(message) {
            FromWorker::Hello(hello) => Event::Hello { worker, hello, reply },
            FromWorker::Heartbeat(heartbeat) => Event::Heartbeat { worker, heartbeat, reply },
            FromWorker::Report(report) => Event::Report { worker, report, reply },
            FromWorker::Goodbye => Event::Goodbye { worker, reply },
        });
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0 => self.pass(Duration::from_millis(u.int_in_range(0..=10_000)?)),
            1 => self.pass(duration(u)?.min(Duration::from_secs(100 * 24 * 3600))),
            2..=4 => {
                let (client, submission) = (messages::client(u)?, messages::submission(u)?);
                self.on_client_message(client, &FromClient::Submit(Box::new(submission)));
            }
            5 => {
                if u.ratio(1, 4)? {
                    let (operator, message) = (UserName::default(), received(&messages::from_operator(u)?));
                    self.handle(Event::Operator { operator, message, reply: Some(reply_subject()) });
                    let StatusQuestion { host } = received(&messages::question(u)?);
                    self.handle(Event::Status { host, reply: Some(reply_subject()) });
                } else {
                    let (client, message) = (messages::client(u)?, messages::from_client(u)?);
                    self.on_client_message(client, &message);
                }
            }
            6 | 7 => {
                let hello = messages::hello(u)?;
                self.on_worker_message(messages::worker(u)?, &FromWorker::Hello(Box::new(hello)), false);
            }
            8 => {
                let (worker, heartbeat) = messages::heartbeat(u, &self.sent)?;
                self.on_worker_message(worker, &FromWorker::Heartbeat(heartbeat), false);
            }
            9..=11 => {
                let (worker, report) = messages::report(u, &self.sent)?;
                self.on_worker_message(worker, &FromWorker::Report(Box::new(report)), u.arbitrary()?);
            }
            12 => self.delivered(u)?,
            13 => self.looked_up(u)?,
            14 => match u.int_in_range(0..=4)? {
                0 => self.on_worker_message(messages::worker(u)?, &FromWorker::Goodbye, false),
                1 => {
                    self.handle(Event::Link { up: u.arbitrary()? });
                    while self.pins_to_save > 0 {
                        self.pins_to_save -= 1;
                        self.handle(Event::PinsSaved { error: u.ratio(1, 4)?.then(|| "full".to_owned()) });
                    }
                }
                2 | 3 => {
                    if let Some(artifact) = self.dropped.pop() {
                        let error = u.ratio(1, 8)?.then(|| "full".to_owned());
                        self.handle(Event::Dropped { artifact, error });
                    }
                }
                _ => {
                    let artifact = messages::artifact(u)?;
                    let listed = Listed { artifact, bytes: messages::number(u)?, idle: duration(u)? };
                    self.handle(Event::Listed(vec![listed]));
                }
            },
            _ => {
                // A day without messages: pruning and expiry.
                self.pass(Duration::from_secs(24 * 3600));
            }
        }
        Ok(())
    }

    /// The shell's report of what became of a sent message; the shell is trusted.
    fn delivered(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let at = u.choose_index(self.sent.len())?;
        let (worker, message) = if u.arbitrary()? { self.sent.remove(at) } else { self.sent[at].clone() };
        let delivery = match u.int_in_range(0..=3)? {
            0 => Delivery::Taken,
            1 => Delivery::Refused(wire::CommandRefusal::NoFreeSlot),
            2 => Delivery::NoSubscriber,
            _ => Delivery::Unknown("lost".into()),
        };
        let (job, attempt, command) = match message {
            ToWorker::Dispatch(dispatch) => (dispatch.job, dispatch.attempt, Command::Dispatch),
            ToWorker::Cancel { job, attempt, .. } => (job, attempt, Command::Cancel),
            ToWorker::Recall { job, attempt, .. } => (job, attempt, Command::Recall),
            ToWorker::Acknowledge { .. } => return Ok(()),
        };
        self.handle(Event::Delivered { worker, job, attempt, command, delivery });
        Ok(())
    }

    fn looked_up(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.looked_up.is_empty() {
            return Ok(());
        }
        let artifact = self.looked_up.remove(u.choose_index(self.looked_up.len())?);
        let found = match u.int_in_range(0..=5)? {
            0 | 1 => Ok(None),
            2 => Ok(Some(StoredArtifact::Prepared(ArtifactInfo {
                bytes: messages::number(u)?,
                digest: ArtifactDigest([few(u)?; 32]),
            }))),
            3 => Ok(Some(StoredArtifact::Failed(messages::prepare_error(u)?))),
            4 => Ok(Some(StoredArtifact::Damaged)),
            _ => Err("the store is gone".into()),
        };
        self.handle(Event::LookedUp { artifact, found });
        Ok(())
    }
}

fn play(bytes: &[u8]) -> Result<()> {
    let mut u = Unstructured::new(bytes);
    let mut network = Network::new(&mut u)?;
    for _ in 0..MAX_STEPS {
        if u.is_empty() {
            break;
        }
        network.step(&mut u)?;
    }
    network.pass(Duration::from_secs(60));
    Ok(())
}

/// Plays one input.
pub fn run(bytes: &[u8]) {
    // An input that ends early is played as far as it goes.
    let _ = play(bytes);
}

/// Describes an input; playing it with `PVF_FUZZ_TRACE=1` prints its events.
pub fn show(bytes: &[u8]) -> String {
    format!("{} bytes; `run again` prints every event and effect", bytes.len())
}

/// Random bytes: any input is a run.
pub fn seeds() -> Seeds {
    let seed = |n: u64| {
        let mut rng = fastrand::Rng::with_seed(n ^ 0xabcd);
        let bytes: Vec<u8> = (0..100 + n * 30).map(|_| rng.u8(..)).collect();
        (format!("seed {n}"), bytes)
    };
    (0..24).map(seed).collect()
}
