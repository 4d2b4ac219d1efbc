//! The task of one run: run the job's process, store or keep what it made, report the outcome.

use super::{
    context::JobContext,
    inputs::{Fetched, Inputs, internal},
    messages::TaskMessage,
    transfers::upload,
};
use crate::supervise::{CompileMeter, JobTrace, Prepared, SlotGrant};
use futures::FutureExt as _;
use pvf_shared::{
    Bytes,
    artifact::ArtifactInfo,
    blob::BlobRef,
    ids::BlobHash,
    job::{ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob, PrepareOutcome},
    store::StoreError,
    verdict::InternalError,
    wire::Dispatch,
};
use pvf_worker_core::RunId;
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedSender;
use tracing::Instrument as _;

/// One run.
pub(super) struct JobTask {
    pub(super) run: RunId,
    pub(super) dispatch: Arc<Dispatch>,
    /// What was fetched for it; without that it ends as an infrastructure failure.
    pub(super) fetched: Option<Fetched>,
    /// The slot that it has or waits for.
    pub(super) grant: SlotGrant,
    /// Shows how far a preparation has come.
    pub(super) meter: CompileMeter,
    pub(super) to_loop: UnboundedSender<TaskMessage>,
}

/// Runs a job to its end. Dropping the future kills and reaps its process.
pub(super) async fn run(context: Arc<JobContext>, task: JobTask) {
    let JobTask { run, dispatch, fetched, grant, meter, to_loop } = task;
    let Dispatch { job, attempt, request, ref spec, .. } = *dispatch;
    let artifact = match spec {
        JobSpec::Prepare(spec) => spec.artifact.to_string(),
        JobSpec::Execute(spec) => spec.artifact.to_string(),
    };
    let span = tracing::info_span!("job", %job, attempt, request = request.map(|r| r.to_string()), %artifact);
    async {
        let progress = to_loop.clone();
        // The loop may be gone when this ends.
        let grant = grant.on_release(move || drop(progress.send(TaskMessage::Progress)));
        let took = fetched.as_ref().map_or(Duration::ZERO, |fetched| fetched.took);
        let span = context.traces.started(&dispatch, took);
        let (outcome, usage) = context.outcome(spec, fetched, (grant, meter)).await;
        span.end(&outcome, &usage);
        tracing::info!(cpu_ms = usage.cpu.as_millis() as u64, wall_ms = usage.wall.as_millis() as u64,
            max_rss_kib = usage.max_rss_kib, outcome = %summary(&outcome), "job ended");
        let _ = to_loop.send(TaskMessage::Ended { run, outcome, usage });
    }
    .instrument(span)
    .await;
}

pub(super) fn summary(outcome: &JobOutcome) -> String {
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

/// Does the worker's part of a job that was handed over. A panic in it is the worker's own failure, whatever the job
/// has done by then: the job's code runs in another process.
async fn guarded<T>(
    work: impl Future<Output = (T, JobUsage)>,
    internal: impl FnOnce(InternalError) -> T,
    limits: JobUsage,
) -> (T, JobUsage) {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let why = "panic in the worker itself while it had the job; see its log";
        (internal(InternalError::Kernel(why.into())), limits)
    })
}

impl JobContext {
    /// There is an outcome even if the worker's own code panics: without one the job would never end.
    async fn outcome(
        &self,
        spec: &JobSpec,
        fetched: Option<Fetched>,
        (grant, meter): (SlotGrant, CompileMeter),
    ) -> (JobOutcome, JobUsage) {
        let (started, fetching) = (Instant::now(), fetched.as_ref().map_or(Duration::ZERO, |fetched| fetched.took));
        match (spec, fetched.map(|fetched| fetched.inputs)) {
            (JobSpec::Prepare(job), Some(Inputs::Prepare { code })) => {
                let (outcome, mut usage) =
                    guarded(self.prepare(job, code, meter), PrepareOutcome::Internal, job.limits()).await;
                usage.io = fetching + started.elapsed().saturating_sub(usage.wall);
                usage.record = self.records.keep(&job.artifact.engine, JobTrace::default());
                (JobOutcome::Prepare(outcome), usage)
            }
            (JobSpec::Execute(job), Some(Inputs::Execute { block_data, artifact })) => {
                let execution = async {
                    let (outcome, usage, trace) =
                        self.runner.execute_with_grant(job, artifact.file(), block_data, grant).await;
                    let started = Instant::now();
                    let outcome = self.fit(outcome);
                    let record = self.records.keep(&job.artifact.engine, trace);
                    (outcome, JobUsage { io: fetching + started.elapsed(), record, ..usage })
                };
                let (outcome, usage) = guarded(execution, ExecuteOutcome::Internal, job.limits()).await;
                (JobOutcome::Execute(outcome), usage)
            }
            (spec, _) => {
                let why = "a bug of the worker: it has not what it fetched for the job";
                tracing::error!("{why}");
                (internal(spec, InternalError::Store(why.into())), JobUsage::default())
            }
        }
    }

    async fn prepare(&self, job: &PrepareJob, code: Bytes, meter: CompileMeter) -> (PrepareOutcome, JobUsage) {
        let (prepared, usage) = self.runner.prepare_with_meter(job, code, meter).await;
        let store = |e: StoreError| PrepareOutcome::Internal(InternalError::Store(e.to_string()));
        // Stored before it is reported, so that a worker that is told of it finds it.
        let outcome = match prepared {
            Prepared::Artifact(compiled) => match upload(|| self.store.put_artifact(&job.artifact, &compiled)).await {
                Ok(digest) => PrepareOutcome::Prepared(ArtifactInfo { bytes: compiled.code.len() as u64, digest }),
                Err(error) => store(error),
            },
            // Stored for all requests, unless it depends on the limits of this one.
            Prepared::Failed(error) if error.is_deterministic() && !error.depends_on_limits() => {
                match upload(|| self.store.put_failure(&job.artifact, &error)).await {
                    Ok(()) => PrepareOutcome::Failed(error),
                    Err(error) => store(error),
                }
            }
            Prepared::Failed(error) => PrepareOutcome::Failed(error),
            Prepared::Internal(error) => PrepareOutcome::Internal(error),
        };
        (outcome, usage)
    }

    /// Keeps a large result, for its client to pull.
    fn fit(&self, outcome: ExecuteOutcome) -> ExecuteOutcome {
        match outcome {
            ExecuteOutcome::Valid(BlobRef::Inline(result)) if result.len() > self.inline_max => {
                let (hash, len) = (BlobHash::of(&result), result.len() as u64);
                if self.results.keep(hash.into(), result) {
                    ExecuteOutcome::Valid(BlobRef::Held { hash, len })
                } else {
                    let why = format!("a result of {len} bytes is larger than all that a worker keeps");
                    ExecuteOutcome::Internal(InternalError::Kernel(why))
                }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn defect<T>() -> (T, JobUsage) {
        panic!("a defect of the worker")
    }

    #[tokio::test]
    async fn a_panic_after_the_hand_over_is_an_internal_error() {
        let limits = JobUsage { cpu_limit: Duration::from_secs(1), ..JobUsage::default() };
        let (outcome, usage) = guarded(defect(), ExecuteOutcome::Internal, limits).await;
        assert!(matches!(outcome, ExecuteOutcome::Internal(InternalError::Kernel(_))), "{outcome:?}");
        assert_eq!(usage, limits);
        let (outcome, _) = guarded(defect(), PrepareOutcome::Internal, limits).await;
        assert!(matches!(outcome, PrepareOutcome::Internal(InternalError::Kernel(_))), "{outcome:?}");
        let usage = JobUsage { max_rss_kib: 7, ..JobUsage::default() };
        let done = guarded(async { (7, usage) }, |_| 0, limits).await;
        assert_eq!(done, (7, usage));
    }
}
