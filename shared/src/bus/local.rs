//! A bus within one process, for the embedded host: channels with the contract of NATS.

use super::{Bus, BusError, Message, Subscription};
use crate::subjects::Subject;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Default of the largest payload: generous, there is no wire.
pub const DEFAULT_MAX_PAYLOAD: usize = 128 * 1024 * 1024;

/// A bus within this process.
pub struct LocalBus {
    listeners: Mutex<HashMap<String, Vec<mpsc::UnboundedSender<Message>>>>,
    max_payload: usize,
    inboxes: AtomicU64,
}

impl LocalBus {
    /// A bus with the default limit.
    pub fn new() -> Self {
        Self::with_max_payload(DEFAULT_MAX_PAYLOAD)
    }

    /// A bus that refuses payloads over `max_payload` bytes, as NATS would.
    pub fn with_max_payload(max_payload: usize) -> Self {
        Self { listeners: Mutex::default(), max_payload, inboxes: AtomicU64::new(0) }
    }

    fn check(&self, payload: &Bytes) -> Result<(), BusError> {
        if payload.len() > self.max_payload {
            return Err(BusError::TooLarge { len: payload.len(), limit: self.max_payload });
        }
        Ok(())
    }

    fn listen(&self, subject: &str) -> mpsc::UnboundedReceiver<Message> {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.entry(subject.to_owned()).or_default().push(tx);
        rx
    }

    /// How many listeners got it.
    fn deliver(&self, subject: &str, message: &Message) -> usize {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = listeners.get_mut(subject) else { return 0 };
        list.retain(|tx| tx.send(message.clone()).is_ok());
        let reached = list.len();
        if reached == 0 {
            listeners.remove(subject);
        }
        reached
    }

    fn forget(&self, subject: &str) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(subject);
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

/// Removes the inbox of a request, also when the request is dropped half-way.
struct Inbox<'a>(&'a LocalBus, String);

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        self.0.forget(&self.1);
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.check(&payload)?;
        self.deliver(subject.as_str(), &Message { payload, reply: None });
        Ok(())
    }

    async fn request(&self, subject: &Subject, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        self.check(&payload)?;
        let inbox = Inbox(self, format!("_INBOX.{}", self.inboxes.fetch_add(1, Ordering::Relaxed)));
        let mut answers = self.listen(&inbox.1);
        let message = Message { payload, reply: Some(Subject::reply(&inbox.1)) };
        if self.deliver(subject.as_str(), &message) == 0 {
            return Err(BusError::NoResponders(subject.to_string()));
        }
        match tokio::time::timeout(timeout, answers.recv()).await {
            Ok(Some(answer)) => Ok(answer.payload),
            Ok(None) | Err(_) => Err(BusError::TimedOut(subject.to_string())),
        }
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        let rx = self.listen(subject.as_str());
        Ok(futures::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|m| (m, rx)) }).boxed())
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    async fn flush(&self) -> Result<(), BusError> {
        Ok(())
    }

    fn is_connected(&self) -> bool {
        true
    }
}
