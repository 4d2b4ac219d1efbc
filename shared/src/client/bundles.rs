//! Replay bundles of a client's requests.
//!
//! The client has the code, the PoV and the verdict, so it is the one that writes bundles; what the workers kept of the
//! jobs is pulled from them. All of that happens in a task of its own, after the caller has its answer: a bundle that
//! cannot be made or written is a warning, and one that finds too many others waiting is not made.

use super::{
    payloads::Payloads,
    request::{Answer, ExecuteRequest, Pvf},
};
use crate::{
    bundle::{Bundle, BundleFolder, Candidate, JobNote, Notes, Retention},
    identity::WorkerId,
    ids::{Attempt, CodeHash},
    job::JobUsage,
    record::{HeldRecord, JobRecord},
    verdict::{Blame, Outcome},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Bundles that wait to be written; each keeps its PoV in memory.
const MAX_WAITING: usize = 16;
/// How long the worker of a job may take to hand over what it kept.
const RECORD_WITHIN: Duration = Duration::from_secs(3);

/// Which requests a client writes bundles of, and where.
#[derive(Debug, Clone)]
pub struct BundleSettings {
    /// The folder, which is created if it does not exist.
    pub folder: PathBuf,
    /// Whether valid candidates and codes that can be prepared have a bundle, too (default: no).
    pub all: bool,
    /// What is kept in the folder.
    pub retention: Retention,
}

impl BundleSettings {
    /// Bundles of what is not valid, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), all: false, retention: Retention::default() }
    }

    /// Whether a request with this outcome has a bundle. One that expired has no verdict to replay.
    pub fn wants(&self, outcome: &Outcome) -> bool {
        match (outcome.blame(), outcome) {
            (_, Outcome::Expired) => false,
            (Blame::NoParty, _) => self.all,
            (Blame::Candidate | Blame::Ambiguous | Blame::Code | Blame::Ours, _) => true,
        }
    }
}

/// A request that was answered.
pub(super) struct Answered {
    pub(super) pvf: Pvf,
    /// The candidate; `None` for a precheck.
    pub(super) request: Option<ExecuteRequest>,
    pub(super) answer: Answer,
}

enum Order {
    Write(Box<Answered>),
    /// Answered when all earlier orders are done.
    Finish(oneshot::Sender<()>),
}

/// Writes bundles, one after another, in a task that ends when this is dropped and its orders are done.
pub(super) struct BundleWriter {
    settings: BundleSettings,
    orders: mpsc::Sender<Order>,
}

impl BundleWriter {
    pub(super) fn start(settings: BundleSettings, payloads: Arc<Payloads>) -> Self {
        let (orders, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write_all(settings.clone(), payloads, receiver));
        Self { settings, orders }
    }

    /// Whether a request with this answer has a bundle.
    pub(super) fn want(&self, answer: &Answer) -> bool {
        self.settings.wants(&answer.outcome)
    }

    /// Has a bundle of a request written.
    pub(super) fn offer(&self, answered: Answered) {
        let request = answered.answer.request;
        if self.orders.try_send(Order::Write(Box::new(answered))).is_err() {
            let why = "too many others are waiting to be written";
            tracing::warn!(%request, why, "no replay bundle");
        }
    }

    /// Waits until all that were offered before are written.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.orders.send(Order::Finish(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

async fn write_all(settings: BundleSettings, payloads: Arc<Payloads>, mut orders: mpsc::Receiver<Order>) {
    let folder = BundleFolder::new(settings.folder, settings.retention);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Write(answered) => {
                let Answered { pvf, request, answer } = *answered;
                let bundle = make(&payloads, &pvf, request.as_ref(), &answer).await;
                let folder = folder.clone();
                let written = tokio::task::spawn_blocking(move || folder.write(&bundle)).await;
                let request = answer.request;
                match written {
                    Ok(Ok(path)) => tracing::info!(%request, path = %path.display(), "replay bundle written"),
                    Ok(Err(error)) => tracing::warn!(%request, %error, "replay bundle not written"),
                    Err(error) => tracing::warn!(%request, %error, "replay bundle not written: a bug"),
                }
            }
            // The caller may be gone.
            Order::Finish(done) => drop(done.send(())),
        }
    }
}

/// The bundle of an answered request, with what the workers kept of its jobs.
pub(super) async fn make(payloads: &Payloads, pvf: &Pvf, request: Option<&ExecuteRequest>, answer: &Answer) -> Bundle {
    let usage = &answer.usage;
    let preparation = usage.preparation.iter().map(|of| (None, of.worker, &of.usage));
    let executions = usage.executions.iter().map(|of| (Some(of.attempt), of.worker, &of.usage));
    let jobs = preparation.chain(executions).map(|(attempt, worker, usage)| note(payloads, attempt, worker, usage));
    let jobs = futures::future::join_all(jobs).await;
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let notes = Notes {
        recorded_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        client_version: env!("CARGO_PKG_VERSION").into(),
        request: answer.request,
        artifact: answer.artifact.clone(),
        timings: answer.timings,
        worker: answer.worker,
        attempts: answer.attempts,
        usage: usage.clone(),
        second_opinion: answer.second_opinion.clone(),
        jobs,
    };
    let candidate = request.map(|request| Candidate {
        kind: request.kind,
        context: request.context.clone(),
        block_data: request.block_data.clone(),
        pov_bomb_limit: request.pov_bomb_limit,
        exec_timeout: request.exec_timeout,
    });
    Bundle {
        code: pvf.code.clone(),
        code_bomb_limit: pvf.code_bomb_limit,
        executor_params: pvf.executor_params.clone(),
        prepare_timeout: pvf.prepare_timeout,
        candidate,
        outcome: answer.outcome.clone(),
        notes,
    }
}

async fn note(payloads: &Payloads, attempt: Option<Attempt>, worker: WorkerId, usage: &JobUsage) -> JobNote {
    let record = match &usage.record {
        Some(held) => pull(payloads, held, worker).await,
        None => Err("the worker has kept none".into()),
    };
    match record {
        Ok(record) => JobNote { attempt, worker, record: Some(record), missing: None },
        Err(why) => JobNote { attempt, worker, record: None, missing: Some(why) },
    }
}

async fn pull(payloads: &Payloads, held: &HeldRecord, worker: WorkerId) -> Result<JobRecord, String> {
    match timeout(RECORD_WITHIN, payloads.record(held, worker)).await {
        Ok(record) => record,
        Err(_) => Err(format!("the worker has not answered within {} s", RECORD_WITHIN.as_secs())),
    }
}

impl Bundle {
    /// The code with its parameters, as it was submitted.
    pub fn pvf(&self) -> Pvf {
        let pvf = Pvf::new(self.code.clone(), self.executor_params.clone()).with_code_bomb_limit(self.code_bomb_limit);
        match self.prepare_timeout {
            Some(timeout) => pvf.with_prepare_timeout(timeout),
            None => pvf,
        }
    }

    /// The candidate as it was submitted, to be executed anew; `None` for a precheck.
    pub fn request(&self) -> Option<ExecuteRequest> {
        let candidate = self.candidate.as_ref()?;
        let mut request = ExecuteRequest::new(candidate.kind, candidate.context.clone(), candidate.block_data.clone());
        request.pov_bomb_limit = candidate.pov_bomb_limit;
        request.exec_timeout = candidate.exec_timeout;
        request.fresh = true;
        Some(request)
    }

    /// The answer to the request.
    pub fn answer(&self) -> Answer {
        let notes = &self.notes;
        Answer {
            request: notes.request,
            outcome: self.outcome.clone(),
            code_hash: CodeHash::of(&self.code),
            artifact: notes.artifact.clone(),
            timings: notes.timings,
            worker: notes.worker,
            attempts: notes.attempts,
            usage: notes.usage.clone(),
            second_opinion: notes.second_opinion.clone(),
        }
    }
}
