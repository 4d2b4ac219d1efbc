//! What must hold, known from the messages alone: nothing here asks the scheduler what it thinks.

use super::truth::{CandidateTruth, CodeTruth, candidate, code, number_of};
use pvf_coordinator::scheduler::{Command, Delivery, Event, Moment, Policy};
use pvf_shared::{
    config::Timing,
    ids::{ArtifactId, Attempt, CodeHash, EngineId, FencingToken, JobId, NodeId, RequestId, WorkerId},
    job::{BlobRef, ExecuteOutcome, JobOutcome, JobSpec, PrepareOutcome},
    verdict::{AmbiguousReason, InternalError, Outcome},
    wire::{Dispatch, JobReport, Submission, ToWorker, Verdict, Work, WorkerHello, WorkerKind},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// A worker as its messages show it.
#[derive(Debug)]
struct Known {
    hello: WorkerHello,
    heard: Moment,
    /// Attempts that were cancelled; each has its slot until the worker has said so.
    stopping: HashSet<(JobId, Attempt)>,
}

#[derive(Debug)]
struct Lease {
    worker: WorkerId,
    attempt: Attempt,
    taken: Option<Moment>,
    artifact: ArtifactId,
}

/// A request that the scheduler has accepted and not answered.
#[derive(Debug)]
struct Live {
    node: NodeId,
    code: CodeHash,
    work: Work,
    deadline: Moment,
}

/// What happened to a job so far.
#[derive(Debug, Default)]
struct Past {
    failed_at: Vec<(WorkerId, String)>,
    ambiguous: u32,
    ours: u32,
    /// It may have failed at a worker where it only waited; where it should go next cannot be told from outside.
    uncertain: bool,
}

#[derive(Debug)]
pub struct Checks {
    timing: Timing,
    ahead: u32,
    pub token: FencingToken,
    fleet: BTreeMap<WorkerId, Known>,
    leases: BTreeMap<JobId, Lease>,
    past: HashMap<JobId, Past>,
    accepted: HashSet<(FencingToken, JobId, Attempt)>,
    live: BTreeMap<RequestId, Live>,
    verdicts: HashMap<RequestId, Verdict>,
    /// When somebody asked for each code last.
    needed: HashMap<CodeHash, Moment>,
    suspected: HashSet<ArtifactId>,
    store_failed: bool,
    deaths: HashMap<CodeHash, u32>,
    link_up_since: Option<Moment>,
    min_age: Duration,
    engines: usize,
    /// When each node was heard of last, and after how much silence what it asked for may be dropped.
    heard: HashMap<NodeId, Moment>,
    client_silence: Duration,
}

impl Checks {
    pub fn new(timing: Timing, policy: &Policy, engines: usize, now: Moment) -> Self {
        let (ahead, min_age, client_silence) = (policy.ahead, policy.prune_min_age, policy.client_silence);
        Self {
            timing,
            ahead,
            token: FencingToken(1),
            fleet: BTreeMap::new(),
            leases: BTreeMap::new(),
            past: HashMap::new(),
            accepted: HashSet::new(),
            live: BTreeMap::new(),
            verdicts: HashMap::new(),
            needed: HashMap::new(),
            suspected: HashSet::new(),
            store_failed: false,
            deaths: HashMap::new(),
            link_up_since: Some(now),
            min_age,
            engines,
            heard: HashMap::new(),
            client_silence,
        }
    }

    /// A coordinator that knows nothing takes over.
    pub fn restart(&mut self, token: FencingToken, now: Moment, link_up: bool) {
        self.token = token;
        self.fleet.clear();
        self.leases.clear();
        self.past.clear();
        self.live.clear();
        self.verdicts.clear();
        self.deaths.clear();
        self.link_up_since = link_up.then_some(now);
    }

    /// The scheduler is about to be told this.
    pub fn before(&mut self, event: &Event, now: Moment) {
        match event {
            Event::Hello { hello, .. } => {
                let hello = hello.clone();
                let known =
                    self.fleet.entry(hello.worker).or_insert(Known { hello, heard: now, stopping: HashSet::new() });
                known.heard = now;
            }
            Event::Heartbeat { heartbeat, .. } => {
                let grace = self.timing.heartbeat * 2 + self.timing.ack;
                let Some(known) = self.fleet.get_mut(&heartbeat.worker) else { return };
                known.heard = now;
                let has = |job: &JobId, attempt| {
                    heartbeat.running.iter().any(|r| (r.token, r.job, r.attempt) == (self.token, *job, attempt))
                };
                let lost = |job: &JobId, lease: &Lease| {
                    lease.worker == heartbeat.worker
                        && lease.taken.is_some_and(|at| now.since(at) > grace)
                        && !has(job, lease.attempt)
                };
                let lost: Vec<_> = self.leases.iter().filter(|(job, l)| lost(job, l)).map(|(job, _)| *job).collect();
                for job in lost {
                    self.end_lease(job, false, true);
                }
            }
            Event::Goodbye { worker, .. } => self.worker_gone(*worker, false),
            Event::Delivered { worker, job, attempt, command, delivery } => {
                if *command == Command::Cancel {
                    self.stopped(*worker, (*job, *attempt));
                }
                let Some(lease) = self.leases.get_mut(job) else { return };
                if (lease.worker, lease.attempt) != (*worker, *attempt) {
                    return;
                }
                match (command, delivery) {
                    (Command::Dispatch, Delivery::Taken | Delivery::Unknown(_)) => lease.taken = Some(now),
                    (Command::Dispatch, _) | (Command::Recall, Delivery::Taken) | (Command::Cancel, _) => {
                        drop(self.leases.remove(job));
                    }
                    (Command::Recall, _) => {}
                }
            }
            Event::Report { report, .. } => self.on_report(report),
            Event::Ask { node, .. } | Event::Leaves { node, .. } => {
                self.heard.insert(*node, now);
            }
            Event::LookedUp { found: Err(_), .. } => self.store_failed = true,
            Event::LookedUp { artifact, found: Ok(Some(pvf_shared::store::Found::Damaged)) } => {
                self.suspected.insert((**artifact).clone());
            }
            Event::Cancel { request, node, .. } if self.live.get(request).is_some_and(|l| l.node == *node) => {
                self.live.remove(request);
            }
            Event::Link { up } => self.link_up_since = up.then_some(self.link_up_since.unwrap_or(now)),
            _ => {}
        }
    }

    /// Workers that were silent for too long, while our own link was up, may be held to be lost; whether one is, only
    /// the scheduler can say.
    pub fn expire(&mut self, now: Moment, is_known: impl Fn(WorkerId) -> bool) {
        let silence = self.timing.worker_silence;
        if self.link_up_since.is_none_or(|up| now.since(up) < silence) {
            return;
        }
        let lost: Vec<_> =
            self.fleet.iter().filter(|(_, k)| now.since(k.heard) >= silence).map(|(id, _)| *id).collect();
        for id in lost {
            if !is_known(id) {
                self.worker_gone(id, true);
            }
        }
    }

    fn worker_gone(&mut self, id: WorkerId, died: bool) {
        let jobs: Vec<_> = self.leases.iter().filter(|(_, l)| l.worker == id).map(|(job, _)| *job).collect();
        // What waited there for a slot has not failed, and from outside nobody can tell which that was.
        let has = |k: &Known| (jobs.len() + k.stopping.len()) as u32;
        let certain = self.fleet.get(&id).is_some_and(|k| has(k) <= k.hello.slots);
        for job in jobs {
            self.end_lease(job, died, certain);
        }
        self.fleet.remove(&id);
    }

    /// An attempt was lost without a report.
    fn end_lease(&mut self, job: JobId, died: bool, certain: bool) {
        let Some(lease) = self.leases.remove(&job) else { return };
        if died {
            *self.deaths.entry(lease.artifact.code_hash).or_default() += 1;
        }
        let past = self.past.entry(job).or_default();
        past.uncertain |= !certain;
        if died {
            past.ambiguous += 1;
        } else {
            past.ours += 1;
        }
        if let Some(known) = self.fleet.get(&lease.worker).filter(|_| certain) {
            past.failed_at.push((lease.worker, known.hello.host.clone()));
        }
    }

    fn stopped(&mut self, worker: WorkerId, at: (JobId, Attempt)) {
        if let Some(known) = self.fleet.get_mut(&worker) {
            known.stopping.remove(&at);
        }
    }

    fn on_report(&mut self, report: &JobReport) {
        self.stopped(report.worker, (report.job, report.attempt));
        let lease = self.leases.get(&report.job);
        let valid = report.token == self.token
            && lease.is_some_and(|l| (l.worker, l.attempt) == (report.worker, report.attempt));
        if !valid {
            return;
        }
        let lease = self.leases.remove(&report.job).expect("seen above");
        self.accepted.insert((report.token, report.job, report.attempt));
        let host = self.fleet.get(&report.worker).map(|k| k.hello.host.clone()).unwrap_or_default();
        let past = self.past.entry(report.job).or_default();
        let elsewhere = match &report.outcome {
            JobOutcome::Execute(ExecuteOutcome::Ambiguous(reason)) => {
                past.ambiguous += 1;
                if matches!(reason, AmbiguousReason::CorruptedArtifact(_) | AmbiguousReason::RuntimeConstruction(_)) {
                    self.suspected.insert(lease.artifact);
                }
                true
            }
            JobOutcome::Execute(ExecuteOutcome::Internal(InternalError::ArtifactMissing(_))) => {
                past.ours += 1;
                self.suspected.insert(lease.artifact);
                false
            }
            JobOutcome::Execute(ExecuteOutcome::Internal(_)) | JobOutcome::Prepare(PrepareOutcome::Internal(_)) => {
                past.ours += 1;
                true
            }
            JobOutcome::Execute(_) | JobOutcome::Prepare(_) => false,
        };
        if elsewhere {
            past.failed_at.push((report.worker, host));
        }
    }

    /// The scheduler took a submission.
    pub fn on_accepted(&mut self, submission: &Submission, now: Moment) {
        self.heard.insert(submission.node, now);
        if self.verdicts.contains_key(&submission.id) || self.live.contains_key(&submission.id) {
            return;
        }
        let kind = match &submission.work {
            Work::Execute(_) => WorkerKind::Execute,
            Work::Precheck | Work::HeadsUp => WorkerKind::Prepare,
        };
        if self.has_workers(kind) {
            self.needed.insert(submission.code.hash, now);
        }
        self.live.entry(submission.id).or_insert_with(|| Live {
            node: submission.node,
            code: submission.code.hash,
            work: submission.work.clone(),
            deadline: now.after(submission.answer_within),
        });
    }

    /// The scheduler sends this to a worker.
    pub fn on_message(&mut self, worker: WorkerId, message: &ToWorker, now: Moment) {
        match message {
            ToWorker::Dispatch(dispatch) => self.on_dispatch(worker, dispatch, now),
            ToWorker::Cancel { job, attempt, .. } => {
                if self.leases.get(job).is_some_and(|l| (l.worker, l.attempt) == (worker, *attempt)) {
                    self.leases.remove(job);
                }
                if let Some(known) = self.fleet.get_mut(&worker) {
                    known.stopping.insert((*job, *attempt));
                }
            }
            ToWorker::Recall { .. } | ToWorker::Acknowledge { .. } => {}
        }
    }

    fn on_dispatch(&mut self, id: WorkerId, dispatch: &Dispatch, now: Moment) {
        let job = dispatch.job;
        if let Some(lease) = self.leases.get(&job) {
            panic!("two attempts of job {job} with valid leases: at {:?} and {id:?}", lease.worker);
        }
        let Some(known) = self.fleet.get(&id) else { panic!("a job for {id:?}, which is not there") };
        let (kind, artifact) = match &dispatch.spec {
            JobSpec::Prepare(spec) => (WorkerKind::Prepare, &spec.artifact),
            JobSpec::Execute(spec) => (WorkerKind::Execute, &spec.artifact),
        };
        assert_eq!((known.hello.kind, &known.hello.engine), (kind, &artifact.engine), "a job for the wrong worker");
        let busy = self.leases.values().filter(|l| l.worker == id).count() as u32;
        let ahead = if kind == WorkerKind::Execute { self.ahead * known.hello.slots } else { 0 };
        assert!(busy < known.hello.slots + ahead, "{id:?} is above its credit");
        if let Some(past) = self.past.get(&job) {
            self.check_elsewhere(job, past, known, (kind, &artifact.engine));
        }
        if let Some(request) = dispatch.request {
            let live = self.live.get(&request).unwrap_or_else(|| panic!("{request:?} is dispatched after its end"));
            assert!(live.deadline > now, "{request:?} is dispatched too late");
        }
        match &dispatch.spec {
            JobSpec::Prepare(spec)
                if spec.threads == 1 && self.engines == 1 && self.has_workers(WorkerKind::Execute) =>
            {
                let asks = |l: &Live| {
                    l.code == artifact.code_hash && !matches!(l.work, Work::HeadsUp) && self.is_there(l, now)
                };
                let urgent = self.live.values().find(|l| asks(l));
                assert!(urgent.is_none(), "priority fell: {urgent:?} is prepared in the background");
            }
            JobSpec::Prepare(_) | JobSpec::Execute(_) => {}
        }
        let lease = Lease { worker: id, attempt: dispatch.attempt, taken: None, artifact: artifact.clone() };
        self.leases.insert(job, lease);
    }

    /// Without any, nobody can say for which engine an artifact is needed.
    fn has_workers(&self, kind: WorkerKind) -> bool {
        self.fleet.values().any(|k| k.hello.kind == kind)
    }

    /// What failed is tried on another machine if there is one, else on another worker if there is one.
    fn check_elsewhere(&self, job: JobId, past: &Past, at: &Known, of: (WorkerKind, &EngineId)) {
        if past.failed_at.is_empty() || past.uncertain {
            return;
        }
        let others = || self.fleet.values().filter(|k| (k.hello.kind, &k.hello.engine) == of);
        let same_host = |k: &Known| past.failed_at.iter().any(|(_, host)| *host == k.hello.host);
        let same_worker = |k: &Known| past.failed_at.iter().any(|(id, _)| *id == k.hello.worker);
        if others().any(|k| !same_host(k)) {
            assert!(
                !same_host(at),
                "tried again on the same machine ({at:?}), and there is another: job {job} {past:?} {:?}",
                others().collect::<Vec<_>>()
            );
        } else if others().any(|k| !same_worker(k)) {
            assert!(!same_worker(at), "tried again on the same worker, and there is another: {past:?}");
        }
    }

    /// Whether somebody still waits for it: what clients asked for that have gone may be dropped.
    fn is_there(&self, live: &Live, now: Moment) -> bool {
        self.heard.get(&live.node).is_some_and(|at| now.since(*at) < self.client_silence)
    }

    /// The scheduler drops an artifact.
    pub fn on_drop(&mut self, artifact: &ArtifactId, now: Moment) {
        if self.suspected.remove(artifact) {
            return;
        }
        // Nobody suspects it: it is pruned.
        let used = self.leases.values().find(|l| l.artifact == *artifact);
        assert!(used.is_none(), "{artifact} is pruned while {used:?} needs it");
        let waits =
            |l: &Live| l.code == artifact.code_hash && matches!(l.work, Work::Execute(_)) && self.is_there(l, now);
        let waits = self.live.iter().find(|(_, l)| waits(l));
        assert!(waits.is_none() || self.engines > 1, "{artifact} is pruned while {waits:?} needs it");
        let needed = self.needed.get(&artifact.code_hash);
        let young = needed.is_some_and(|at| now.since(*at) < self.min_age);
        assert!(!young || self.engines > 1, "{artifact} is pruned although it was needed lately");
    }

    /// The scheduler gives a verdict.
    pub fn on_verdict(&mut self, verdict: &Verdict) {
        if let Some(first) = self.verdicts.get(&verdict.request) {
            assert_eq!(first, verdict, "a second, other verdict");
            return;
        }
        let live = self.live.remove(&verdict.request);
        let live = live.unwrap_or_else(|| panic!("a verdict for {:?}, which nobody asks for", verdict.request));
        self.check_truth(&live, verdict);
        self.verdicts.insert(verdict.request, verdict.clone());
    }

    fn check_truth(&self, live: &Live, verdict: &Verdict) {
        let n = number_of(live.code);
        let code = code(n);
        let number = match &live.work {
            Work::Execute(work) => Some(super::truth::candidate_of(&work.block_data)),
            Work::Precheck | Work::HeadsUp => None,
        };
        match &verdict.outcome {
            Outcome::Valid(BlobRef::Inline(result)) => {
                let word = |at: usize| u64::from_le_bytes(result[at..at + 8].try_into().expect("eight bytes"));
                assert_eq!(u64::from(number.expect("an execution")), word(0), "the result of another candidate");
                assert_eq!(number.map(candidate), Some(CandidateTruth::Valid), "wrongly valid");
                let attempt = (FencingToken(word(8)), JobId(word(16)), word(24) as Attempt);
                assert!(self.accepted.contains(&attempt), "the result of attempt {attempt:?}, which had no lease");
                assert_eq!(code, CodeTruth::Good);
            }
            Outcome::Invalid(_) => assert_eq!(number.map(candidate), Some(CandidateTruth::Invalid), "wrongly invalid"),
            Outcome::PossiblyInvalid(_) => assert!(number.is_some()),
            Outcome::PrecheckOk => assert_eq!(code, CodeTruth::Good),
            Outcome::PreparationFailed(_) => {
                let died = self.deaths.get(&live.code).copied().unwrap_or(0) >= 3;
                assert!(code != CodeTruth::Good || died, "good code {n} failed to prepare: {verdict:?}");
            }
            Outcome::Internal(error) => {
                // Something of ours must have failed; what the code does may never end like this.
                let ours = self.past.values().any(|past| past.ours >= 3) || self.store_failed;
                assert!(ours, "nothing of ours failed: {error}");
            }
            Outcome::HeadsUpTaken | Outcome::ExecutionDeadline | Outcome::Valid(_) => {}
        }
    }

    /// Requests that the scheduler has accepted and not answered, of these nodes.
    pub fn unanswered(&self, nodes: &HashSet<NodeId>) -> Vec<RequestId> {
        self.live.iter().filter(|(_, live)| nodes.contains(&live.node)).map(|(id, _)| *id).collect()
    }
}
