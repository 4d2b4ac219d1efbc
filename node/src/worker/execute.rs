//! The loop of an execute worker.

use super::{
    artifacts::Artifacts,
    route::Route,
    session::{Ended, Session},
};
use crate::{
    artifact::{ArtifactError, ArtifactKey},
    calls::{ExecuteCall, Patience},
    fleet::wall_clock_limit,
    protocol::{ExecuteAnswer, ExecuteRequest, Executed, JobResponse, WorkerError, decode},
};
use bytes::Bytes;
use pvf_shared::params::ExecutorParams;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What all requests of a node have in common.
struct Worker {
    route: Arc<Route>,
    artifacts: Artifacts,
    executor_params: ExecutorParams,
}

/// Answers a node until it ends.
///
/// # Errors
/// The connection to the node fails, or the node cannot be understood.
pub(super) async fn run(mut session: Session, folder: &Path, key: ArtifactKey) -> Result<(), String> {
    let Some(params) = session.next().await? else { return Ok(()) };
    let executor_params = decode("executor parameters", &params.message).map_err(|e| e.to_string())?;
    let artifacts = Artifacts::new(folder, key);
    let worker = Arc::new(Worker { route: session.route.clone(), artifacts, executor_params });
    while let Some(frame) = session.next().await? {
        let request = match decode::<ExecuteRequest>("request", &frame.message) {
            Ok(request) => request,
            Err(error) => {
                session.answer(&ExecuteAnswer::Err(WorkerError::internal(error))).await?;
                continue;
            }
        };
        let limit = wall_clock_limit(request.timeout);
        let deadline = session.deadline(frame.began, limit);
        let fallback_at = frame.began + limit.mul_f64(session.config.answers.local_after);
        let times = Times { deadline, fallback_at };
        let work = tokio::spawn(worker.clone().answer(request, times));
        let answer = match session.ended(work, deadline).await {
            Ended::Answer(answer) => answer,
            Ended::Failed(why) => Err(WorkerError::internal(why)),
            Ended::TimeIsOver => Err(WorkerError::internal(worker.route.no_answer(frame.began.elapsed()))),
            Ended::NodeIsGone => return Ok(()),
        };
        if let Err(error) = &answer {
            tracing::warn!(?error, took = ?frame.began.elapsed(), "an execution has no result");
        }
        session.answer(&answer).await?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Times {
    deadline: Instant,
    fallback_at: Instant,
}

impl Worker {
    async fn answer(self: Arc<Self>, request: ExecuteRequest, times: Times) -> ExecuteAnswer {
        let (worker, checksum) = (self.clone(), request.artifact_checksum);
        let artifact = tokio::task::spawn_blocking(move || worker.artifacts.read(checksum)).await;
        let artifact = match artifact.map_err(WorkerError::internal)? {
            Ok(artifact) => artifact,
            Err(error @ ArtifactError::Corrupted(_)) => {
                tracing::warn!(%error, "the node has the code prepared again");
                let response = JobResponse::CorruptedArtifact;
                return Ok(Executed { response, cpu_time: Duration::ZERO, pov_size: 0 });
            }
            Err(error @ ArtifactError::Io { .. }) => return Err(WorkerError::internal(error)),
        };
        if artifact.executor_params.prep_hash() != self.executor_params.prep_hash() {
            return Err(WorkerError::internal("the artifact was prepared with other executor parameters"));
        }
        let patience = Patience {
            answer_within: times.deadline.saturating_duration_since(Instant::now()),
            fallback_after: times.fallback_at.saturating_duration_since(Instant::now()),
        };
        let params = self.executor_params.clone();
        let (call, block_data): (_, Bytes) = ExecuteCall::new(request, &artifact, params, patience);
        self.route.execute(call, &artifact.code, &block_data, times.deadline).await
    }
}
