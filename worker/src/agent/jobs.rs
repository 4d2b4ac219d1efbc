//! The task of one run: fetch the inputs, run the job's process, store what it made, report the outcome.

use super::{cache::ArtifactCache, messages::TaskMessage};
use crate::supervise::{JobRunner, Prepared, SlotGrant};
use futures::FutureExt as _;
use pvf_shared::{
    Bytes,
    artifact::ArtifactInfo,
    blob::BlobRef,
    ids::CodeHash,
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob, PrepareOutcome},
    retry::{self, Retryable as _},
    store::{BlobStore, StoreError},
    verdict::{AmbiguousReason, InternalError, PrepareError},
    wire::Dispatch,
};
use pvf_worker_core::RunId;
use std::{panic::AssertUnwindSafe, path::Path, sync::Arc, time::Instant};
use tokio::sync::mpsc::UnboundedSender;
use tracing::Instrument as _;

/// What all jobs of a worker share.
pub(super) struct JobContext {
    pub(super) store: BlobStore,
    pub(super) runner: JobRunner,
    pub(super) cache: ArtifactCache,
    /// Larger results go to the store, bytes.
    pub(super) max_inline: usize,
}

/// One run.
pub(super) struct JobTask {
    pub(super) run: RunId,
    pub(super) dispatch: Arc<Dispatch>,
    /// The slot that it has or waits for.
    pub(super) grant: SlotGrant,
    pub(super) to_loop: UnboundedSender<TaskMessage>,
}

/// Runs a job to its end. Dropping the future kills and reaps its process.
pub(super) async fn run(context: Arc<JobContext>, JobTask { run, dispatch, grant, to_loop }: JobTask) {
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
        let (outcome, usage) = context.outcome(spec, grant).await;
        tracing::info!(cpu_ms = usage.cpu.as_millis() as u64, wall_ms = usage.wall.as_millis() as u64,
            max_rss_kib = usage.max_rss_kib, outcome = %summary(&outcome), "job ended");
        let _ = to_loop.send(TaskMessage::Ended { run, outcome, usage });
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

/// Runs a step that precedes the hand-over of code and input to the job's process. A panic in it is the worker's own
/// failure, whatever the job is.
async fn before_hand_over<T, E>(
    step: impl Future<Output = Result<T, E>>,
    internal: impl FnOnce(InternalError) -> E,
) -> Result<T, E> {
    AssertUnwindSafe(step).catch_unwind().await.unwrap_or_else(|_| {
        Err(internal(InternalError::Store("panic in the worker while it fetched the inputs; see its log".into())))
    })
}

/// Stores what a preparation made; a failed upload is repeated.
async fn upload<T, F: Future<Output = Result<T, StoreError>>>(put: impl FnMut() -> F) -> Result<T, StoreError> {
    let log = |error: &StoreError, delay| tracing::warn!(%error, ?delay, "upload failed: repeating it");
    put.retry(retry::ARTIFACT_UPLOAD).notify(log).await
}

impl JobContext {
    /// There is an outcome even if the worker's own code panics: without one the job would never end.
    async fn outcome(&self, spec: &JobSpec, grant: SlotGrant) -> (JobOutcome, JobUsage) {
        let panicked = "panic in the worker itself; see its log";
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
                let caught = AssertUnwindSafe(self.execute(job, grant)).catch_unwind().await;
                let (outcome, usage) = caught.unwrap_or_else(|_| {
                    let reason = AmbiguousReason::JobError(panicked.into());
                    (ExecuteOutcome::Ambiguous(reason), JobUsage::default())
                });
                (JobOutcome::Execute(outcome), usage)
            }
        }
    }

    /// Fetches an input. A missing or damaged one is an infrastructure failure, not a verdict.
    async fn input(&self, blob: &BlobRef) -> Result<Bytes, InternalError> {
        self.store.fetch(blob).await.map_err(|error| match error {
            StoreError::NotFound { .. } | StoreError::Damaged { .. } => InternalError::InputBlob(error.to_string()),
            other => InternalError::Store(other.to_string()),
        })
    }

    async fn prepare(&self, job: &PrepareJob) -> (PrepareOutcome, JobUsage) {
        let fetch = async {
            let code = self.input(&job.code).await?;
            if CodeHash::of(&code) == job.artifact.code_hash {
                Ok(code)
            } else {
                Err(InternalError::InputBlob("the code does not match its hash".into()))
            }
        };
        let code = match before_hand_over(fetch, |ours| ours).await {
            Ok(code) => code,
            Err(error) => return (PrepareOutcome::Internal(error), JobUsage::default()),
        };
        let (prepared, usage) = self.runner.prepare(job, code).await;
        let store = |e: StoreError| PrepareOutcome::Internal(InternalError::Store(e.to_string()));
        // Stored before it is reported, so that a worker that is told of it finds it.
        let outcome = match prepared {
            Prepared::Artifact(code) => match upload(|| self.store.put_artifact(&job.artifact, &code)).await {
                Ok(mac) => PrepareOutcome::Prepared(ArtifactInfo { bytes: code.len() as u64, mac }),
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

    async fn execute(&self, job: &ExecuteJob, grant: SlotGrant) -> (ExecuteOutcome, JobUsage) {
        let started = Instant::now();
        let failed = |outcome| (outcome, JobUsage { io: started.elapsed(), ..JobUsage::default() });
        let fetch = async {
            let block_data = self.input(&job.block_data).await.map_err(ExecuteOutcome::Internal)?;
            let is_mapped = |path: &Path| self.runner.is_warm(path, &job.executor_params);
            Ok((block_data, self.cache.get(&job.artifact, job.mac, is_mapped).await?))
        };
        let (block_data, artifact) = match before_hand_over(fetch, ExecuteOutcome::Internal).await {
            Ok(fetched) => fetched,
            Err(outcome) => return failed(outcome),
        };
        let fetching = started.elapsed();
        let (outcome, usage) = self.runner.execute_with_grant(job, artifact.path(), block_data, grant).await;
        let started = Instant::now();
        let outcome = self.fit(outcome).await;
        (outcome, JobUsage { io: fetching + started.elapsed(), ..usage })
    }

    /// Stores a result that does not fit into a message.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_before_the_hand_over_is_an_internal_error() {
        let panics = async { panic!("a defect of the worker") };
        let error = before_hand_over::<(), _>(panics, |ours| ours).await.unwrap_err();
        assert!(matches!(error, InternalError::Store(_)), "{error:?}");
        let panics = async { panic!("a defect of the worker") };
        let outcome = before_hand_over::<(), _>(panics, ExecuteOutcome::Internal).await.unwrap_err();
        assert!(matches!(outcome, ExecuteOutcome::Internal(_)), "{outcome:?}");
        assert_eq!(before_hand_over(async { Ok::<_, InternalError>(7) }, |ours| ours).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_upload_is_repeated_with_a_bound() {
        let calls = std::cell::Cell::new(0);
        let put = async |failures| {
            calls.set(0);
            let once = || async {
                calls.set(calls.get() + 1);
                let error = StoreError::NotFound { url: "file:///store".into(), key: "artifacts/x".into() };
                if calls.get() > failures { Ok(7) } else { Err(error) }
            };
            upload(once).await
        };
        assert_eq!((put(5).await.ok(), calls.get()), (Some(7), 6));
        assert_eq!((put(6).await.ok(), calls.get()), (None, 6));
    }
}
