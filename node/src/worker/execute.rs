//! The loop of an execute worker.

use super::{
    artifacts::Artifacts,
    route::{Route, Times},
    session::{Ended, Session},
};
use crate::{
    artifact::{ArtifactError, ArtifactKey},
    calls::ExecuteCall,
    protocol::{
        ExecuteAnswer, ExecuteRequest, Executed, JobResponse, Malformed, WorkerError, decode, wall_clock_limit,
    },
};
use bytes::Bytes;
use pvf_shared::params::ExecutorParams;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What all requests of a node have in common.
struct Worker {
    route: Arc<Route>,
    artifacts: Artifacts,
    /// Those of the session; or why they are not understood.
    executor_params: Result<ExecutorParams, Malformed>,
}

/// Answers a node until it ends.
///
/// # Errors
/// The connection to the node fails.
pub(super) async fn run(mut session: Session, folder: &Path, key: ArtifactKey) -> Result<(), String> {
    let Some(params) = session.next(&internal).await? else { return Ok(()) };
    // A worker that ended for this would be taken for one that a candidate has ended.
    let executor_params = decode("executor parameters", &params.message);
    let artifacts = Artifacts::new(folder, key);
    let worker = Arc::new(Worker { route: session.route.clone(), artifacts, executor_params });
    while let Some(frame) = session.next(&internal).await? {
        let answer = match decode::<ExecuteRequest>("request", &frame.message) {
            Ok(request) => answer(&mut session, &worker, request, frame.began).await,
            Err(error) => Some(Err(WorkerError::internal(error))),
        };
        let Some(answer) = answer else { return Ok(()) };
        session.answer(&answer).await?;
        if let Err(error) = &answer {
            tracing::warn!(?error, took = ?frame.began.elapsed(), "an execution has no result");
        }
    }
    Ok(())
}

/// The answer to whatever cannot be answered otherwise.
fn internal(why: String) -> ExecuteAnswer {
    Err(WorkerError::internal(why))
}

/// The answer to a request; `None` if the node is gone.
async fn answer(
    session: &mut Session,
    worker: &Arc<Worker>,
    request: ExecuteRequest,
    began: Instant,
) -> Option<ExecuteAnswer> {
    let limit = wall_clock_limit(request.timeout);
    let deadline = session.deadline(began, limit);
    let times = Times { deadline, fallback_at: began + limit.mul_f64(session.config.answers.local_after) };
    let work = tokio::spawn(worker.clone().answer(request, times));
    match session.ended(work, deadline).await {
        Ended::Answer(answer) => Some(answer),
        Ended::Failed(why) => Some(internal(why)),
        Ended::TimeIsOver => Some(internal(worker.route.no_answer(began.elapsed()))),
        Ended::NodeIsGone => None,
    }
}

impl Worker {
    async fn answer(self: Arc<Self>, request: ExecuteRequest, times: Times) -> ExecuteAnswer {
        let params = self.executor_params.clone().map_err(WorkerError::internal)?;
        let (worker, checksum) = (self.clone(), request.artifact_checksum);
        let artifact = tokio::task::spawn_blocking(move || worker.artifacts.read(checksum)).await;
        let artifact = match artifact.map_err(WorkerError::internal)? {
            Ok(artifact) => artifact,
            Err(error @ ArtifactError::Corrupted) => {
                tracing::warn!(%error, "the node has the code prepared again");
                let response = JobResponse::CorruptedArtifact;
                return Ok(Executed { response, cpu_time: Duration::ZERO, pov_size: 0 });
            }
            Err(error @ (ArtifactError::Io { .. } | ArtifactError::Foreign(_))) => {
                return Err(WorkerError::internal(error));
            }
        };
        if artifact.call.executor_params.prep_hash() != params.prep_hash() {
            return Err(WorkerError::internal("the artifact was prepared with other executor parameters"));
        }
        let (call, block_data): (_, Bytes) = ExecuteCall::new(request, &artifact, params);
        self.route.execute(call, &artifact.code, &block_data, times).await
    }
}
