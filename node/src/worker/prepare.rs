//! The loop of a prepare worker.

use super::{
    code_len,
    route::Route,
    session::{Ended, Session},
};
use crate::{
    artifact::{ArtifactKey, NodeArtifact, checksum_of},
    calls::PrepareCall,
    fleet::wall_clock_limit,
    protocol::{PrepareAnswer, PrepareError, PrepareRequest, Prepared, decode},
};
use bytes::Bytes;
use pvf_shared::ids::CodeHash;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::time::Instant;

/// What all requests of a node have in common.
struct Worker {
    route: Arc<Route>,
    /// Where the node takes the artifact from.
    file: PathBuf,
    key: ArtifactKey,
}

/// Answers a node until it ends.
///
/// # Errors
/// The connection to the node fails.
pub(super) async fn run(mut session: Session, folder: &Path, key: ArtifactKey) -> Result<(), String> {
    let worker = Arc::new(Worker { route: session.route.clone(), file: folder.join("tmp-artifact"), key });
    while let Some(frame) = session.next().await? {
        let request = match decode::<PrepareRequest>("request", &frame.message) {
            Ok(request) => request,
            Err(error) => {
                session.answer(&PrepareAnswer::Err(io(error))).await?;
                continue;
            }
        };
        let deadline = session.deadline(frame.began, wall_clock_limit(request.timeout));
        let work = tokio::spawn(worker.clone().answer(request, deadline));
        let answer = match session.ended(work, deadline).await {
            Ended::Answer(answer) => answer,
            Ended::Failed(why) => Err(io(why)),
            Ended::TimeIsOver => Err(io(worker.route.no_answer(frame.began.elapsed()))),
            Ended::NodeIsGone => return Ok(()),
        };
        if let Err(error) = &answer {
            tracing::warn!(?error, took = ?frame.began.elapsed(), "a preparation has no artifact");
        }
        session.answer(&answer).await?;
    }
    Ok(())
}

/// Not the code's doing.
fn io(why: impl std::fmt::Display) -> PrepareError {
    PrepareError::Io(format!("pvf-fleet: {why}"))
}

impl Worker {
    async fn answer(self: Arc<Self>, request: PrepareRequest, deadline: Instant) -> PrepareAnswer {
        let (call, code) = PrepareCall::new(request, deadline.saturating_duration_since(Instant::now()));
        if CodeHash::of(&code) != call.code.hash {
            return Err(io("the hash of the code is not the one that the node says"));
        }
        let counted = tokio::task::spawn_blocking({
            let (code, limit) = (code.clone(), call.code.bomb_limit);
            move || code_len::of(&code, limit)
        });
        let prepared = self.route.prepare(call.clone(), &code, deadline).await?;
        let code_len = counted.await.map_err(io)?;
        let checksum = tokio::task::spawn_blocking(move || self.write(call, code)).await.map_err(io)??;
        Ok(Prepared { checksum, code_len, ..prepared })
    }

    /// Writes the file that the node keeps, and returns its checksum. Blocks.
    fn write(&self, call: PrepareCall, code: Bytes) -> Result<[u8; 32], PrepareError> {
        let artifact = NodeArtifact {
            code_hash: call.code.hash,
            code,
            code_bomb_limit: call.code.bomb_limit,
            executor_params: call.code.executor_params,
        };
        let content = artifact.encode(&self.key);
        std::fs::write(&self.file, &content).map_err(|e| io(format_args!("{}: {e}", self.file.display())))?;
        Ok(checksum_of(&content))
    }
}
