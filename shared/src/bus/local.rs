//! The bus within one process, for the embedded host.

use super::{Bus, BusError, Message, PendingAnswer, Subscription};
use crate::{
    identity::UserName,
    subjects::{Subject, inbox_prefix},
    traces,
};
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

/// Who gets the messages on one subject, or on the subjects that match a pattern.
type Receivers = Vec<mpsc::UnboundedSender<Message>>;

#[derive(Default)]
struct Subscribers {
    by_subject: HashMap<String, Receivers>,
    /// Those with `*` in their subject. There are few.
    by_pattern: Vec<(String, Receivers)>,
}

impl Subscribers {
    fn add(&mut self, subject: &str) -> mpsc::UnboundedReceiver<Message> {
        let (tx, rx) = mpsc::unbounded_channel();
        if subject.contains('*') {
            self.by_pattern.push((subject.to_owned(), vec![tx]));
        } else {
            self.by_subject.entry(subject.to_owned()).or_default().push(tx);
        }
        rx
    }

    /// Delivers a message; returns the number of subscribers that received it.
    fn deliver(&mut self, message: &Message) -> usize {
        let subject = message.subject.as_str();
        let send = |receivers: &mut Receivers| {
            receivers.retain(|tx| tx.send(message.clone()).is_ok());
            receivers.len()
        };
        let mut reached = 0;
        if let Some(receivers) = self.by_subject.get_mut(subject) {
            reached = send(receivers);
            if reached == 0 {
                self.by_subject.remove(subject);
            }
        }
        self.by_pattern.retain_mut(|(pattern, receivers)| {
            if !matches(pattern, subject) {
                return true;
            }
            reached += send(receivers);
            !receivers.is_empty()
        });
        reached
    }
}

/// Whether a subject matches a pattern in which `*` stands for one token.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(expected), Some(token)) if expected == "*" || expected == token => {}
            _ => return false,
        }
    }
}

/// A bus within one process: the connection of one user to it.
pub struct LocalBus {
    subscribers: Arc<Mutex<Subscribers>>,
    max_payload: usize,
    user: UserName,
    /// Number of the next request's inbox.
    next_inbox: Arc<AtomicU64>,
}

impl LocalBus {
    /// A bus with a limit of [`DEFAULT_MAX_PAYLOAD`].
    pub fn new() -> Self {
        Self::with_max_payload(DEFAULT_MAX_PAYLOAD)
    }

    /// A bus that refuses payloads over `max_payload` bytes, as a NATS server does.
    pub fn with_max_payload(max_payload: usize) -> Self {
        Self { subscribers: Arc::default(), max_payload, user: UserName::default(), next_inbox: Arc::default() }
    }

    /// Another connection to the same bus, as this user. Nothing is enforced within one process.
    pub fn connect_as(&self, user: UserName) -> Self {
        let (subscribers, next_inbox) = (self.subscribers.clone(), self.next_inbox.clone());
        Self { subscribers, max_payload: self.max_payload, user, next_inbox }
    }

    fn check_size(&self, payload: &Bytes) -> Result<(), BusError> {
        if payload.len() > self.max_payload {
            return Err(BusError::TooLarge { len: payload.len(), limit: self.max_payload });
        }
        Ok(())
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
        lock(&self.subscribers).by_subject.remove(&self.subject);
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.check_size(&payload)?;
        lock(&self.subscribers).deliver(&Message {
            subject: subject.clone(),
            payload,
            reply: None,
            trace: traces::current(),
        });
        Ok(())
    }

    async fn send_request(
        &self,
        subject: &Subject,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<PendingAnswer, BusError> {
        self.check_size(&payload)?;
        let name = format!("{}.{}", inbox_prefix(&self.user), self.next_inbox.fetch_add(1, Ordering::Relaxed));
        let (reply, trace) = (Some(Subject::received(&name)), traces::current());
        let message = Message { subject: subject.clone(), payload, reply, trace };
        let (mut answers, reached) = {
            let mut subscribers = lock(&self.subscribers);
            (subscribers.add(&name), subscribers.deliver(&message))
        };
        let inbox = Inbox { subscribers: self.subscribers.clone(), subject: name };
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
        let rx = lock(&self.subscribers).add(subject.as_str());
        Ok(futures::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|m| (m, rx)) }).boxed())
    }

    fn user(&self) -> UserName {
        self.user
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
