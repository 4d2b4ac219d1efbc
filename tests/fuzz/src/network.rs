//! The scheduler on a bus where everybody lies: messages that keep the protocol's form and no other promise, from
//! nodes and workers that may not exist, about jobs that may not either. It never panics, its parts never contradict
//! each other, and whatever it says can be sent.

mod messages;

use crate::{Seeds, traced};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use messages::{duration, few};
use pvf_coordinator::scheduler::{
    Answer, Command, Delivery, Effect, Event, Limit, Listed, Moment, Policy, Scheduler, SchedulerConfig, check,
};
use pvf_shared::{
    config::Timing,
    ids::{ArtifactId, FencingToken, FleetName, NodeId, WorkerId},
    job::ArtifactInfo,
    store::{Found, seal::Mac},
    subjects,
    wire::{self, FromNode, FromWorker, MAX_ASKED, SubmitReply, ToNode, ToWorker, WireMessage},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// More takes too long.
const MAX_STEPS: usize = 200;
/// Turns of the clock in one wait; then it is over.
const MAX_TURNS: usize = 2_000;
/// Turns without time passing that nothing needs.
const ENDLESS: usize = 20_000;

/// A coordinator's scheduler, and what of its shell matters here.
struct Network {
    scheduler: Scheduler,
    now: Moment,
    sent: Vec<(WorkerId, ToWorker)>,
    asked: Vec<Arc<ArtifactId>>,
    dropped: Vec<Arc<ArtifactId>>,
}

/// What comes off the bus has been bytes.
fn received<T: WireMessage + PartialEq + std::fmt::Debug>(message: &T) -> T {
    let read = wire::decode::<T>(&wire::encode(message)).expect("what we write we can read");
    assert_eq!(&read, message);
    read
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
            policy.per_client = Limit { requests: 3, bytes: 100 };
            policy.per_kind = Limit { requests: 5, bytes: 150 };
        }
        policy.check().expect("a policy that may be set");
        let now = Moment::at(Duration::from_secs(1_700_000_000));
        let config = SchedulerConfig { token: FencingToken(2), timing: Timing::default(), policy, version: "v".into() };
        let scheduler = Scheduler::new(config, now);
        let mut this = Self { scheduler, now, sent: vec![], asked: vec![], dropped: vec![] };
        this.settle();
        Ok(this)
    }

    fn tell(&mut self, event: Event) {
        if traced() {
            eprintln!("{:?} {event:?}", self.now);
        }
        self.scheduler.read_ahead(std::slice::from_ref(&event));
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
                Answer::Accepted(_) => drop(received(&SubmitReply::Accepted)),
                Answer::Submit(answer) => drop(received(&answer)),
                Answer::Ask(answer) => drop(received(&answer)),
                Answer::Status(answer) => drop(received(&*answer)),
                Answer::Worker(answer) => drop(received(&answer)),
            },
            Effect::Verdict { verdict, .. } => drop(received(&ToNode::Verdict(Box::new((*verdict).clone())))),
            Effect::ToWorker { worker, message } => {
                self.sent.push((worker, received(&message)));
                if self.sent.len() > 64 {
                    self.sent.remove(0);
                }
            }
            Effect::LookUp { artifact } => self.asked.push(artifact),
            Effect::Drop { artifact } => self.dropped.push(artifact),
            Effect::ListArtifacts | Effect::SaveNeeded { .. } | Effect::ForgetCode { .. } => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        let (mut turns, mut still) = (0, 0);
        while let Some(at) = self.scheduler.poll_timeout().map(|at| at.max(self.now)).filter(|at| *at <= until) {
            still = if at == self.now { still + 1 } else { 0 };
            assert!(still < ENDLESS, "it never comes to rest");
            turns += 1;
            if turns > MAX_TURNS && still == 0 {
                // A long time in which nobody says anything.
                self.now = at;
                return;
            }
            self.now = at;
            self.scheduler.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn node_says(&mut self, message: &FromNode) {
        let reply = Some(subjects::node(&FleetName::default(), &NodeId(Uuid::from_u128(99))));
        // As `ingress` has it.
        self.tell(match received(message) {
            FromNode::Submit(submission) => {
                if check(&submission).is_err() {
                    return;
                }
                let identity = submission.validation_key();
                Event::Submit { submission, identity, reply }
            }
            FromNode::Ask { node, mut requests } => {
                requests.truncate(MAX_ASKED);
                Event::Ask { node, requests, reply }
            }
            FromNode::Cancel { request, node } => Event::Cancel { request, node, reply },
            FromNode::Leaves { node, update } => Event::Leaves { node, update, reply },
            FromNode::Status { host } => Event::Status { host, reply },
        });
    }

    fn worker_says(&mut self, message: &FromWorker, answers: bool) {
        let reply = subjects::node(&FleetName::default(), &NodeId(Uuid::from_u128(98)));
        let reply = (!answers).then_some(reply);
        self.tell(match received(message) {
            FromWorker::Hello(hello) => Event::Hello { hello, reply },
            FromWorker::Heartbeat(heartbeat) => Event::Heartbeat { heartbeat, reply },
            FromWorker::Report(report) => Event::Report { report, reply },
            FromWorker::Goodbye { worker } => Event::Goodbye { worker, reply },
        });
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0 => self.pass(Duration::from_millis(u.int_in_range(0..=10_000)?)),
            1 => self.pass(duration(u)?.min(Duration::from_secs(100 * 24 * 3600))),
            2..=4 => {
                let submission = messages::submission(u)?;
                self.node_says(&FromNode::Submit(Box::new(submission)));
            }
            5 => {
                let message = messages::from_node(u)?;
                self.node_says(&message);
            }
            6 | 7 => {
                let hello = messages::hello(u)?;
                self.worker_says(&FromWorker::Hello(hello), false);
            }
            8 => {
                let heartbeat = messages::heartbeat(u, &self.sent)?;
                self.worker_says(&FromWorker::Heartbeat(heartbeat), false);
            }
            9..=11 => {
                let report = messages::report(u, &self.sent)?;
                self.worker_says(&FromWorker::Report(Box::new(report)), u.arbitrary()?);
            }
            12 => self.delivered(u)?,
            13 => self.looked_up(u)?,
            14 => match u.int_in_range(0..=4)? {
                0 => self.worker_says(&FromWorker::Goodbye { worker: messages::worker(u)? }, false),
                1 => self.tell(Event::Link { up: u.arbitrary()? }),
                2 | 3 => {
                    if let Some(artifact) = self.dropped.pop() {
                        self.tell(Event::Dropped { artifact });
                    }
                }
                _ => {
                    let artifact = messages::artifact(u)?;
                    let listed = Listed { artifact, bytes: messages::number(u)?, idle: duration(u)? };
                    self.tell(Event::Listed(vec![listed]));
                }
            },
            _ => {
                // A whole day of quiet tidying up.
                self.pass(Duration::from_secs(24 * 3600));
            }
        }
        Ok(())
    }

    /// What became of something that was sent: the shell says so, and it does not lie.
    fn delivered(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let at = u.choose_index(self.sent.len())?;
        let (worker, message) = if u.arbitrary()? { self.sent.remove(at) } else { self.sent[at].clone() };
        let delivery = match u.int_in_range(0..=3)? {
            0 => Delivery::Taken,
            1 => Delivery::Refused("no".into()),
            2 => Delivery::Nobody,
            _ => Delivery::Unknown("lost".into()),
        };
        let (job, attempt, command) = match message {
            ToWorker::Dispatch(dispatch) => (dispatch.job, dispatch.attempt, Command::Dispatch),
            ToWorker::Cancel { job, attempt, .. } => (job, attempt, Command::Cancel),
            ToWorker::Recall { job, attempt, .. } => (job, attempt, Command::Recall),
            ToWorker::Acknowledge { .. } => return Ok(()),
        };
        self.tell(Event::Delivered { worker, job, attempt, command, delivery });
        Ok(())
    }

    fn looked_up(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.asked.is_empty() {
            return Ok(());
        }
        let artifact = self.asked.remove(u.choose_index(self.asked.len())?);
        let found = match u.int_in_range(0..=5)? {
            0 | 1 => Ok(None),
            2 => Ok(Some(Found::Prepared(ArtifactInfo { bytes: messages::number(u)?, mac: Mac([few(u)?; 32]) }))),
            3 => Ok(Some(Found::Failed(messages::prepare_error(u)?))),
            4 => Ok(Some(Found::Damaged)),
            _ => Err("the store is gone".into()),
        };
        self.tell(Event::LookedUp { artifact, found });
        Ok(())
    }
}

fn play(bytes: &[u8], mut before: impl FnMut(usize)) -> Result<()> {
    let mut u = Unstructured::new(bytes);
    let mut network = Network::new(&mut u)?;
    for step in 0..MAX_STEPS {
        if u.is_empty() {
            break;
        }
        before(step);
        network.step(&mut u)?;
    }
    network.pass(Duration::from_secs(60));
    Ok(())
}

/// One run.
pub fn run(bytes: &[u8]) {
    let _ = play(bytes, |_| {});
}

/// An input is shown by playing it with `PVF_FUZZ_TRACE=1`.
pub fn show(bytes: &[u8]) -> String {
    format!("{} bytes; `run again` prints every event and effect", bytes.len())
}

/// A few of any bytes: each is a run.
pub fn seeds() -> Seeds {
    let seed = |n: u64| {
        let mut rng = fastrand::Rng::with_seed(n ^ 0xabcd);
        let bytes: Vec<u8> = (0..100 + n * 30).map(|_| rng.u8(..)).collect();
        (format!("seed {n}"), bytes)
    };
    (0..24).map(seed).collect()
}
