//! The message bus: NATS between processes, or channels within one. Both keep the same contract, which
//! `conformance` checks on each of them:
//!
//! * `publish` is at most once; nothing says that it arrived. Every message that matters is a `request` and
//!   is repeated until it is answered, so every message is idempotent.
//! * `request` gives [`BusError::NoResponders`] at once when nobody listens.
//! * A payload over `max_payload` is refused before anything is sent.
//! * Messages of one publisher on one subject arrive in order.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod local;
#[cfg(feature = "nats")]
pub mod nats;

use crate::subjects::Subject;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::{sync::Arc, time::Duration};

/// What can go wrong on the bus.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// Nobody listens on the subject.
    #[error("nobody listens on {0}")]
    NoResponders(String),
    /// No answer in time.
    #[error("no answer on {0} in time")]
    TimedOut(String),
    /// The payload is larger than the bus allows.
    #[error("a message of {len} bytes is over the bus's limit of {limit} bytes (max_payload)")]
    TooLarge {
        /// Its size, bytes.
        len: usize,
        /// The bus's limit, bytes.
        limit: usize,
    },
    /// The connection is gone or refused the operation.
    #[error("bus {url}: {why}")]
    Connection {
        /// Where the bus is.
        url: String,
        /// What happened.
        why: String,
    },
}

/// A message that came in.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its content.
    pub payload: Bytes,
    /// Where an answer goes, if one is wanted.
    pub reply: Option<Subject>,
}

/// Messages on one subject; ends when the bus does.
pub type Subscription = BoxStream<'static, Message>;

/// A message bus.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends a message; at most once.
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError>;
    /// Sends a message and waits for its answer.
    async fn request(&self, subject: &Subject, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError>;
    /// Listens on a subject. When this returns, the bus knows of it.
    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError>;
    /// The largest payload, bytes.
    fn max_payload(&self) -> usize;
    /// Sends what is still buffered.
    async fn flush(&self) -> Result<(), BusError>;
    /// Whether the link to the bus is up.
    fn is_connected(&self) -> bool;
}

/// Any bus.
pub type SharedBus = Arc<dyn Bus>;
