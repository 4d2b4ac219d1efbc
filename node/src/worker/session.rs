//! The conversation with a node: one request at a time, and to each an answer in time.

use super::{WorkerArgs, overhead::Overhead, route::Route};
use crate::{
    config::Config,
    protocol::{Frame, Handshake, decode, read_frame, write_frame},
};
use bytes::Bytes;
use parity_scale_codec::Encode;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt as _,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep_until},
};

/// A connection to a node.
pub(super) struct Session {
    pub(super) config: Arc<Config>,
    pub(super) route: Arc<Route>,
    from_node: OwnedReadHalf,
    to_node: OwnedWriteHalf,
    overhead: Overhead,
}

/// How the work on a request ended.
pub(super) enum Ended<A> {
    /// With an answer.
    Answer(A),
    /// It failed by itself: a panic.
    Failed(String),
    /// The time for an answer is over.
    TimeIsOver,
    /// The node has closed the connection.
    NodeIsGone,
}

/// Ends a task when it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Connects to the node, and to the fleet at the same time.
    pub(super) async fn open(config: Config, args: &WorkerArgs) -> Result<Self, String> {
        let config = Arc::new(config);
        let route = Arc::new(Route::new(config.clone()));
        let warm = route.clone();
        tokio::spawn(async move { warm.warm_up().await });
        let socket = &args.socket_path;
        let failed = |error| format!("--socket-path {}: {error}", socket.display());
        let stream = UnixStream::connect(socket).await.map_err(failed)?;
        // The node removes it as well, where this fails.
        let _ = std::fs::remove_file(socket);
        let (from_node, to_node) = stream.into_split();
        let mut session = Self { config, route, from_node, to_node, overhead: Overhead::measure() };
        let handshake = session.next().await?.ok_or("the node has closed the connection before its handshake")?;
        let handshake: Handshake = decode("handshake", &handshake.message).map_err(|e| e.to_string())?;
        tracing::debug!(?handshake, "connected to the node");
        Ok(session)
    }

    /// The next message; `None` if the node has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, String> {
        read_frame(&mut self.from_node).await.map_err(|e| format!("message of the node: {e}"))
    }

    /// When the answer to a request must be there: it began then, and the node waits for so long.
    pub(super) fn deadline(&self, began: Instant, limit: Duration) -> Instant {
        // What the settings leave, less what this process takes for itself, and never less than a tenth.
        let within = self.config.answer_within(limit);
        began + within.saturating_sub(self.overhead.expected()).max(limit / 10)
    }

    /// Waits for the end of the work on a request.
    pub(super) async fn ended<A>(&mut self, work: JoinHandle<A>, deadline: Instant) -> Ended<A> {
        let _abort = AbortOnDrop(work.abort_handle());
        let mut byte = [0; 1];
        tokio::select! {
            biased;
            done = work => match done {
                Ok(answer) => Ended::Answer(answer),
                Err(error) => Ended::Failed(error.to_string()),
            },
            () = sleep_until(deadline) => Ended::TimeIsOver,
            // A node sends nothing while it waits.
            _ = self.from_node.read(&mut byte) => Ended::NodeIsGone,
        }
    }

    /// Sends an answer.
    pub(super) async fn answer(&mut self, answer: &impl Encode) -> Result<(), String> {
        let begun = Instant::now();
        let message = Bytes::from(answer.encode());
        write_frame(&mut self.to_node, &message).await.map_err(|e| format!("answer to the node: {e}"))?;
        self.overhead.note(begun.elapsed());
        Ok(())
    }
}
