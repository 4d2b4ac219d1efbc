//! The signals that ask an executable to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, caught from when this was made.
#[derive(Debug)]
pub struct Shutdown(Signal, Signal);

impl Shutdown {
    /// From now on the signals are caught. Must be called within a tokio runtime.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    /// Completes at the next of them.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
