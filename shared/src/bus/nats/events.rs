//! What is logged about a connection. A loss is logged when it happens; that the server refuses the credentials of a
//! connection that it had taken before is logged at most once in [`AGAIN_AFTER`], with what helps: the client library
//! tries again without end, and reads no file with credentials again.

use crate::{bus::BusStats, identity::UserName, repeats::Repeats};
use async_nats::{Event, ServerError};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// A refusal that goes on is logged again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How reasons of a server begin that mean the credentials, in capitals or not: at a connection, or when they are
/// revoked or expire.
const REASONS: [&str; 4] =
    ["authorization violation", "user authentication", "account authentication", "authentication expired"];

/// Logs the events of one connection.
pub(super) struct EventLog {
    /// URLs of the servers, without secrets.
    url: String,
    user: UserName,
    /// Refusals since the last connection.
    refusals: Mutex<Repeats>,
    stats: Arc<Stats>,
}

/// What happened to the connection.
#[derive(Debug, Default)]
pub(super) struct Stats {
    connects: AtomicU64,
    slow_consumer: AtomicU64,
}

impl Stats {
    pub(super) fn get(&self) -> BusStats {
        BusStats {
            // The first connection is none that was made again.
            reconnects: self.connects.load(Ordering::Relaxed).saturating_sub(1),
            slow_consumer: self.slow_consumer.load(Ordering::Relaxed),
        }
    }
}

impl EventLog {
    pub(super) fn new(url: String, user: UserName, stats: Arc<Stats>) -> Self {
        Self { url, user, refusals: Mutex::new(Repeats::of(AGAIN_AFTER)), stats }
    }

    /// Logs an event.
    pub(super) fn log(&self, event: &Event) {
        let url = &self.url;
        if let Some(why) = refusal(event) {
            return self.refused(&why);
        }
        match event {
            Event::Connected => {
                self.stats.connects.fetch_add(1, Ordering::Relaxed);
                self.refusals().end();
                tracing::info!(%url, "bus: {event}");
            }
            Event::Draining | Event::Closed => tracing::info!(%url, "bus: {event}"),
            Event::SlowConsumer(_) => {
                self.stats.slow_consumer.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%url, "bus: slow consumer, the client library dropped messages");
            }
            Event::Disconnected => tracing::warn!(%url, "bus: disconnected, reconnecting"),
            other => tracing::warn!(%url, "bus: {other}"),
        }
    }

    fn refused(&self, why: &str) {
        let (url, user) = (&self.url, &self.user);
        match self.refusals().happened(Instant::now()) {
            Some(unlogged) => tracing::warn!(
                %url, %user, why, refusals_before = unlogged,
                "bus: the server refuses the credentials of this process, which is cut off and tries again without end: \
                 if they were changed, give it the new ones and restart it; else let the server have its user again"
            ),
            None => tracing::debug!(%url, %user, why, "bus: the server still refuses the credentials"),
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Repeats> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's reason, if the event says that it refuses the credentials.
fn refusal(event: &Event) -> Option<String> {
    let why = match event {
        Event::ServerError(ServerError::AuthorizationViolation) => return Some("authorization violation".into()),
        Event::ServerError(ServerError::Other(why)) => why.clone(),
        // The client library gives the kind of the error as text.
        Event::ClientError(async_nats::ClientError::Other(why)) => why.clone(),
        _ => return None,
    };
    let lower = why.to_lowercase();
    REASONS.iter().any(|reason| lower.starts_with(reason)).then_some(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::{ClientError, ConnectErrorKind};

    #[test]
    fn a_refusal_is_told_from_other_events() {
        let server = |why: &str| Event::ServerError(ServerError::Other(why.into()));
        let client = |why: String| Event::ClientError(ClientError::Other(why));
        for event in [
            Event::ServerError(ServerError::AuthorizationViolation),
            server("User Authentication Revoked"),
            server("User Authentication Expired"),
            server("Account Authentication Expired"),
            client(ConnectErrorKind::AuthorizationViolation.to_string()),
        ] {
            assert!(refusal(&event).is_some(), "{event:?}");
        }
        for event in [
            Event::Connected,
            Event::Disconnected,
            server("Permissions Violation for Publish to \"f.v4.status\""),
            client(ConnectErrorKind::Io.to_string()),
        ] {
            assert_eq!(refusal(&event), None, "{event:?}");
        }
    }
}
