//! The bus within one process, for the embedded host.

use super::{Bus, BusError, Message, PendingAnswer, Subscription};
use crate::subjects::Subject;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// Default of the largest payload, bytes. Payloads are not copied, so the limit is generous.
pub const DEFAULT_MAX_PAYLOAD: usize = 128 * 1024 * 1024;

type Subscribers = HashMap<String, Vec<mpsc::UnboundedSender<Message>>>;

/// A bus within one process.
pub struct LocalBus {
    subscribers: Arc<Mutex<Subscribers>>,
    max_payload: usize,
    /// Number of the next request's inbox.
    next_inbox: AtomicU64,
}

impl LocalBus {
    /// A bus with a limit of [`DEFAULT_MAX_PAYLOAD`].
    pub fn new() -> Self {
        Self::with_max_payload(DEFAULT_MAX_PAYLOAD)
    }

    /// A bus that refuses payloads over `max_payload` bytes, as a NATS server does.
    pub fn with_max_payload(max_payload: usize) -> Self {
        Self { subscribers: Arc::default(), max_payload, next_inbox: AtomicU64::new(0) }
    }

    fn check_size(&self, payload: &Bytes) -> Result<(), BusError> {
        if payload.len() > self.max_payload {
            return Err(BusError::TooLarge { len: payload.len(), limit: self.max_payload });
        }
        Ok(())
    }

    fn add_subscriber(&self, subject: &str) -> mpsc::UnboundedReceiver<Message> {
        let (tx, rx) = mpsc::unbounded_channel();
        lock(&self.subscribers).entry(subject.to_owned()).or_default().push(tx);
        rx
    }

    /// Delivers a message; returns the number of subscribers that received it.
    fn deliver(&self, subject: &str, message: &Message) -> usize {
        let mut subscribers = lock(&self.subscribers);
        let Some(list) = subscribers.get_mut(subject) else { return 0 };
        list.retain(|tx| tx.send(message.clone()).is_ok());
        let reached = list.len();
        if reached == 0 {
            subscribers.remove(subject);
        }
        reached
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new()
    }
}

fn lock(subscribers: &Mutex<Subscribers>) -> MutexGuard<'_, Subscribers> {
    subscribers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The inbox of a request. It is removed with the future of the answer, even if that is dropped before the answer.
struct Inbox {
    subscribers: Arc<Mutex<Subscribers>>,
    subject: String,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        lock(&self.subscribers).remove(&self.subject);
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.check_size(&payload)?;
        self.deliver(subject.as_str(), &Message { payload, reply: None });
        Ok(())
    }

    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError> {
        self.check_size(&payload)?;
        let name = format!("_INBOX.{}", self.next_inbox.fetch_add(1, Ordering::Relaxed));
        let mut answers = self.add_subscriber(&name);
        let message = Message { payload, reply: Some(Subject::reply(&name)) };
        let inbox = Inbox { subscribers: self.subscribers.clone(), subject: name };
        let reached = self.deliver(subject.as_str(), &message);
        let subject = subject.to_string();
        Ok(Box::pin(async move {
            let _inbox = inbox;
            if reached == 0 {
                return Err(BusError::NoResponders(subject));
            }
            match tokio::time::timeout(timeout, answers.recv()).await {
                Ok(Some(answer)) => Ok(answer.payload),
                Ok(None) | Err(_) => Err(BusError::TimedOut(subject)),
            }
        }))
    }

    async fn subscribe(&self, subject: &Subject) -> Result<Subscription, BusError> {
        let rx = self.add_subscriber(subject.as_str());
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
