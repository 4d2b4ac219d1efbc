//! What must hold, derived from messages alone: no rule asks a state machine what it thinks.
//!
//! `Checks` follows what the scheduler is told and what it asks for. `adoption` has the rules of what an earlier
//! coordinator dispatched, `attempts` those of leases, credit and retries, `requests` those of verdicts, deadlines and
//! pruning, `opinions` those of second opinions, `workers` those of each worker.

mod adoption;
mod attempts;
mod opinions;
mod requests;
mod workers;

pub use workers::WorkerChecks;

use super::setup::host_name;
use pvf_scheduler::{Command, Delivery, Event, Notice, Policy};
use pvf_shared::{
    artifact::StoredArtifact,
    config::ProtocolTimeouts,
    identity::{ClientId, WorkerId},
    ids::{ArtifactId, Attempt, CodeHash, FencingToken, JobId, RequestId},
    time::Timestamp,
    wire::{FromOperator, Heartbeat, Verdict, Work, WorkerHello, WorkerKind},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// How long after a worker's failure its loss may lead to a verdict: the coordinator may be deaf in between.
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(120);

/// A worker as its messages show it.
#[derive(Debug)]
struct Known {
    worker: WorkerId,
    hello: WorkerHello,
    heard: Timestamp,
    /// Attempts that were cancelled; each has its slot until the worker has answered the cancellation.
    stopping: HashSet<(JobId, Attempt)>,
}

/// An attempt that was dispatched and is not over.
#[derive(Debug)]
struct Lease {
    worker: WorkerId,
    attempt: Attempt,
    /// Of the coordinator that dispatched it.
    token: FencingToken,
    taken: Option<Timestamp>,
    /// The worker has acknowledged the dispatch: until then the job counts as not begun.
    acknowledged: bool,
    fetch: Fetch,
    kind: WorkerKind,
    artifact: ArtifactId,
}

/// What heartbeats have said of what a job needs: once it was there it is not fetched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fetch {
    Unknown,
    UnderWay,
    Over,
}

/// A request: clients may choose the same id.
type RequestKey = (RequestId, ClientId);

/// A request that the scheduler has accepted and not answered.
#[derive(Debug)]
struct Live {
    code: CodeHash,
    work: Work,
    deadline: Timestamp,
    /// Its cancellation came first: the scheduler may have forgotten it at once.
    abandoned: bool,
}

/// What happened to a job so far.
#[derive(Debug, Default)]
struct Past {
    failed_at: Vec<(WorkerId, String)>,
    ambiguous: u32,
    ours: u32,
    /// Accepted reports that were ambiguous, and that were an infrastructure failure.
    reported: (u32, u32),
    /// It may have failed at a worker where it was only staged: messages do not tell where it should go next.
    uncertain: bool,
    /// Machines that have decided it.
    decided_on: Vec<String>,
}

#[derive(Debug)]
pub struct Checks {
    timing: ProtocolTimeouts,
    ahead: u32,
    pub token: FencingToken,
    fleet: BTreeMap<WorkerId, Known>,
    leases: BTreeMap<JobId, Lease>,
    /// Attempts of earlier coordinators that no job has adopted, and all that were described.
    held: BTreeMap<adoption::Place, adoption::Held>,
    described: HashSet<adoption::Place>,
    past: HashMap<JobId, Past>,
    accepted: HashSet<(FencingToken, JobId, Attempt)>,
    live: BTreeMap<RequestKey, Live>,
    cancelled: HashSet<RequestKey>,
    verdicts: HashMap<RequestKey, Verdict>,
    /// Requests whose clients have confirmed the verdict.
    confirmed: HashSet<RequestKey>,
    /// When each code was requested last.
    needed: HashMap<CodeHash, Timestamp>,
    suspected: HashSet<ArtifactId>,
    store_failed: bool,
    deaths: HashMap<CodeHash, u32>,
    link_up_since: Option<Timestamp>,
    /// Until when a worker failed or stood still last.
    worker_failed: Option<Timestamp>,
    /// Messages are lost.
    lossy: bool,
    /// Jobs hung in this run.
    pub hung: bool,
    /// Workers that get no jobs because jobs failed there.
    paused: HashSet<WorkerId>,
    /// Workers that were told to drain: they get no jobs.
    told: HashSet<WorkerId>,
    /// Attempts that were given up without a report, which may still come.
    lost: HashSet<(JobId, Attempt, WorkerId)>,
    min_age: Duration,
    engines: usize,
    /// When each from was heard of last, and after how much silence its requests may be dropped.
    heard: HashMap<ClientId, Timestamp>,
    client_silence: Duration,
    /// Disputes, and some invalid verdicts, have second opinions.
    cross_checks: bool,
    /// The machine whose workers may be wrong.
    liar: Option<String>,
    /// Wrong verdicts of that machine.
    pub lies: u64,
    /// The machine of each worker that there ever was.
    hosts: HashMap<WorkerId, String>,
}

impl Checks {
    pub fn new(
        timing: ProtocolTimeouts,
        policy: &Policy,
        (engines, liar): (usize, Option<u32>),
        now: Timestamp,
    ) -> Self {
        Self {
            timing,
            ahead: policy.ahead,
            token: FencingToken(1),
            fleet: BTreeMap::new(),
            leases: BTreeMap::new(),
            held: BTreeMap::new(),
            described: HashSet::new(),
            past: HashMap::new(),
            accepted: HashSet::new(),
            live: BTreeMap::new(),
            cancelled: HashSet::new(),
            verdicts: HashMap::new(),
            confirmed: HashSet::new(),
            needed: HashMap::new(),
            suspected: HashSet::new(),
            store_failed: false,
            deaths: HashMap::new(),
            link_up_since: Some(now),
            worker_failed: None,
            lossy: false,
            hung: false,
            paused: HashSet::new(),
            told: HashSet::new(),
            lost: HashSet::new(),
            min_age: policy.prune_min_age,
            engines,
            heard: HashMap::new(),
            client_silence: policy.client_silence,
            cross_checks: policy.cross_check.dispute,
            liar: liar.map(host_name),
            lies: 0,
            hosts: HashMap::new(),
        }
    }

    /// A coordinator that knows nothing takes over.
    pub fn restart(&mut self, token: FencingToken, now: Timestamp, link_up: bool) {
        self.token = token;
        self.fleet.clear();
        self.leases.clear();
        self.held.clear();
        self.described.clear();
        self.past.clear();
        self.paused.clear();
        self.told.clear();
        self.lost.clear();
        self.live.clear();
        self.cancelled.clear();
        self.verdicts.clear();
        self.confirmed.clear();
        self.deaths.clear();
        self.link_up_since = link_up.then_some(now);
    }

    /// A worker fails, leaves, or stands still until then.
    pub fn worker_fails(&mut self, until: Timestamp) {
        self.worker_failed = self.worker_failed.max(Some(until));
    }

    /// The scheduler says what it decided.
    pub fn on_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::JobAdopted { job, attempt, worker, .. } => self.on_adopted((*worker, *job, *attempt)),
            Notice::AttemptNotAdopted { job, attempt, worker } => drop(self.held.remove(&(*worker, *job, *attempt))),
            Notice::WorkerPaused { worker, .. } => drop(self.paused.insert(*worker)),
            Notice::WorkerResumed { worker }
            | Notice::WorkerLeft { worker, .. }
            | Notice::WorkerLost { worker, .. } => {
                self.paused.remove(worker);
            }
            _ => {}
        }
    }

    /// From now on messages are lost, or are not.
    pub fn set_lossy(&mut self, lossy: bool, now: Timestamp) {
        if std::mem::replace(&mut self.lossy, lossy) {
            self.worker_fails(now);
        }
    }

    /// Whether a worker may be silent because of something that is not the coordinator's own trouble.
    fn may_have_died(&self, now: Timestamp) -> bool {
        self.lossy || self.worker_failed.is_some_and(|at| now.since(at) < FOUND_OUT_WITHIN)
    }

    /// The scheduler is about to be told this.
    pub fn before(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Hello { worker, hello, .. } => {
                let (worker, hello) = (*worker, (**hello).clone());
                self.on_described(worker, &hello, now);
                self.hosts.insert(worker, hello.host.clone());
                let known =
                    self.fleet.entry(worker).or_insert(Known { worker, hello, heard: now, stopping: HashSet::new() });
                known.heard = now;
            }
            Event::Heartbeat { worker, heartbeat, .. } => self.on_heartbeat(*worker, heartbeat, now),
            Event::Operator { message: FromOperator::Drain { workers }, .. } => {
                let registered = workers.iter().filter(|worker| self.fleet.contains_key(worker));
                self.told.extend(registered);
            }
            Event::Goodbye { worker, .. } => self.worker_left(*worker),
            Event::Delivered { worker, job, attempt, command, delivery } => {
                if *command == Command::Cancel {
                    self.stopped(*worker, (*job, *attempt));
                }
                if (*command, delivery) == (Command::Recall, &Delivery::Taken) {
                    self.held.remove(&(*worker, *job, *attempt));
                }
                let Some(lease) = self.leases.get_mut(job) else { return };
                if (lease.worker, lease.attempt) != (*worker, *attempt) {
                    return;
                }
                match (command, delivery) {
                    (Command::Dispatch, Delivery::Taken) => (lease.taken, lease.acknowledged) = (Some(now), true),
                    (Command::Dispatch, Delivery::Unknown(_)) => lease.taken = Some(now),
                    (Command::Dispatch, _) => {
                        self.leases.remove(job);
                        self.lost.insert((*job, *attempt, *worker));
                    }
                    (Command::Recall, Delivery::Taken) | (Command::Cancel, _) => drop(self.leases.remove(job)),
                    (Command::Recall, _) => {}
                }
            }
            Event::Report { worker, report, .. } => self.on_report(*worker, report),
            Event::Leaves { client: from, .. } => drop(self.heard.insert(*from, now)),
            Event::Ask { client: from, requests, heard, .. } => {
                self.heard.insert(*from, now);
                self.confirmed.extend(heard.iter().map(|id| (*id, *from)));
                // A question that comes late, for what was confirmed meanwhile: the coordinator has forgotten it.
                for key in requests.iter().map(|id| (*id, *from)).filter(|key| self.confirmed.contains(key)) {
                    self.verdicts.remove(&key);
                }
            }
            Event::LookedUp { found: Err(_), .. } => self.store_failed = true,
            Event::LookedUp { artifact, found: Ok(Some(StoredArtifact::Damaged)) } => {
                self.suspected.insert((**artifact).clone());
            }
            Event::Cancel { client: from, request, .. } => {
                self.cancelled.insert((*request, *from));
                self.live.remove(&(*request, *from));
            }
            Event::Link { up } => self.link_up_since = up.then_some(self.link_up_since.unwrap_or(now)),
            _ => {}
        }
    }

    /// A worker that has had a job for a while and does not list it has lost it.
    fn on_heartbeat(&mut self, worker: WorkerId, heartbeat: &Heartbeat, now: Timestamp) {
        let grace = self.timing.heartbeat * 2 + self.timing.ack;
        let Some(known) = self.fleet.get_mut(&worker) else { return };
        known.heard = now;
        self.on_held_listed(worker, heartbeat, now);
        for running in &heartbeat.running {
            if let Some(lease) = self.leases.get_mut(&running.job)
                && (lease.worker, lease.attempt, lease.token) == (worker, running.attempt, running.token)
            {
                lease.acknowledged = true;
                let fetch = if heartbeat.fetching.contains(running) { Fetch::UnderWay } else { Fetch::Over };
                lease.fetch = lease.fetch.max(fetch);
            }
        }
        let has = |job: &JobId, lease: &Lease| {
            let at = (lease.token, *job, lease.attempt);
            heartbeat.running.iter().any(|r| (r.token, r.job, r.attempt) == at)
        };
        let lost = |job: &JobId, lease: &Lease| {
            lease.worker == worker && lease.taken.is_some_and(|at| now.since(at) > grace) && !has(job, lease)
        };
        let lost: Vec<_> = self.leases.iter().filter(|(job, l)| lost(job, l)).map(|(job, _)| *job).collect();
        for job in lost {
            self.end_lease(job, false, true);
        }
    }

    /// A worker that was silent for too long, while the coordinator's own link was up, is lost from this time on.
    pub fn expire(&mut self, now: Timestamp) {
        let silence = self.timing.worker_silence;
        let Some(up) = self.link_up_since else { return };
        let is_lost = |known: &Known| now.since(known.heard.max(up)) >= silence;
        let lost: Vec<_> = self.fleet.iter().filter(|(_, known)| is_lost(known)).map(|(id, _)| *id).collect();
        for id in lost {
            self.worker_died(id);
        }
    }
}
