//! What a worker has on its desk: jobs that run, jobs that wait for a slot, and what it was told about each.

use super::{
    Worker, jobs,
    link::{Link, Note},
};
use pvf_shared::{
    bus::Message,
    ids::{Attempt, FencingToken, JobId},
    job::JobSpec,
    wire::{self, Dispatch, DispatchReply, Heartbeat, Holding, RunningJob, ToWorker, WorkerHello, WorkerKind},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{task::AbortHandle, time::Instant};

/// Attempts that are remembered after their end, so that a repeated dispatch is not done again.
const REMEMBERED: usize = 4096;
/// Jobs that may wait here for a slot.
const MAX_WAITING: usize = 8;

/// A job that a worker has: running, or its report is not acknowledged.
pub(super) struct Running {
    token: FencingToken,
    attempt: Attempt,
    /// Set when the process has ended and only the report is under way: its slot is free again.
    done: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Running {
    /// Ends what of it still runs: dropping a job's future kills its process.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A worker's state while it runs.
pub(super) struct Desk {
    pub(super) worker: Worker,
    link: Arc<Link>,
    token: FencingToken,
    welcomed: bool,
    /// No more jobs are taken.
    draining: bool,
    /// A hello or heartbeat is under way.
    talking: bool,
    pub(super) running: HashMap<JobId, Running>,
    /// Jobs that wait for a slot, the most urgent first.
    pub(super) waiting: Vec<Dispatch>,
    ended: VecDeque<(FencingToken, JobId, Attempt)>,
}

impl Desk {
    pub(super) fn new(worker: Worker, link: Arc<Link>) -> Self {
        Self {
            worker,
            link,
            token: FencingToken(0),
            welcomed: false,
            draining: false,
            talking: false,
            running: HashMap::new(),
            waiting: Vec::new(),
            ended: VecDeque::new(),
        }
    }

    fn running_jobs(&self) -> Vec<RunningJob> {
        let running = self.running.iter().map(|(job, r)| RunningJob { token: r.token, job: *job, attempt: r.attempt });
        let waiting = self.waiting.iter().map(|d| RunningJob { token: d.token, job: d.job, attempt: d.attempt });
        running.chain(waiting).collect()
    }

    /// Says hello until welcomed, and that it is alive from then on.
    pub(super) fn beat(&mut self) {
        if self.talking {
            return;
        }
        self.talking = true;
        let running = self.running_jobs();
        if self.welcomed {
            let gone = self.worker.jobs.cache.take_gone();
            self.link.clone().heartbeat(Heartbeat {
                worker: self.worker.id,
                running,
                draining: self.draining,
                holdings: gone.into_iter().map(Holding::Gone).collect(),
            });
        } else {
            let hello = WorkerHello {
                worker: self.worker.id,
                kind: self.worker.config.kind,
                slots: self.worker.config.slots,
                engine: self.worker.engine.clone(),
                host: self.worker.config.host.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                cpu_baseline: self.worker.config.baseline.to_string(),
                security: self.worker.jobs.runner.sandbox().status(),
                holds: self.worker.jobs.cache.list().into_iter().map(Holding::OnDisk).collect(),
                running,
            };
            self.link.clone().hello(hello);
        }
    }

    pub(super) fn on_note(&mut self, note: Note) {
        match note {
            Note::Welcome(token) => {
                self.talking = false;
                self.token = self.token.max(token);
                self.welcomed = true;
            }
            Note::Unknown => {
                self.talking = false;
                self.welcomed = false;
                self.beat();
            }
            Note::SlotFree => self.start_waiting(),
            Note::Heard | Note::Silence => self.talking = false,
            Note::Reported { token, job, attempt } => {
                // Another coordinator may have given the same numbers to another job.
                if self.running.get(&job).is_some_and(|r| (r.token, r.attempt) == (token, attempt)) {
                    self.running.remove(&job);
                    self.remember(token, job, attempt);
                    self.start_waiting();
                }
            }
        }
    }

    fn remember(&mut self, token: FencingToken, job: JobId, attempt: Attempt) {
        self.ended.push_back((token, job, attempt));
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    pub(super) async fn on_command(&mut self, message: Message) {
        let reply = match wire::decode::<ToWorker>(&message.payload) {
            Ok(ToWorker::Dispatch(dispatch)) => self.on_dispatch(*dispatch),
            Ok(ToWorker::Recall { token, job, attempt }) => self.on_recall(token, job, attempt),
            Ok(ToWorker::Cancel { token, job, attempt }) => self.on_cancel(token, job, attempt),
            Err(error) => {
                tracing::warn!(%error, "command is not understood");
                DispatchReply::Refused(error.to_string())
            }
        };
        if let DispatchReply::Refused(why) = &reply {
            tracing::info!(%why, "command refused");
        }
        if let Some(to) = message.reply
            && let Err(error) = self.worker.bus.publish(&to, wire::encode(&reply)).await
        {
            tracing::warn!(%error, "answer to a command could not be sent");
        }
    }

    /// An old coordinator's word does not count any more.
    fn check_token(&mut self, token: FencingToken) -> Result<(), DispatchReply> {
        if token < self.token {
            let why = format!("fencing token {} is older than {}", token.0, self.token.0);
            return Err(DispatchReply::Refused(why));
        }
        self.token = token;
        Ok(())
    }

    fn on_dispatch(&mut self, dispatch: Dispatch) -> DispatchReply {
        if let Err(refused) = self.check_token(dispatch.token) {
            return refused;
        }
        let (token, job, attempt) = (dispatch.token, dispatch.job, dispatch.attempt);
        let has = self.running.get(&job).is_some_and(|r| (r.token, r.attempt) == (token, attempt));
        let waits = self.waiting.iter().any(|d| (d.token, d.job, d.attempt) == (token, job, attempt));
        if has || waits || self.ended.contains(&(token, job, attempt)) {
            return DispatchReply::Taken;
        }
        if self.draining {
            return DispatchReply::Refused("this worker is going away".into());
        }
        let (kind, artifact) = match &dispatch.spec {
            JobSpec::Prepare(spec) => (WorkerKind::Prepare, &spec.artifact),
            JobSpec::Execute(spec) => (WorkerKind::Execute, &spec.artifact),
        };
        if kind != self.worker.config.kind {
            return DispatchReply::Refused(format!("this is no {kind} worker"));
        }
        if artifact.engine != self.worker.engine {
            return DispatchReply::Refused(format!("this worker's engine is {}", self.worker.engine));
        }
        // Another attempt of the same job takes the place of the earlier one: whoever sent it does not want that
        // any more.
        drop(self.running.remove(&job));
        self.waiting.retain(|d| d.job != job);
        if self.has_free_slot() {
            self.start(dispatch);
        } else if self.waiting.len() < MAX_WAITING {
            let at = self.waiting.partition_point(|d| d.urgency <= dispatch.urgency);
            self.waiting.insert(at, dispatch);
        } else {
            return DispatchReply::Refused("no free slot".into());
        }
        DispatchReply::Taken
    }

    fn has_free_slot(&self) -> bool {
        let busy = self.running.values().filter(|r| !r.done.load(Ordering::Relaxed)).count();
        busy < self.worker.config.slots as usize
    }

    /// A slot became free: who waits for one begins.
    fn start_waiting(&mut self) {
        while !self.waiting.is_empty() && self.has_free_slot() {
            let dispatch = self.waiting.remove(0);
            self.start(dispatch);
        }
    }

    fn start(&mut self, dispatch: Dispatch) {
        let (token, job, attempt) = (dispatch.token, dispatch.job, dispatch.attempt);
        let done = Arc::new(AtomicBool::new(false));
        let work = jobs::work(self.worker.jobs.clone(), self.link.clone(), self.worker.id, dispatch, done.clone());
        let task = tokio::spawn(work).abort_handle();
        self.running.insert(job, Running { token, attempt, done, task });
    }

    /// What has not begun is given back.
    fn on_recall(&mut self, token: FencingToken, job: JobId, attempt: Attempt) -> DispatchReply {
        if let Err(refused) = self.check_token(token) {
            return refused;
        }
        let at = self.waiting.iter().position(|d| (d.token, d.job, d.attempt) == (token, job, attempt));
        let Some(at) = at else { return DispatchReply::Refused("it does not wait for a slot".into()) };
        self.waiting.remove(at);
        self.remember(token, job, attempt);
        DispatchReply::Taken
    }

    fn on_cancel(&mut self, token: FencingToken, job: JobId, attempt: Attempt) -> DispatchReply {
        if let Err(refused) = self.check_token(token) {
            return refused;
        }
        if self.running.get(&job).is_some_and(|r| (r.token, r.attempt) == (token, attempt)) {
            self.running.remove(&job);
            self.start_waiting();
        }
        self.waiting.retain(|d| (d.token, d.job, d.attempt) != (token, job, attempt));
        self.remember(token, job, attempt);
        DispatchReply::Taken
    }

    /// No more jobs; those that run may end, until the time that this gives.
    pub(super) fn drain(&mut self) -> Instant {
        tracing::info!(running = self.running.len(), "worker ends");
        self.draining = true;
        self.beat();
        Instant::now() + self.worker.config.drain
    }

    /// Ends what still runs, and says goodbye.
    pub(super) async fn leave(mut self) {
        self.waiting.clear();
        self.running.clear();
        self.link.goodbye(self.worker.id).await;
    }
}
