//! The bus over NATS.

use super::{Bus, BusError, Message, PendingAnswer, Subscription};
use crate::{retry, subjects::Subject};
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, connection::State};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use std::{task::Poll, time::Duration};

/// Messages that a subscription buffers before the client library drops some. The coordinator must not lose a burst.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;

/// Time-out of a round trip to the server.
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time-out of a flush. Without a server a flush would never end, and would block the end of the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to NATS.
pub struct NatsBus {
    client: Client,
    url: String,
}

impl NatsBus {
    /// Connects to a server. Fails if it cannot be reached within `timeout`; a connection that is lost later is
    /// restored automatically. The URL may contain a user and password or a token (`nats://user:pw@host:4222`,
    /// `tls://…`).
    pub async fn connect(url: &str, name: &str, timeout: Duration) -> Result<Self, BusError> {
        let shown = without_secrets(url);
        let failed = |why: String| BusError::Connection { url: shown.clone(), why };
        crate::tls::select_implementation();
        let options = ConnectOptions::new()
            .name(name)
            .connection_timeout(timeout)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback({
                let url = shown.clone();
                move |event| {
                    match event {
                        Event::Connected | Event::Draining | Event::Closed => tracing::info!(%url, "bus: {event}"),
                        Event::SlowConsumer(_) => {
                            tracing::error!(%url, "bus: slow consumer, the client library dropped messages")
                        }
                        Event::Disconnected => tracing::warn!(%url, "bus: disconnected, reconnecting"),
                        other => tracing::warn!(%url, "bus: {other}"),
                    }
                    futures::future::ready(())
                }
            });
        let connecting = tokio::time::timeout(timeout, options.connect(url));
        let client = connecting
            .await
            .map_err(|_| failed(format!("no connection within {} s", timeout.as_secs())))?
            .map_err(|e| failed(with_sources(&e)))?;
        Ok(Self { client, url: shown })
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
        let inbox = self.client.new_inbox();
        let mut echo = self.client.subscribe(inbox.clone()).await.map_err(|e| self.failed(&e))?;
        self.client.publish(inbox.clone(), Bytes::new()).await.map_err(|e| self.failed(&e))?;
        match tokio::time::timeout(ROUND_TRIP_TIMEOUT, echo.next()).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(BusError::TimedOut(inbox)),
        }
    }
}

/// Delay before a reconnection: 50 ms, doubling with each attempt up to 3.2 s, plus or minus half of that at random, so
/// that the members of a fleet do not reconnect at the same time.
fn reconnect_delay(attempts: usize) -> Duration {
    let delay = Duration::from_millis(50 << attempts.min(6));
    delay / 2 + retry::jitter(delay)
}

/// Checks the form of a NATS server's URL, for the command line: `nats://host:4222`, `tls://…`, `ws://…`, `wss://…` or
/// a bare `host:port`. It does not connect.
pub fn parse_url(text: &str) -> Result<String, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
    let url = url::Url::parse(&with_scheme).map_err(|e| format!("not the URL of a NATS server: {e}"))?;
    if !matches!(url.scheme(), "nats" | "tls" | "ws" | "wss") {
        return Err(format!("scheme {:?} is none of nats, tls, ws, wss", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("no host".into());
    }
    Ok(text.to_owned())
}

/// A URL for logs and errors: without user, password and token.
pub fn without_secrets(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(s, _)| s);
            format!("{scheme}://…@{host}")
        }
        None => url.to_owned(),
    }
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
        self.client.publish(subject.as_str().to_owned(), payload).await.map_err(|e| self.failed(&e))
    }

    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError> {
        self.check_size(&payload)?;
        let (client, url, subject) = (self.client.clone(), self.url.clone(), subject.to_string());
        let request = async_nats::Request::new().payload(payload).timeout(Some(timeout));
        let exchange = async move {
            match client.send_request(subject.clone(), request).await {
                Ok(message) => Ok(message.payload),
                Err(e) => Err(match e.kind() {
                    RequestErrorKind::NoResponders => BusError::NoResponders(subject),
                    RequestErrorKind::TimedOut => BusError::TimedOut(subject),
                    _ => BusError::Connection { url, why: with_sources(&e) },
                }),
            }
        };
        // The first poll puts the message into the queue of the connection or, if that is full, into the line for a place
        // in it. Both keep their order. `unconstrained`: the budget of the task must not end the poll before that.
        let mut answer: PendingAnswer = Box::pin(tokio::task::unconstrained(exchange));
        Ok(match futures::poll!(&mut answer) {
            Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
            Poll::Pending => answer,
        })
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        let subscriber = self.client.subscribe(subject.as_str().to_owned()).await.map_err(|e| self.failed(&e))?;
        self.round_trip().await?;
        let messages =
            subscriber.map(|m| Message { payload: m.payload, reply: m.reply.map(|r| Subject::reply(r.as_str())) });
        Ok(messages.boxed())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_are_checked() {
        for good in ["nats://host:4222", "host:4222", "127.0.0.1:4222", "tls://user:pw@host"] {
            assert_eq!(parse_url(good).unwrap(), good);
        }
        for bad in ["", "foo://x", "http://host:4222", "nats://127.0.0.1:99999", "nats://"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        assert_eq!(without_secrets("nats://user:pw@host:4222"), "nats://…@host:4222");
        assert_eq!(without_secrets("nats://host:4222"), "nats://host:4222");
    }

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
        let error = NatsBus::connect("nats://127.0.0.1:1", "test", Duration::from_secs(3)).await.err().unwrap();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
