//! The kernel's part of a job: a staged process begins when the process before it ends, whether the worker looks or
//! not. What the worker's shell would see of it reaches the core later, in any order between runs.

use super::{
    scheduled::Scheduled,
    store::{Fetched, Store},
    truth::{self, CandidateTruth, CodeTruth},
    workers::{Input, Worker},
    world::World,
};
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    identity::WorkerId,
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob, PrepareOutcome},
    time::Timestamp,
    verdict::{AmbiguousReason, InternalError, InvalidReason, PrepareError},
    wire::{Dispatch, WorkerKind},
};
use pvf_worker_core::{AttemptKey, Event, FetchId, RunId};
use std::{sync::Arc, time::Duration};

/// A run of a worker.
#[derive(Debug)]
pub struct Run {
    pub dispatch: Arc<Dispatch>,
    behind: Option<RunId>,
    process: Process,
    /// It stands still until then.
    hangs_until: Timestamp,
    /// The core was told that its slot is free.
    pub released: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Waiting,
    Running,
    Ended,
}

impl World {
    /// How long the worker takes to see what a process did; now and then long.
    fn notice_latency(&mut self) -> Duration {
        match self.rng.u8(0..40) {
            0 => self.millis(20..300),
            _ => Duration::from_micros(self.rng.u64(0..2000)),
        }
    }

    fn worker_sees(&mut self, id: WorkerId, generation: u64, input: Input) {
        let latency = self.notice_latency();
        self.after(latency, Scheduled::Worker(id, generation, input));
    }

    /// The core has something fetched; now and then that takes long.
    pub(super) fn start_fetch(&mut self, id: WorkerId, fetch: FetchId, dispatch: Arc<Dispatch>) {
        let time = match self.rng.u8(0..20) {
            0 => self.millis(20..3000),
            1..10 => Duration::from_micros(self.rng.u64(0..2000)),
            _ => Duration::ZERO,
        };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let hangs = self.store.hangs_until.since(self.now);
        let time = if worker.must_fetch(&dispatch.spec) { time + hangs } else { time };
        worker.fetching.insert(fetch, dispatch);
        let generation = worker.generation;
        self.after(time, Scheduled::Worker(id, generation, Input::FetchEnds(fetch)));
    }

    /// A fetch is over, unless the core has stopped it.
    pub(super) fn fetched(&mut self, id: WorkerId, fetch: FetchId) -> Option<Event> {
        let worker = self.workers.get_mut(&id)?;
        let dispatch = worker.fetching.remove(&fetch)?;
        let attempt = (&*dispatch).into();
        worker.checks.on_fetched(attempt, self.now);
        let mut failed = worker.fetch_inputs(&dispatch.spec, &self.store);
        if worker.fails_until > self.now {
            failed = Some(broken(&dispatch.spec));
        }
        let Some(outcome) = failed else { return Some(Event::Fetched { fetch }) };
        worker.checks.on_failed(attempt, &outcome, self.now);
        Some(Event::FetchFailed { fetch, outcome, usage: JobUsage::default() })
    }

    /// The core starts a run.
    pub(super) fn start_run(&mut self, id: WorkerId, run: RunId, dispatch: Arc<Dispatch>, behind: Option<RunId>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let waits = behind.is_some_and(|before| worker.has_process(before));
        worker.runs.insert(
            run,
            Run { dispatch, behind, process: Process::Waiting, hangs_until: Timestamp::default(), released: false },
        );
        if !waits {
            self.begin(id, run);
        }
    }

    /// A staged run gets a slot before the run before it has ended.
    pub(super) fn grant_slot(&mut self, id: WorkerId, run: RunId) {
        if self.workers.get(&id).and_then(|w| w.runs.get(&run)).is_some_and(|run| run.process == Process::Waiting) {
            self.begin(id, run);
        }
    }

    /// A process begins its job.
    fn begin(&mut self, id: WorkerId, run: RunId) {
        let time = self.job_time(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let generation = worker.generation;
        let Some(this) = worker.runs.get_mut(&run) else { return };
        this.process = Process::Running;
        let (staged, attempt) = (this.behind.is_some(), AttemptKey::from(&*this.dispatch));
        worker.checks.on_begin(attempt, self.now);
        let running = worker.runs.values().filter(|run| run.process == Process::Running).count();
        assert!(running <= worker.setup.slots as usize, "more processes than slots: {running} at {id:?}");
        self.after(time, Scheduled::ProcessEnds(id, generation, run));
        if staged {
            self.worker_sees(id, generation, Input::Began(run));
        }
    }

    fn job_time(&mut self, id: WorkerId) -> Duration {
        let prepares = self.workers.get(&id).is_some_and(|w| w.setup.kind == WorkerKind::Prepare);
        match (prepares, self.rng.u8(0..20)) {
            (true, _) => self.millis(100..3000),
            // Now and then a job takes longer than a worker may be silent.
            (false, 0) => self.millis(3000..15_000),
            (false, _) => self.millis(1..150),
        }
    }

    /// A process ends by itself.
    pub(super) fn process_ends(&mut self, id: WorkerId, generation: u64, run: RunId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|w| w.generation == generation) else { return };
        let Some(this) = worker.runs.get_mut(&run).filter(|run| run.process == Process::Running) else { return };
        if this.hangs_until > self.now {
            let rest = this.hangs_until.since(self.now);
            return self.after(rest, Scheduled::ProcessEnds(id, generation, run));
        }
        this.process = Process::Ended;
        let kills = kills_worker(&this.dispatch.spec);
        if kills {
            self.worker_dies(id, Duration::from_secs(2));
            return;
        }
        self.worker_sees(id, generation, Input::SlotReleased(run));
        self.begin_behind(id, run);
    }

    /// The processes that run at a worker stand still for this long.
    pub(super) fn jobs_hang(&mut self, id: WorkerId, time: Duration) {
        let until = self.now.after(time);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        for run in worker.runs.values_mut().filter(|run| run.process == Process::Running) {
            run.hangs_until = until;
        }
    }

    /// The core stops a run: its process is killed.
    pub(super) fn stop_run(&mut self, id: WorkerId, run: RunId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let stopped = worker.runs.remove(&run);
            assert!(stopped.is_some(), "{run:?} is stopped, and {id:?} does not have it");
            self.begin_behind(id, run);
        }
    }

    /// What is staged behind a process that is gone begins.
    pub(super) fn begin_behind(&mut self, id: WorkerId, before: RunId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let waits = |run: &Run| run.process == Process::Waiting && run.behind == Some(before);
        let next: Vec<_> = worker.runs.iter().filter(|(_, run)| waits(run)).map(|(id, _)| *id).collect();
        for run in next {
            self.begin(id, run);
        }
    }

    /// The outcome of a run whose process has ended.
    pub(super) fn outcome(&mut self, id: WorkerId, run: &Run) -> JobOutcome {
        match &run.dispatch.spec {
            JobSpec::Prepare(job) => JobOutcome::Prepare(prepare(job, &mut self.store)),
            JobSpec::Execute(job) => {
                let host = self.workers.get(&id).map(|worker| worker.setup.host);
                let lies = self.liar.is_some() && self.liar == host && self.rng.u8(0..3) > 0;
                let traced = !self.policy.cross_check.dispute;
                let outcome = execute(job, traced.then_some(&*run.dispatch));
                JobOutcome::Execute(if lies { wrong(outcome, job, self.rng.bool()) } else { outcome })
            }
        }
    }
}

impl Worker {
    /// Whether this run has a process that has not ended, or waits for one.
    fn has_process(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|run| run.process != Process::Ended)
    }

    /// Whether a job needs something from the store.
    fn must_fetch(&self, spec: &JobSpec) -> bool {
        matches!(spec, JobSpec::Execute(job) if self.copies.get(&job.artifact) != Some(&job.digest))
    }

    /// Fetches what a job needs; gives the outcome if that fails.
    fn fetch_inputs(&mut self, spec: &JobSpec, store: &Store) -> Option<JobOutcome> {
        let JobSpec::Execute(job) = spec else { return None };
        self.fetch_artifact(job, store).map(JobOutcome::Execute)
    }

    fn fetch_artifact(&mut self, job: &ExecuteJob, store: &Store) -> Option<ExecuteOutcome> {
        if self.copies.get(&job.artifact) == Some(&job.digest) {
            return None;
        }
        if store.failing {
            return Some(ExecuteOutcome::Internal(InternalError::Store("down".into())));
        }
        match store.fetch(&job.artifact, job.digest) {
            Fetched::Intact => {
                self.copies.insert(job.artifact.clone(), job.digest);
                None
            }
            Fetched::Damaged => Some(ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact("damaged".into()))),
            Fetched::Missing => Some(ExecuteOutcome::Internal(InternalError::ArtifactMissing("gone".into()))),
        }
    }
}

/// The outcome of a job on a broken machine.
fn broken(spec: &JobSpec) -> JobOutcome {
    let error = InternalError::Kernel("the machine is broken".into());
    match spec {
        JobSpec::Prepare(_) => JobOutcome::Prepare(PrepareOutcome::Internal(error)),
        JobSpec::Execute(_) => JobOutcome::Execute(ExecuteOutcome::Internal(error)),
    }
}

fn kills_worker(spec: &JobSpec) -> bool {
    match spec {
        JobSpec::Prepare(job) => truth::code(truth::number_of(job.artifact.code_hash)) == CodeTruth::KillsPrepare,
        JobSpec::Execute(job) => {
            let links = truth::code(truth::number_of(job.artifact.code_hash)) != CodeTruth::Unlinkable;
            links && truth::candidate(truth::candidate_of(&job.block_data)) == CandidateTruth::KillsWorker
        }
    }
}

/// What a machine says instead: the opposite, or another result.
fn wrong(outcome: ExecuteOutcome, job: &ExecuteJob, other_result: bool) -> ExecuteOutcome {
    match outcome {
        ExecuteOutcome::Valid(_) if other_result => valid(truth::candidate_of(&job.block_data) + 1, None),
        ExecuteOutcome::Valid(_) => ExecuteOutcome::Invalid(InvalidReason::WorkerReported("a lie".into())),
        ExecuteOutcome::Invalid(_) => valid(truth::candidate_of(&job.block_data), None),
        honest @ (ExecuteOutcome::Ambiguous(_) | ExecuteOutcome::Internal(_)) => honest,
    }
}

/// The result of a candidate. That of a traced attempt names it, so that a verdict can be traced to it.
fn valid(n: u32, traced: Option<&Dispatch>) -> ExecuteOutcome {
    let attempt = traced.map_or([0; 3], |d| [d.token.0, d.job.0, u64::from(d.attempt)]);
    let words = std::iter::once(u64::from(n)).chain(attempt);
    let result: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    ExecuteOutcome::Valid(BlobRef::Inline(Bytes::from(result)))
}

fn execute(job: &ExecuteJob, traced: Option<&Dispatch>) -> ExecuteOutcome {
    let n = truth::candidate_of(&job.block_data);
    if truth::code(truth::number_of(job.artifact.code_hash)) == CodeTruth::Unlinkable {
        return ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction("no such import".into()));
    }
    match truth::candidate(n) {
        CandidateTruth::Valid => valid(n, traced),
        CandidateTruth::Invalid => ExecuteOutcome::Invalid(InvalidReason::WorkerReported("trap".into())),
        CandidateTruth::KillsJob => ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into())),
        CandidateTruth::KillsWorker => unreachable!("the worker died when the process ended"),
    }
}

fn prepare(job: &PrepareJob, store: &mut Store) -> PrepareOutcome {
    if store.failing {
        return PrepareOutcome::Internal(InternalError::Store("down".into()));
    }
    match truth::code(truth::number_of(job.artifact.code_hash)) {
        CodeTruth::Unlinkable if job.precheck => {
            PrepareOutcome::Failed(PrepareError::RuntimeConstruction("no such import".into()))
        }
        CodeTruth::Good | CodeTruth::Unlinkable => PrepareOutcome::Prepared(store.put(&job.artifact)),
        CodeTruth::Broken => {
            let error = PrepareError::Prevalidation("broken".into());
            store.put_failure(&job.artifact, error.clone());
            PrepareOutcome::Failed(error)
        }
        CodeTruth::Slow => {
            let limit_ms = job.cpu_limit.as_millis() as u64;
            PrepareOutcome::Failed(PrepareError::TimedOut { limit_ms })
        }
        CodeTruth::KillsPrepare => unreachable!("the worker died when the process ended"),
    }
}
