//! The signals that end an executable.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handler of SIGTERM and SIGINT. It catches signals from its creation on.
#[derive(Debug)]
pub struct Shutdown(Signal, Signal);

impl Shutdown {
    /// Installs the handler. Must be called within a tokio runtime.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    /// Completes at the next signal.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}
