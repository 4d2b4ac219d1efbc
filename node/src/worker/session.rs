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
        let handshake = read_frame(&mut session.from_node).await.map_err(|e| format!("handshake of the node: {e}"))?;
        let handshake = handshake.ok_or("the node has closed the connection before its handshake")?;
        // It says what the node has found out about security, which a fleet knows itself.
        match decode::<Handshake>("handshake", &handshake.message) {
            Ok(handshake) => tracing::debug!(?handshake, "connected to the node"),
            Err(error) => tracing::warn!(%error, "the handshake is not understood, and not needed"),
        }
        Ok(session)
    }

    /// The next message; `None` if the node has ended. A message that cannot be received is answered before the error
    /// is returned: a worker that only ended would be taken for one that a candidate has ended.
    pub(super) async fn next<A: Encode>(&mut self, answer: &impl Fn(String) -> A) -> Result<Option<Frame>, String> {
        match read_frame(&mut self.from_node).await {
            Ok(frame) => Ok(frame),
            Err(error) => {
                let why = format!("message of the node: {error}");
                self.answer(&answer(why.clone())).await?;
                Err(why)
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    /// A session, and the side of the node.
    fn session() -> (Session, UnixStream) {
        let text = "[node]\nversion = \"1.2\"\n[bus]\nnats = \"nats://127.0.0.1:1\"\n";
        let config = Arc::new(Config::of_text(text, std::path::Path::new("/")).unwrap());
        let (own, node) = UnixStream::pair().unwrap();
        let (from_node, to_node) = own.into_split();
        let route = Arc::new(Route::new(config.clone()));
        (Session { config, route, from_node, to_node, overhead: Overhead::measure() }, node)
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_before_the_nodes_by_what_this_process_takes() {
        let (session, _node) = session();
        let began = Instant::now();
        let of_settings = LIMIT.mul_f64(0.8);
        let usual = session.deadline(began, LIMIT) - began;
        assert!(usual < of_settings && usual > of_settings - Duration::from_millis(100), "{usual:?}");
        session.overhead.note(Duration::from_secs(2));
        let slow = session.deadline(began, LIMIT) - began;
        assert!(slow <= of_settings - Duration::from_secs(2), "{slow:?}");
        // A machine that is slower than the limit is long still has a moment.
        session.overhead.note(Duration::from_secs(60));
        assert_eq!(session.deadline(began, LIMIT) - began, LIMIT / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_ended_at_the_deadline() {
        let (mut session, _node) = session();
        let (began, (alive, mut dropped)) = (Instant::now(), tokio::sync::oneshot::channel::<()>());
        let deadline = session.deadline(began, LIMIT);
        let work = tokio::spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert!(matches!(session.ended(work, deadline).await, Ended::TimeIsOver));
        assert!(Instant::now() >= deadline && Instant::now() < began + LIMIT);
        tokio::task::yield_now().await;
        assert!(dropped.try_recv().is_err(), "the work is dropped");
    }

    #[tokio::test]
    async fn a_panic_is_no_end_of_the_worker_and_an_answer_comes_first() {
        let (mut session, node) = session();
        let far = Instant::now() + Duration::from_secs(600);
        let panics = tokio::spawn(async { panic!("the panic of a test") });
        let ended: Ended<()> = session.ended(panics, far).await;
        assert!(matches!(ended, Ended::Failed(why) if why.contains("panic")));
        let work = tokio::spawn(async { 7 });
        while !work.is_finished() {
            tokio::task::yield_now().await;
        }
        drop(node);
        assert!(matches!(session.ended(work, Instant::now()).await, Ended::Answer(7)));
        let endless = tokio::spawn(std::future::pending::<()>());
        assert!(matches!(session.ended(endless, far).await, Ended::NodeIsGone));
    }
}
