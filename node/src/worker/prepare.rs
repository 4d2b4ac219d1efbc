//! The loop of a prepare worker.

use super::{
    code_len,
    route::Route,
    session::{Ended, Session},
};
use crate::{
    artifact::{NodeArtifact, checksum_of},
    calls::PrepareCall,
    config::Config,
    protocol::{PrepareAnswer, PrepareError, PrepareRequest, Prepared, decode, wall_clock_limit},
};
use pvf_shared::ids::CodeHash;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::time::Instant;

/// What all requests of a node have in common.
struct Worker {
    route: Arc<Route>,
    config: Arc<Config>,
    /// Where the node takes the artifact from.
    file: PathBuf,
}

/// What a request leads to, besides the file.
struct Done {
    prepared: Prepared,
    artifact: NodeArtifact,
}

/// Answers a node until it ends.
///
/// # Errors
/// The connection to the node fails.
pub(super) async fn run(mut session: Session, folder: &Path) -> Result<(), String> {
    let (route, config) = (session.route.clone(), session.config.clone());
    let worker = Arc::new(Worker { route, config, file: folder.join("tmp-artifact") });
    while let Some(frame) = session.next(&internal).await? {
        let answer = match decode::<PrepareRequest>("request", &frame.message) {
            Ok(request) => answer(&mut session, &worker, request, frame.began).await,
            Err(error) => Some(Err(io(error))),
        };
        let Some(answer) = answer else { return Ok(()) };
        session.answer(&answer).await?;
        if let Err(error) = &answer {
            tracing::warn!(?error, took = ?frame.began.elapsed(), "a preparation has no artifact");
        }
    }
    Ok(())
}

/// Not the code's doing.
fn io(why: impl std::fmt::Display) -> PrepareError {
    PrepareError::Io(format!("pvf-fleet: {why}"))
}

/// The answer to whatever cannot be answered otherwise.
fn internal(why: String) -> PrepareAnswer {
    Err(io(why))
}

/// The answer to a request; `None` if the node is gone.
async fn answer(
    session: &mut Session,
    worker: &Arc<Worker>,
    request: PrepareRequest,
    began: Instant,
) -> Option<PrepareAnswer> {
    let deadline = session.deadline(began, wall_clock_limit(request.timeout));
    let work = tokio::spawn(worker.clone().prepare(request, deadline));
    Some(match session.ended(work, deadline).await {
        // Written only here, and to its end: a file that is written after the answer would be that of the next request.
        Ended::Answer(Ok(done)) => worker.clone().write(done).await,
        Ended::Answer(Err(error)) => Err(error),
        Ended::Failed(why) => internal(why),
        Ended::TimeIsOver => internal(worker.route.no_answer(began.elapsed())),
        Ended::NodeIsGone => return None,
    })
}

impl Worker {
    async fn prepare(self: Arc<Self>, request: PrepareRequest, deadline: Instant) -> Result<Done, PrepareError> {
        let (call, code) = PrepareCall::new(request);
        if CodeHash::of(&code) != call.code.hash {
            return Err(io("the hash of the code is not the one that the node says"));
        }
        let counted = tokio::task::spawn_blocking({
            let (code, limit) = (code.clone(), call.code.bomb_limit);
            move || code_len::of(&code, limit)
        });
        let prepared = self.route.prepare(call.clone(), &code, deadline).await?;
        // It is shown only: an error of the decompressor is no reason to have no artifact.
        let code_len = counted.await.unwrap_or(0);
        let artifact = NodeArtifact { call: call.code, code };
        Ok(Done { prepared: Prepared { code_len, ..prepared }, artifact })
    }

    /// Writes the file that the node keeps.
    async fn write(self: Arc<Self>, Done { prepared, artifact }: Done) -> PrepareAnswer {
        let written = tokio::task::spawn_blocking(move || {
            // Read anew, because the key may have been replaced: execute workers that start now have the new one.
            let content = artifact.encode(&self.config.artifact_key()?)?;
            std::fs::write(&self.file, &content).map_err(|e| format!("{}: {e}", self.file.display()))?;
            Ok::<_, String>(checksum_of(&content))
        });
        let checksum = written.await.map_err(io)?.map_err(io)?;
        Ok(Prepared { checksum, ..prepared })
    }
}
