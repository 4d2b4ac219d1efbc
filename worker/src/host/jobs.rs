//! One job of a worker: fetch what it needs, run its process, store what it made, report.

use super::{
    artifacts::ArtifactCache,
    link::{Link, Run},
};
use crate::supervise::{JobRunner, Prepared, Turn};
use futures::FutureExt as _;
use pvf_shared::{
    Bytes,
    ids::{CodeHash, WorkerId},
    job::{
        ArtifactInfo, BlobRef, ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob, PrepareOutcome,
    },
    store::{BlobStore, StoreError},
    verdict::{AmbiguousReason, InternalError, PrepareError},
    wire::{Dispatch, JobReport},
};
use std::{panic::AssertUnwindSafe, path::Path, sync::Arc, time::Instant};
use tracing::Instrument as _;

/// What every job of a worker uses.
pub(super) struct JobContext {
    pub(super) store: BlobStore,
    pub(super) runner: JobRunner,
    pub(super) cache: ArtifactCache,
    /// Larger results go to the store, bytes.
    pub(super) max_inline: usize,
}

/// Does a job when it is its turn; its report goes to the worker's desk.
pub(super) async fn work(
    context: Arc<JobContext>,
    link: Arc<Link>,
    (worker, run): (WorkerId, Run),
    dispatch: Arc<Dispatch>,
    turn: Turn,
) {
    let Dispatch { token, job, attempt, request, ref spec, urgency: _, acknowledged: _ } = *dispatch;
    let artifact = match spec {
        JobSpec::Prepare(spec) => spec.artifact.to_string(),
        JobSpec::Execute(spec) => spec.artifact.to_string(),
    };
    let span = tracing::info_span!("job", %job, attempt, request = request.map(|r| r.to_string()), %artifact);
    async {
        let notes = link.clone();
        let turn = turn.until(move || notes.slot_free());
        let (outcome, usage) = context.outcome(spec, turn).await;
        tracing::info!(cpu_ms = usage.cpu.as_millis() as u64, wall_ms = usage.wall.as_millis() as u64,
            max_rss_kib = usage.max_rss_kib, outcome = %summary(&outcome), "job ended");
        link.ended(run, JobReport { worker, token, job, attempt, outcome, usage });
    }
    .instrument(span)
    .await;
}

fn summary(outcome: &JobOutcome) -> String {
    match outcome {
        JobOutcome::Prepare(PrepareOutcome::Prepared(info)) => format!("prepared ({} bytes)", info.bytes),
        JobOutcome::Prepare(PrepareOutcome::Failed(error)) => error.to_string(),
        JobOutcome::Prepare(PrepareOutcome::Internal(error)) => format!("internal: {error}"),
        JobOutcome::Execute(ExecuteOutcome::Valid(_)) => "valid".into(),
        JobOutcome::Execute(ExecuteOutcome::Invalid(reason)) => reason.to_string(),
        JobOutcome::Execute(ExecuteOutcome::Ambiguous(reason)) => reason.to_string(),
        JobOutcome::Execute(ExecuteOutcome::Internal(error)) => format!("internal: {error}"),
    }
}

impl JobContext {
    /// Whatever happens there is an outcome: a job without one would be running for ever.
    async fn outcome(&self, spec: &JobSpec, turn: Turn) -> (JobOutcome, JobUsage) {
        let panicked = "panic of the worker itself (its log says more)";
        match spec {
            JobSpec::Prepare(job) => {
                let started = Instant::now();
                let caught = AssertUnwindSafe(self.prepare(job)).catch_unwind().await;
                let (outcome, mut usage) = caught.unwrap_or_else(|_| {
                    (PrepareOutcome::Failed(PrepareError::JobDied(panicked.into())), JobUsage::default())
                });
                usage.io = started.elapsed().saturating_sub(usage.wall);
                (JobOutcome::Prepare(outcome), usage)
            }
            JobSpec::Execute(job) => {
                let caught = AssertUnwindSafe(self.execute(job, turn)).catch_unwind().await;
                let (outcome, usage) = caught.unwrap_or_else(|_| {
                    let reason = AmbiguousReason::JobError(panicked.into());
                    (ExecuteOutcome::Ambiguous(reason), JobUsage::default())
                });
                (JobOutcome::Execute(outcome), usage)
            }
        }
    }

    /// An input by reference; a missing or damaged one is nobody's verdict.
    async fn input(&self, blob: &BlobRef) -> Result<Bytes, InternalError> {
        self.store.fetch(blob).await.map_err(|error| match error {
            StoreError::NotFound { .. } | StoreError::Damaged { .. } => InternalError::InputBlob(error.to_string()),
            other => InternalError::Store(other.to_string()),
        })
    }

    async fn prepare(&self, job: &PrepareJob) -> (PrepareOutcome, JobUsage) {
        let internal = |error| (PrepareOutcome::Internal(error), JobUsage::default());
        let code = match self.input(&job.code).await {
            Ok(code) => code,
            Err(error) => return internal(error),
        };
        if CodeHash::of(&code) != job.artifact.code_hash {
            return internal(InternalError::InputBlob("the code is not what its hash says".into()));
        }
        let (prepared, usage) = self.runner.prepare(job, code).await;
        let store = |e: StoreError| PrepareOutcome::Internal(InternalError::Store(e.to_string()));
        // Stored before it is reported: whoever hears of it finds it.
        let outcome = match prepared {
            Prepared::Artifact(code) => match self.store.put_artifact(&job.artifact, &code).await {
                Ok(mac) => PrepareOutcome::Prepared(ArtifactInfo { bytes: code.len() as u64, mac }),
                Err(error) => store(error),
            },
            // Kept for everybody, unless it was this request's limits.
            Prepared::Failed(error) if error.is_deterministic() && !error.depends_on_limits() => {
                match self.store.put_failure(&job.artifact, &error).await {
                    Ok(()) => PrepareOutcome::Failed(error),
                    Err(error) => store(error),
                }
            }
            Prepared::Failed(error) => PrepareOutcome::Failed(error),
            Prepared::Internal(error) => PrepareOutcome::Internal(error),
        };
        (outcome, usage)
    }

    async fn execute(&self, job: &ExecuteJob, turn: Turn) -> (ExecuteOutcome, JobUsage) {
        let started = Instant::now();
        let failed = |outcome| (outcome, JobUsage { io: started.elapsed(), ..JobUsage::default() });
        let block_data = match self.input(&job.block_data).await {
            Ok(data) => data,
            Err(error) => return failed(ExecuteOutcome::Internal(error)),
        };
        let is_mapped = |path: &Path| self.runner.is_warm(path, &job.executor_params);
        let artifact = match self.cache.get(&job.artifact, job.mac, is_mapped).await {
            Ok(artifact) => artifact,
            Err(outcome) => return failed(outcome),
        };
        let fetching = started.elapsed();
        let (outcome, usage) = self.runner.execute_in_turn(job, artifact.path(), block_data, turn).await;
        let started = Instant::now();
        let outcome = self.fit(outcome).await;
        (outcome, JobUsage { io: fetching + started.elapsed(), ..usage })
    }

    /// A result that does not fit the bus goes to the store.
    async fn fit(&self, outcome: ExecuteOutcome) -> ExecuteOutcome {
        match outcome {
            ExecuteOutcome::Valid(BlobRef::Inline(result)) if result.len() > self.max_inline => {
                match self.store.put_blob(result).await {
                    Ok(blob) => ExecuteOutcome::Valid(blob),
                    Err(error) => ExecuteOutcome::Internal(InternalError::Store(error.to_string())),
                }
            }
            other => other,
        }
    }
}
