//! What a worker has on its desk: jobs that run, jobs that wait for a slot, and what it was told about each.

use super::{
    Worker,
    link::{Key, Link, Note, Run},
    slots::{Running, Waiting},
};
use pvf_shared::{
    bus::Message,
    config::MAX_AHEAD,
    ids::{FencingToken, JobId},
    job::JobSpec,
    subjects::Subject,
    wire::{
        self, Dispatch, DispatchReply, Heartbeat, Holding, JobReport, RunningJob, ToWorker, WorkerHello, WorkerKind,
    },
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::time::Instant;

/// Attempts that are remembered after their end, so that a repeated dispatch is not done again.
const REMEMBERED: usize = 4096;

pub(super) fn key_of(dispatch: &Dispatch) -> Key {
    (dispatch.token, dispatch.job, dispatch.attempt)
}

/// A worker's state while it runs.
pub(super) struct Desk {
    pub(super) worker: Worker,
    pub(super) link: Arc<Link>,
    token: FencingToken,
    welcomed: bool,
    /// No more jobs are taken.
    draining: bool,
    /// A hello or heartbeat is under way.
    talking: bool,
    /// Jobs that run, or wait for the end of one that does.
    pub(super) running: HashMap<JobId, Running>,
    /// Jobs that wait for a slot otherwise, the most urgent first.
    pub(super) waiting: Vec<Waiting>,
    /// By when each dispatch is answered, whether its job has ended or not.
    unanswered: VecDeque<(Instant, Key)>,
    /// By when each report is repeated, as a message of its own, if it is not acknowledged.
    unacknowledged: VecDeque<(Instant, Key)>,
    ended: VecDeque<Key>,
    /// Counts runs, and jobs that began.
    pub(super) counter: u64,
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
            unanswered: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            ended: VecDeque::new(),
            counter: 0,
        }
    }

    fn running_jobs(&self) -> Vec<RunningJob> {
        let running = self.running.iter().map(|(job, r)| RunningJob { token: r.token, job: *job, attempt: r.attempt });
        let waiting = self.waiting.iter().map(|w| key_of(&w.dispatch));
        running.chain(waiting.map(|(token, job, attempt)| RunningJob { token, job, attempt })).collect()
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

    pub(super) async fn on_note(&mut self, note: Note) {
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
            Note::SlotFree => self.fill_slots(),
            Note::Ended(run, report) => self.on_ended(run, report).await,
            Note::Heard | Note::Silence => self.talking = false,
            Note::Reported(key) => self.on_acknowledged(key),
        }
    }

    /// What came of a job is known.
    async fn on_ended(&mut self, run: Run, report: Box<JobReport>) {
        let key = run.key;
        let Some(job) = self.running.get_mut(&key.1).filter(|r| r.is_run(run)) else { return };
        job.report = Some(report.clone());
        job.task = None;
        let answer = job.answer.take();
        // The next one begins before anything is said about this one.
        self.fill_slots();
        match answer {
            Some(to) => {
                self.unacknowledged.push_back((Instant::now() + self.worker.config.timing.ack, key));
                self.answer(&to, &DispatchReply::Done(report)).await;
            }
            None => self.report(key),
        }
    }

    /// Reports as a message of its own, until it is acknowledged.
    fn report(&mut self, key: Key) {
        let Some(entry) = self.running.get_mut(&key.1).filter(|r| r.is(key)) else { return };
        if let (Some(report), None) = (&entry.report, &entry.task) {
            entry.task = Some(tokio::spawn(self.link.clone().report(report.clone())).abort_handle());
        }
    }

    /// The coordinator has taken note of a report.
    fn on_acknowledged(&mut self, key: Key) {
        if self.running.get(&key.1).is_some_and(|r| r.is(key) && r.report.is_some()) {
            self.running.remove(&key.1);
            self.remember(key);
        }
    }

    /// When [`Desk::on_time`] is to be called. What was settled meanwhile is not waited for.
    pub(super) fn due(&mut self) -> Option<Instant> {
        while let Some((_, key)) = self.unanswered.front()
            && !self.is_unanswered(*key)
        {
            self.unanswered.pop_front();
        }
        while let Some((_, key)) = self.unacknowledged.front()
            && self.running.get(&key.1).is_none_or(|r| !r.is(*key))
        {
            self.unacknowledged.pop_front();
        }
        [&self.unanswered, &self.unacknowledged].into_iter().filter_map(|due| due.front().map(|(at, _)| *at)).min()
    }

    /// Answers dispatches whose jobs are not done yet, and repeats reports.
    pub(super) async fn on_time(&mut self) {
        let now = Instant::now();
        while let Some((_, key)) = self.unanswered.pop_front_if(|(at, _)| *at <= now) {
            self.answer_dispatch(key).await;
        }
        while let Some((_, key)) = self.unacknowledged.pop_front_if(|(at, _)| *at <= now) {
            self.report(key);
        }
    }

    fn is_unanswered(&self, key: Key) -> bool {
        match self.running.get(&key.1).filter(|r| r.is(key)) {
            Some(running) => running.answer.is_some(),
            None => self.waiting.iter().any(|w| key_of(&w.dispatch) == key && w.answer.is_some()),
        }
    }

    /// Answers a dispatch, if it has no answer yet, although its job is not done.
    async fn answer_dispatch(&mut self, key: Key) {
        if let Some(to) = self.take_answer(key) {
            self.answer(&to, &DispatchReply::Taken).await;
        }
    }

    /// Where the answer to a dispatch goes, if it has none yet.
    fn take_answer(&mut self, key: Key) -> Option<Subject> {
        match self.running.get_mut(&key.1).filter(|r| r.is(key)) {
            Some(running) => running.answer.take(),
            None => self.waiting.iter_mut().find(|w| key_of(&w.dispatch) == key)?.answer.take(),
        }
    }

    fn remember(&mut self, key: Key) {
        self.ended.push_back(key);
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    pub(super) async fn on_command(&mut self, message: Message) {
        let reply = match wire::decode::<ToWorker>(&message.payload) {
            Ok(ToWorker::Dispatch(dispatch)) => match self.on_dispatch(*dispatch, message.reply.clone()) {
                Some(reply) => reply,
                None => return,
            },
            Ok(ToWorker::Acknowledge { reports }) => {
                return reports.iter().for_each(|r| self.on_acknowledged((r.token, r.job, r.attempt)));
            }
            Ok(ToWorker::Recall { token, job, attempt }) => {
                self.answer_dispatch((token, job, attempt)).await;
                self.on_recall((token, job, attempt))
            }
            Ok(ToWorker::Cancel { token, job, attempt }) => {
                self.answer_dispatch((token, job, attempt)).await;
                self.on_cancel((token, job, attempt))
            }
            Err(error) => {
                tracing::warn!(%error, "command is not understood");
                DispatchReply::Refused(error.to_string())
            }
        };
        if let DispatchReply::Refused(why) = &reply {
            tracing::info!(%why, "command refused");
        }
        if let Some(to) = message.reply {
            self.answer(&to, &reply).await;
        }
    }

    async fn answer(&self, to: &Subject, reply: &DispatchReply) {
        if let Err(error) = self.worker.bus.publish(to, wire::encode(reply)).await {
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

    /// Takes a job, or refuses it; one that is new is answered when it is done or after a moment.
    fn on_dispatch(&mut self, dispatch: Dispatch, answer: Option<Subject>) -> Option<DispatchReply> {
        dispatch.acknowledged.iter().for_each(|r| self.on_acknowledged((r.token, r.job, r.attempt)));
        match self.admit(&dispatch) {
            Ok(true) => self.take(dispatch, answer),
            Ok(false) => Some(DispatchReply::Taken),
            Err(refused) => Some(refused),
        }
    }

    /// Whether a dispatch is new, if it can be done here.
    fn admit(&mut self, dispatch: &Dispatch) -> Result<bool, DispatchReply> {
        self.check_token(dispatch.token)?;
        let key = key_of(dispatch);
        let has = self.running.get(&key.1).is_some_and(|r| r.is(key));
        let waits = self.waiting.iter().any(|w| key_of(&w.dispatch) == key);
        if has || waits || self.ended.contains(&key) {
            return Ok(false);
        }
        let refuse = |why: String| Err(DispatchReply::Refused(why));
        if self.draining {
            return refuse("this worker is going away".into());
        }
        let (kind, artifact) = match &dispatch.spec {
            JobSpec::Prepare(spec) => (WorkerKind::Prepare, &spec.artifact),
            JobSpec::Execute(spec) => (WorkerKind::Execute, &spec.artifact),
        };
        if kind != self.worker.config.kind {
            return refuse(format!("this is no {kind} worker"));
        }
        if artifact.engine != self.worker.engine {
            return refuse(format!("this worker's engine is {}", self.worker.engine));
        }
        Ok(true)
    }

    fn take(&mut self, dispatch: Dispatch, answer: Option<Subject>) -> Option<DispatchReply> {
        let key = key_of(&dispatch);
        // Another attempt of the same job takes the place of the earlier one: whoever sent it does not want that
        // any more.
        drop(self.running.remove(&key.1));
        self.waiting.retain(|w| w.dispatch.job != key.1);
        self.fill_slots();
        if self.not_begun() >= MAX_AHEAD as usize {
            return Some(DispatchReply::Refused("no free slot".into()));
        }
        self.await_slot(Waiting { dispatch: Arc::new(dispatch), answer });
        self.fill_slots();
        self.unanswered.push_back((Instant::now() + self.worker.config.timing.hold_back(), key));
        None
    }

    /// What has not begun is given back.
    fn on_recall(&mut self, key: Key) -> DispatchReply {
        if let Err(refused) = self.check_token(key.0) {
            return refused;
        }
        if !self.take_back(key) {
            return DispatchReply::Refused("it does not wait for a slot".into());
        }
        self.remember(key);
        DispatchReply::Taken
    }

    fn on_cancel(&mut self, key: Key) -> DispatchReply {
        if let Err(refused) = self.check_token(key.0) {
            return refused;
        }
        if self.running.get(&key.1).is_some_and(|r| r.is(key)) {
            self.running.remove(&key.1);
            self.fill_slots();
        }
        self.waiting.retain(|w| key_of(&w.dispatch) != key);
        self.remember(key);
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
