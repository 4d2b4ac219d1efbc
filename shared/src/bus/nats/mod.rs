//! The bus over NATS.

#[cfg(feature = "program")]
mod args;
mod connection;
#[cfg(feature = "program")]
mod context;
mod events;
#[cfg(feature = "program")]
mod files;
#[cfg(feature = "lease")]
mod lease;
mod requests;
mod services;
mod trace;
mod url;

#[cfg(feature = "program")]
pub use args::NatsArgs;
pub use connection::{Credentials, NatsConnection, Secret, Tls};
#[cfg(feature = "lease")]
pub use lease::{LeaseBucket, LeaseEntry, LeaseError, LeaseSettings, Sighting};
pub use url::{parse_servers, without_secrets};

use super::{Bus, BusError, BusStats, Message, Offered, PendingAnswer, Service, Subscription};
use crate::{
    identity::UserName,
    retry,
    subjects::{Subject, jetstream_inbox_prefix},
};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, connection::State};
use async_trait::async_trait;
use bytes::Bytes;
use events::{EventLog, Stats};
use futures::StreamExt as _;
use requests::Requests;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Messages that a subscription buffers before the client library drops some. The coordinator must not lose a burst.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;

/// Messages that wait to be sent, before more have to wait for a place. One that waits for a place may be overtaken by
/// another one, so there is room for any burst.
const SEND_CAPACITY: usize = 256 * 1024;
/// How often a connection sends a PING to its server. When two have no answer and the next one is due, the client
/// leaves the server for another one: within 6 s of a server that stands still or is cut off. So bytes that wait on the link
/// before an answer must pass within that time.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long one of several servers may take to take a connection.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// Time-out of a round trip to the server.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time-out of a flush. Without a server a flush would never end, and would block the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to NATS.
pub struct NatsBus {
    client: Client,
    url: String,
    user: UserName,
    requests: Requests,
    stats: Arc<Stats>,
}

impl NatsBus {
    /// Connects to one of the servers. Fails if none can be reached within `timeout`, and with [`BusError::Refused`] if
    /// one refuses the credentials. A connection that is lost later is restored automatically.
    pub async fn connect(to: &NatsConnection, name: &str, timeout: Duration) -> Result<Self, BusError> {
        let shown = to.shown();
        let failed = |why: String| BusError::Connection { url: shown.clone(), why };
        let refused = |why: String| BusError::Refused { url: shown.clone(), why };
        crate::tls::select_implementation();
        // The first connection is tried at once. Later ones are spread in time.
        let connected = Arc::new(AtomicBool::new(false));
        let delay = {
            let connected = connected.clone();
            move |attempts| if connected.load(Ordering::Relaxed) { reconnect_delay(attempts) } else { Duration::ZERO }
        };
        // A server that does not answer leaves time for the others.
        let of_each = timeout / (to.servers().len() as u32 + 1);
        let of_each = if to.servers().len() == 1 { timeout } else { of_each.clamp(LEAST_PATIENCE, MOST_PATIENCE) };
        let user = to.user().map_err(refused)?;
        let stats = Arc::<Stats>::default();
        let options = ConnectOptions::new()
            .name(name)
            .custom_inbox_prefix(jetstream_inbox_prefix(&user))
            .connection_timeout(of_each)
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(SEND_CAPACITY)
            .reconnect_delay_callback(delay)
            .event_callback({
                let log = EventLog::new(shown.clone(), user, stats.clone());
                move |event| {
                    log.log(&event);
                    futures::future::ready(())
                }
            });
        let options = to.apply(options).map_err(refused)?;
        let connecting = tokio::time::timeout(timeout, options.connect(to.servers()));
        let client = connecting
            .await
            .map_err(|_| failed(format!("no connection within {} s", timeout.as_secs())))?
            .map_err(|e| match e.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    refused(with_sources(&e))
                }
                ConnectErrorKind::ServerParse
                | ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Tls
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => failed(with_sources(&e)),
            })?;
        connected.store(true, Ordering::Relaxed);
        let requests = Requests::open(client.clone(), shown.clone(), user).await;
        let requests = requests.map_err(|e| failed(with_sources(&e)))?;
        Ok(Self { client, url: shown, user, requests, stats })
    }

    fn failed(&self, error: &dyn std::error::Error) -> BusError {
        BusError::Connection { url: self.url.clone(), why: with_sources(error) }
    }

    fn check_size(&self, payload: &Bytes) -> Result<(), BusError> {
        let limit = self.max_payload();
        if payload.len() > limit {
            return Err(BusError::TooLarge { len: payload.len(), limit });
        }
        Ok(())
    }

    /// Version of the server.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Waits until the server has processed everything that this connection sent before, by a message to itself: the
    /// server processes a connection's operations in order. The client library's `flush` only waits until the bytes are
    /// written.
    async fn round_trip(&self) -> Result<(), BusError> {
        self.requests.round_trip(ROUND_TRIP_TIMEOUT).await
    }
}

/// Delay before a reconnection: 50 ms, doubling with each attempt up to 3.2 s, plus or minus half of that at random, so
/// that the members of a fleet do not reconnect at the same time.
fn reconnect_delay(attempts: usize) -> Duration {
    let delay = Duration::from_millis(50 << attempts.min(6));
    delay / 2 + retry::jitter(delay)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.check_size(&payload)?;
        let to = subject.as_str().to_owned();
        let published = match trace::headers(payload.len(), self.max_payload()) {
            Some(headers) => self.client.publish_with_headers(to, headers, payload).await,
            None => self.client.publish(to, payload).await,
        };
        published.map_err(|e| self.failed(&e))
    }

    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError> {
        self.check_size(&payload)?;
        Ok(self.requests.send(subject, payload, timeout).await)
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        let subscriber = self.client.subscribe(subject.as_str().to_owned()).await.map_err(|e| self.failed(&e))?;
        self.round_trip().await?;
        let messages = subscriber.map(|m| Message {
            subject: Subject::received(m.subject.as_str()),
            payload: m.payload,
            reply: m.reply.map(|reply| Subject::received(reply.as_str())),
            trace: m.headers.as_ref().and_then(trace::of),
        });
        Ok(messages.boxed())
    }

    fn user(&self) -> UserName {
        self.user
    }

    fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    async fn flush(&self) -> Result<(), BusError> {
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT, self.client.flush()).await;
        flushed.map_err(|e| self.failed(&e))?.map_err(|e| self.failed(&e))
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn stats(&self) -> BusStats {
        self.stats.get()
    }

    async fn offer(&self, service: Service) -> Result<Option<Offered>, BusError> {
        let offered = services::offer(&self.client, service).await;
        offered.map(Some).map_err(|why| BusError::Connection { url: self.url.clone(), why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_delays_grow_to_a_limit() {
        for (attempts, millis) in [(0, 50), (1, 100), (6, 3200), (7, 3200), (usize::MAX, 3200)] {
            let delay = Duration::from_millis(millis);
            let actual = reconnect_delay(attempts);
            assert!(delay / 2 <= actual && actual <= delay * 3 / 2, "attempt {attempts}: {actual:?}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_server_is_an_error() {
        // Port 1 of the loopback interface has no listener.
        let error =
            NatsBus::connect(&NatsConnection::to("nats://127.0.0.1:1").unwrap(), "test", Duration::from_secs(3))
                .await
                .err()
                .unwrap();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
