//! The message bus: NATS between processes, or channels within one process. Both implementations keep the same
//! contract, which `conformance` checks:
//!
//! * [`Bus::publish`] delivers at most once, without confirmation. A message that must arrive is sent by
//!   [`Bus::request`] and repeated until it is answered, so every message is idempotent.
//! * [`Bus::request`] fails with [`BusError::NoResponders`] at once if the subject has no subscriber.
//! * A payload over [`Bus::max_payload`] is refused before anything is sent.
//! * A subject of a subscription may have `*` for one token of what it matches.
//! * The subject of a received message is the one that it was published on: where a server enforces who may publish on
//!   which subject, it says who speaks.
//! * A message carries the span that its sender [works for](crate::traces::current), if there is room for it.
//! * Messages of one publisher on one subject arrive in order: a message arrives before every other one whose
//!   [`Bus::publish`] or [`Bus::send_request`] was called after its own had returned.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod local;
#[cfg(feature = "nats")]
pub mod nats;

use crate::{identity::UserName, subjects::Subject, traces::TraceContext};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use std::{sync::Arc, time::Duration};

/// Errors of the bus.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The subject has no subscriber.
    #[error("no subscriber on {0}")]
    NoResponders(String),
    /// No answer arrived within the time-out.
    #[error("no answer on {0} within the time-out")]
    TimedOut(String),
    /// The payload is larger than the bus allows.
    #[error("a message of {len} bytes is over the bus's limit of {limit} bytes (max_payload)")]
    TooLarge {
        /// Size of the payload, bytes.
        len: usize,
        /// Limit of the bus, bytes.
        limit: usize,
    },
    /// The server refuses the credentials, or they cannot be used.
    #[error("bus {url}: refused: {why}")]
    Refused {
        /// URL of the server, without secrets.
        url: String,
        /// The error, with its causes.
        why: String,
    },
    /// The connection is lost, or the server refused the operation.
    #[error("bus {url}: {why}")]
    Connection {
        /// URL of the server, without secrets.
        url: String,
        /// The error, with its causes.
        why: String,
    },
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Subject that the message was published on.
    pub subject: Subject,
    /// Content of the message.
    pub payload: Bytes,
    /// Subject for the answer, if the sender expects one.
    pub reply: Option<Subject>,
    /// The span that the sender worked for.
    pub trace: Option<TraceContext>,
}

/// The answer to a request that was sent.
pub type PendingAnswer = BoxFuture<'static, Result<Bytes, BusError>>;

/// Messages on one subject. The stream ends with the bus.
pub type Subscription = BoxStream<'static, Message>;

/// A message bus; the module states its contract.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends a message without waiting for its delivery.
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError>;
    /// Sends a message that expects an answer, and returns without waiting for it. [`BusError::NoResponders`] and
    /// [`BusError::TimedOut`] are results of the returned future, which must be polled; `timeout` may begin with its
    /// first poll.
    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError>;
    /// Sends a message and waits for its answer.
    async fn request(&self, subject: &Subject, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.send_request(subject, payload, timeout).await?.await
    }
    /// Subscribes to a subject. The subscription is effective when this returns.
    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError>;
    /// The user that this connection speaks as: the one in its subjects and in the subjects of its inboxes.
    fn user(&self) -> UserName;
    /// Largest payload, bytes.
    fn max_payload(&self) -> usize;
    /// Sends buffered messages.
    async fn flush(&self) -> Result<(), BusError>;
    /// Whether the connection to the server is up.
    fn is_connected(&self) -> bool;
    /// What happened to the connection so far.
    fn stats(&self) -> BusStats {
        BusStats::default()
    }
    /// Makes this process known to those who look for services on the bus, and answers its endpoints, until the result
    /// is dropped. A bus without such a directory does nothing and returns `None`.
    async fn offer(&self, _service: Service) -> Result<Option<Offered>, BusError> {
        Ok(None)
    }
}

/// What happened to a connection to the bus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusStats {
    /// Times that it was made again after it was lost.
    pub reconnects: u64,
    /// Times that messages were lost because this process read too slowly.
    pub slow_consumer: u64,
}

/// What a process says of itself to those who look for services, and the questions that it answers.
pub struct Service {
    /// Its name: letters, digits, `-` and `_`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub description: &'static str,
    /// More about it.
    pub metadata: Vec<(&'static str, String)>,
    /// What it answers.
    pub endpoints: Vec<Endpoint>,
}

/// A subject on which a service answers questions.
pub struct Endpoint {
    /// Its name among the endpoints of the service.
    pub name: &'static str,
    /// The subject.
    pub subject: Subject,
    /// Answers one question.
    pub answer: Arc<dyn Fn(Bytes) -> BoxFuture<'static, ServiceAnswer> + Send + Sync>,
}

/// The answer of an endpoint.
#[derive(Debug, Clone)]
pub struct ServiceAnswer {
    /// The answer; an error has one as well.
    pub body: Bytes,
    /// The error, with a code as in HTTP.
    pub error: Option<(u16, String)>,
}

/// A service that is offered. Dropping it ends that.
pub struct Offered(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Offered {
    /// Ends by this call.
    #[cfg(feature = "nats")]
    pub(crate) fn until(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// A shared handle of any implementation.
pub type SharedBus = Arc<dyn Bus>;
