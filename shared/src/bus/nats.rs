//! The bus over NATS.

use super::{Bus, BusError, Message, Subscription};
use crate::subjects::Subject;
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, connection::State};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use std::time::Duration;

/// Messages that a subscription may hold before the client drops some; a coordinator must not lose a burst.
const SUBSCRIPTION_CAPACITY: usize = 256 * 1024;

/// How long the server may take to answer us ourselves.
const ROUND_TRIP: Duration = Duration::from_secs(10);
/// How long a flush may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// A connection to NATS.
pub struct NatsBus {
    client: Client,
    url: String,
}

impl NatsBus {
    /// Connects; fails if the server cannot be reached within `timeout`, reconnects by itself afterwards.
    /// The URL may hold a user and password or a token (`nats://user:pw@host:4222`, `tls://…`).
    pub async fn connect(url: &str, name: &str, timeout: Duration) -> Result<Self, BusError> {
        let shown = without_secrets(url);
        let failed = |why: String| BusError::Connection { url: shown.clone(), why };
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
                        Event::SlowConsumer(_) => tracing::error!(%url, "bus: SLOW CONSUMER, messages were dropped"),
                        Event::Disconnected => tracing::warn!(%url, "bus: disconnected, trying again until it is back"),
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

    fn check(&self, payload: &Bytes) -> Result<(), BusError> {
        let limit = self.max_payload();
        if payload.len() > limit {
            return Err(BusError::TooLarge { len: payload.len(), limit });
        }
        Ok(())
    }
}

impl NatsBus {
    /// The server's version.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// A message to ourselves. The server does in order what a connection asks, so it has done all we asked before;
    /// the client library's `flush` only says that the bytes were written.
    async fn round_trip(&self) -> Result<(), BusError> {
        let inbox = self.client.new_inbox();
        let mut echo = self.client.subscribe(inbox.clone()).await.map_err(|e| self.failed(&e))?;
        self.client.publish(inbox.clone(), Bytes::new()).await.map_err(|e| self.failed(&e))?;
        match tokio::time::timeout(ROUND_TRIP, echo.next()).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(BusError::TimedOut(inbox)),
        }
    }
}

/// Grows to 4 s, with jitter from the clock, so that a fleet does not come back all at once.
fn reconnect_delay(attempts: usize) -> Duration {
    let base = 50u64 << attempts.min(6);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    Duration::from_millis(base / 2 + u64::from(nanos) % base)
}

/// Whether this can be the URL of a NATS server: `nats://host:4222`, `tls://…`, `ws://…`, `wss://…` or a bare
/// `host:port`. For the command line; whether somebody listens there only connecting shows.
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

/// A URL as it may be shown: without user and password.
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
        self.check(&payload)?;
        self.client.publish(subject.as_str().to_owned(), payload).await.map_err(|e| self.failed(&e))
    }

    async fn request(&self, subject: &Subject, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.check(&payload)?;
        let request = async_nats::Request::new().payload(payload).timeout(Some(timeout));
        match self.client.send_request(subject.as_str().to_owned(), request).await {
            Ok(message) => Ok(message.payload),
            Err(e) => Err(match e.kind() {
                RequestErrorKind::NoResponders => BusError::NoResponders(subject.to_string()),
                RequestErrorKind::TimedOut => BusError::TimedOut(subject.to_string()),
                _ => self.failed(&e),
            }),
        }
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
        // Without a server a flush would wait for one for ever, and whoever ends would not end.
        let flushed = tokio::time::timeout(FLUSH_LIMIT, self.client.flush()).await;
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
    fn urls_of_servers() {
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

    #[tokio::test]
    async fn an_unreachable_server_is_an_error() {
        // Port 1 of the loopback: nobody listens there.
        let error = NatsBus::connect("nats://127.0.0.1:1", "test", Duration::from_secs(3)).await.err().unwrap();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
