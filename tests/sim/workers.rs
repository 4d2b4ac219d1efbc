//! A worker: takes jobs, lets some wait, runs them, reports until it is acknowledged.

use super::{
    store::{Got, Store},
    truth::{self, CandidateTruth, CodeTruth},
};
use pvf_coordinator::scheduler::Moment;
use pvf_shared::{
    Bytes,
    ids::{ArtifactId, Attempt, FencingToken, JobId},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob, PrepareOutcome},
    store::seal::Mac,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
    wire::{
        Dispatch, DispatchReply, Heartbeat, JobReport, RunningJob, SecurityStatus, ToWorker, WorkerHello, WorkerKind,
    },
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What names an attempt.
pub type Key = (FencingToken, JobId, Attempt);

#[derive(Debug)]
pub struct Worker {
    pub hello: WorkerHello,
    pub welcomed: bool,
    pub draining: bool,
    /// It stands still until then.
    pub stopped_until: Option<Moment>,
    token: FencingToken,
    pub running: BTreeMap<Key, Dispatch>,
    pub waiting: Vec<Dispatch>,
    pub reports: BTreeMap<Key, JobReport>,
    /// Dispatches that are not answered yet, and by which coordinator each waits for it.
    pub unanswered: BTreeMap<Key, u64>,
    ended: HashSet<Key>,
    copies: HashMap<ArtifactId, Option<Mac>>,
}

/// What comes of a job.
pub enum End {
    Report(Box<JobOutcome>),
    WorkerDies,
}

pub fn key(d: &Dispatch) -> Key {
    (d.token, d.job, d.attempt)
}

impl Worker {
    pub fn new(hello: WorkerHello) -> Self {
        Self {
            hello,
            welcomed: false,
            draining: false,
            stopped_until: None,
            token: FencingToken(0),
            running: BTreeMap::new(),
            waiting: Vec::new(),
            reports: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            ended: HashSet::new(),
            copies: HashMap::new(),
        }
    }

    pub fn welcome(&mut self, token: FencingToken) {
        self.welcomed = true;
        self.token = self.token.max(token);
    }

    pub fn heartbeat(&self) -> Heartbeat {
        let keys = self.running.keys().copied().chain(self.waiting.iter().map(key)).chain(self.reports.keys().copied());
        let running = keys.map(|(token, job, attempt)| RunningJob { token, job, attempt }).collect();
        Heartbeat { worker: self.hello.worker, running, draining: self.draining, holdings: vec![] }
    }

    /// A command comes; gives the answer, if there is one already, and the attempts that begin.
    pub fn on_command(&mut self, message: ToWorker) -> (Option<DispatchReply>, Vec<Key>) {
        let (token, acknowledged) = match &message {
            ToWorker::Dispatch(d) => (d.token, &d.acknowledged[..]),
            ToWorker::Cancel { token, .. } | ToWorker::Recall { token, .. } => (*token, &[][..]),
            ToWorker::Acknowledge { reports } => (self.token, &reports[..]),
        };
        for report in acknowledged {
            self.reports.remove(&(report.token, report.job, report.attempt));
        }
        if token < self.token {
            return (Some(DispatchReply::Refused("old token".into())), vec![]);
        }
        self.token = token;
        match message {
            ToWorker::Dispatch(dispatch) => self.on_dispatch(*dispatch),
            ToWorker::Cancel { token, job, attempt } => {
                let key = (token, job, attempt);
                self.running.remove(&key);
                self.waiting.retain(|d| self::key(d) != key);
                self.ended.insert(key);
                (Some(DispatchReply::Taken), self.begin())
            }
            ToWorker::Acknowledge { .. } => (None, vec![]),
            ToWorker::Recall { token, job, attempt } => {
                let before = self.waiting.len();
                self.waiting.retain(|d| key(d) != (token, job, attempt));
                if self.waiting.len() == before {
                    return (Some(DispatchReply::Refused("it does not wait".into())), vec![]);
                }
                self.ended.insert((token, job, attempt));
                (Some(DispatchReply::Taken), vec![])
            }
        }
    }

    fn on_dispatch(&mut self, dispatch: Dispatch) -> (Option<DispatchReply>, Vec<Key>) {
        let key = key(&dispatch);
        let has = self.running.contains_key(&key)
            || self.reports.contains_key(&key)
            || self.ended.contains(&key)
            || self.waiting.iter().any(|d| self::key(d) == key);
        if has {
            return (Some(DispatchReply::Taken), vec![]);
        }
        if self.draining {
            return (Some(DispatchReply::Refused("going away".into())), vec![]);
        }
        self.running.retain(|k, _| k.1 != dispatch.job);
        self.waiting.retain(|d| d.job != dispatch.job);
        let at = self.waiting.partition_point(|d| d.urgency <= dispatch.urgency);
        self.waiting.insert(at, dispatch);
        (None, self.begin())
    }

    /// Begins what waits, as far as there are slots.
    pub fn begin(&mut self) -> Vec<Key> {
        let mut begun = Vec::new();
        while self.running.len() < self.hello.slots as usize && !self.waiting.is_empty() {
            let dispatch = self.waiting.remove(0);
            begun.push(key(&dispatch));
            self.running.insert(key(&dispatch), dispatch);
        }
        begun
    }

    pub fn forget_jobs(&mut self) {
        self.running.clear();
        self.waiting.clear();
        self.reports.clear();
        self.unanswered.clear();
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.reports.is_empty()
    }

    /// An attempt ends, if it runs still.
    pub fn end(&mut self, key: Key, store: &mut Store) -> Option<End> {
        let dispatch = self.running.remove(&key)?;
        self.ended.insert(key);
        let outcome = match &dispatch.spec {
            JobSpec::Prepare(job) => match prepare(job, store) {
                Some(outcome) => JobOutcome::Prepare(outcome),
                None => return Some(End::WorkerDies),
            },
            JobSpec::Execute(job) => match self.execute(job, key, store) {
                Some(outcome) => JobOutcome::Execute(outcome),
                None => return Some(End::WorkerDies),
            },
        };
        Some(End::Report(Box::new(outcome)))
    }

    /// Keeps the report until it is acknowledged.
    pub fn keep_report(&mut self, (token, job, attempt): Key, outcome: JobOutcome) -> JobReport {
        let usage = JobUsage::default();
        let report = JobReport { worker: self.hello.worker, token, job, attempt, outcome, usage };
        self.reports.insert((token, job, attempt), report.clone());
        report
    }

    fn execute(&mut self, job: &ExecuteJob, key: Key, store: &Store) -> Option<ExecuteOutcome> {
        if self.copies.get(&job.artifact) != Some(&job.mac) {
            if store.failing {
                return Some(ExecuteOutcome::Internal(InternalError::Store("down".into())));
            }
            match store.get(&job.artifact, job.mac) {
                Got::Intact => drop(self.copies.insert(job.artifact.clone(), job.mac)),
                Got::Damaged => {
                    let reason = AmbiguousReason::CorruptedArtifact("damaged".into());
                    return Some(ExecuteOutcome::Ambiguous(reason));
                }
                Got::Missing => return Some(ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into()))),
            }
        }
        let n = truth::candidate_of(&job.block_data);
        Some(match truth::candidate(n) {
            CandidateTruth::Valid => {
                let words = [u64::from(n), key.0.0, key.1.0, u64::from(key.2)];
                let result: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from(result)))
            }
            CandidateTruth::Invalid => ExecuteOutcome::Invalid(InvalidReason::WorkerReported("trap".into())),
            CandidateTruth::KillsJob => ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into())),
            CandidateTruth::KillsWorker => return None,
        })
    }
}

fn prepare(job: &PrepareJob, store: &mut Store) -> Option<PrepareOutcome> {
    let truth = truth::code(truth::number_of(job.artifact.code_hash));
    if truth == CodeTruth::KillsPrepare {
        return None;
    }
    if store.failing {
        return Some(PrepareOutcome::Internal(InternalError::Store("down".into())));
    }
    Some(match truth {
        CodeTruth::Good => PrepareOutcome::Prepared(store.put(&job.artifact)),
        CodeTruth::Broken => {
            let error = PrepareError::Prevalidation("broken".into());
            store.put_failure(&job.artifact, error.clone());
            PrepareOutcome::Failed(error)
        }
        CodeTruth::Slow | CodeTruth::KillsPrepare => PrepareOutcome::Failed(PrepareError::TimedOut { limit_ms: 1 }),
    })
}

/// The hello of worker number `n` of a run.
pub fn hello(worker: pvf_shared::ids::WorkerId, kind: WorkerKind, slots: u32, engine: &str, host: u32) -> WorkerHello {
    WorkerHello {
        worker,
        kind,
        slots,
        engine: pvf_shared::ids::EngineId::parse(engine).expect("an engine"),
        host: format!("host{host}"),
        version: "sim".into(),
        cpu_baseline: "v3".into(),
        security: SecurityStatus::default(),
        holds: vec![],
        running: vec![],
    }
}
