//! What jobs need before they can be handed to a process: fetched without a slot, and kept until they have begun.
//!
//! A store or a client that is slow or hangs holds up only the jobs that need something of it.

use super::{
    context::JobContext,
    inputs::{FetchFailure, Fetched, Inputs},
    messages::TaskMessage,
};
use futures::FutureExt as _;
use pvf_shared::{
    blob::BlobRef,
    identity::ClientId,
    job::{ExecuteJob, ExecuteOutcome, JobOutcome, JobSpec, JobUsage, PrepareJob, PrepareOutcome},
    pull::PullError,
    verdict::InternalError,
    wire::Dispatch,
};
use pvf_worker_core::{AttemptKey, FetchId};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc::UnboundedSender, task::AbortHandle};

/// A fetch that is under way.
struct Fetch {
    task: AbortHandle,
    attempt: AttemptKey,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The fetches of a worker.
#[derive(Default)]
pub(super) struct Fetches {
    under_way: BTreeMap<FetchId, Fetch>,
    done: BTreeMap<AttemptKey, Fetched>,
}

impl Fetches {
    /// Starts a fetch. Its end is told to the loop.
    pub(super) fn start(
        &mut self,
        fetch: FetchId,
        dispatch: Arc<Dispatch>,
        context: Arc<JobContext>,
        to_loop: UnboundedSender<TaskMessage>,
    ) {
        let attempt = AttemptKey::from(&*dispatch);
        let task = tokio::spawn(async move {
            let result = context.fetch(&dispatch.spec, &dispatch.holders).await;
            // The loop may be gone when this ends.
            let _ = to_loop.send(TaskMessage::Fetched { fetch, result });
        });
        self.under_way.insert(fetch, Fetch { task: task.abort_handle(), attempt });
    }

    /// Ends a fetch.
    pub(super) fn stop(&mut self, fetch: FetchId) {
        self.under_way.remove(&fetch);
    }

    /// A fetch has ended: its attempt, unless it was stopped meanwhile.
    pub(super) fn ended(&mut self, fetch: FetchId) -> Option<AttemptKey> {
        self.under_way.remove(&fetch).map(|fetch| fetch.attempt)
    }

    /// Keeps what was fetched.
    pub(super) fn keep(&mut self, attempt: AttemptKey, fetched: Fetched) {
        self.done.insert(attempt, fetched);
    }

    /// What was fetched for an attempt that starts. It is kept, because the attempt may be displaced and start again.
    pub(super) fn of(&self, attempt: AttemptKey) -> Option<Fetched> {
        self.done.get(&attempt).cloned()
    }

    /// Drops what was fetched for attempts that do not need it any more.
    pub(super) fn retain(&mut self, needs_inputs: impl Fn(AttemptKey) -> bool) {
        self.done.retain(|attempt, _| needs_inputs(*attempt));
    }
}

/// Runs a fetch. A panic in it is the worker's own failure, whatever the job is.
async fn guarded<T, E>(
    fetch: impl Future<Output = Result<T, E>>,
    internal: impl FnOnce(InternalError) -> E,
) -> Result<T, E> {
    AssertUnwindSafe(fetch).catch_unwind().await.unwrap_or_else(|_| {
        Err(internal(InternalError::Store("panic in the worker while it fetched the inputs; see its log".into())))
    })
}

impl JobContext {
    /// What a job needs, if all of it is here and needs no look at the disk either.
    pub(super) fn at_hand(&self, spec: &JobSpec) -> Option<Fetched> {
        let JobSpec::Execute(job) = spec else { return None };
        let BlobRef::Inline(block_data) = &job.block_data else { return None };
        let is_mapped = |path: &Path| self.runner.is_warm(path, &job.executor_params);
        let artifact = self.cache.mapped(&job.artifact, job.digest, is_mapped)?;
        let inputs = Inputs::Execute { block_data: block_data.clone().into(), artifact };
        Some(Fetched { inputs, took: Duration::ZERO })
    }

    /// Gets what a job needs to this machine.
    async fn fetch(&self, spec: &JobSpec, holders: &[ClientId]) -> Result<Fetched, FetchFailure> {
        let started = Instant::now();
        let inputs = match spec {
            JobSpec::Prepare(job) => {
                let fetched = guarded(self.fetch_code(job, holders), |ours| ours).await;
                fetched.map_err(|error| JobOutcome::Prepare(PrepareOutcome::Internal(error)))
            }
            JobSpec::Execute(job) => {
                guarded(self.fetch_execution(job, holders), ExecuteOutcome::Internal).await.map_err(JobOutcome::Execute)
            }
        };
        let took = started.elapsed();
        match inputs {
            Ok(inputs) => Ok(Fetched { inputs, took }),
            Err(outcome) => Err((outcome, JobUsage { io: took, ..JobUsage::default() })),
        }
    }

    async fn fetch_code(&self, job: &PrepareJob, holders: &[ClientId]) -> Result<Inputs, InternalError> {
        let code = self.inputs.code(job.artifact.code_hash, holders).await.map_err(not_pulled)?;
        Ok(Inputs::Prepare { code })
    }

    async fn fetch_execution(&self, job: &ExecuteJob, holders: &[ClientId]) -> Result<Inputs, ExecuteOutcome> {
        let block_data = self.inputs.block_data(&job.block_data, holders).await;
        let block_data = block_data.map_err(|error| ExecuteOutcome::Internal(not_pulled(error)))?;
        let is_mapped = |path: &Path| self.runner.is_warm(path, &job.executor_params);
        let artifact = self.cache.get(&job.artifact, job.digest, is_mapped).await?;
        Ok(Inputs::Execute { block_data, artifact })
    }
}

/// Whatever the holders did, or the bus: it says nothing about the candidate or the code, and nothing has begun.
#[expect(clippy::needless_pass_by_value, reason = "used in map_err")]
fn not_pulled(error: PullError) -> InternalError {
    match error {
        PullError::NoRoom { .. } => InternalError::Kernel(error.to_string()),
        PullError::TooLarge { .. } | PullError::Failed { .. } => InternalError::InputBlob(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_before_the_hand_over_is_an_internal_error() {
        let panics = async { panic!("a defect of the worker") };
        let error = guarded::<(), _>(panics, |ours| ours).await.unwrap_err();
        assert!(matches!(error, InternalError::Store(_)), "{error:?}");
        let panics = async { panic!("a defect of the worker") };
        let outcome = guarded::<(), _>(panics, ExecuteOutcome::Internal).await.unwrap_err();
        assert!(matches!(outcome, ExecuteOutcome::Internal(_)), "{outcome:?}");
        assert_eq!(guarded(async { Ok::<_, InternalError>(7) }, |ours| ours).await, Ok(7));
    }
}
