//! Requests of a NATS connection, and the answers to them.
//!
//! The client library's own requests all have one kind of reply subject. Here the subject of an answer names who may
//! answer (see [`crate::subjects`]), and only an answer on exactly that subject counts.

use super::{trace, with_sources};
use crate::{
    bus::{BusError, PendingAnswer},
    identity::UserName,
    subjects::{Inboxes, Subject},
};
use async_nats::{Client, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{sync::oneshot, task::AbortHandle};
use uuid::Uuid;

/// An answer; `None` if nobody has subscribed to the subject of the request.
type Answer = Option<Bytes>;

/// Who waits for an answer, by its subject.
#[derive(Default)]
struct Waiting(Mutex<HashMap<String, oneshot::Sender<Answer>>>);

impl Waiting {
    fn add(&self, reply: &Subject) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reply.as_str().to_owned(), sender);
        receiver
    }

    fn take(&self, reply: &str) -> Option<oneshot::Sender<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(reply)
    }
}

/// Removes a request with the future of its answer.
struct Forget {
    waiting: Arc<Waiting>,
    reply: Subject,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.waiting.take(self.reply.as_str());
    }
}

/// The requests of one connection.
pub(super) struct Requests {
    client: Client,
    /// URL of the server, without secrets.
    url: String,
    inboxes: Inboxes,
    next: AtomicU64,
    waiting: Arc<Waiting>,
    receiving: AbortHandle,
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

impl Requests {
    /// Subscribes to the inboxes of a connection.
    pub(super) async fn open(client: Client, url: String, user: UserName) -> Result<Self, async_nats::SubscribeError> {
        // The lower half of this kind of UUID is random.
        let inboxes = Inboxes::new(user, Uuid::now_v7().as_u128() as u64);
        let answers = client.subscribe(inboxes.all().as_str().to_owned()).await?;
        let waiting = Arc::<Waiting>::default();
        let receiving = tokio::spawn(receive(answers, waiting.clone())).abort_handle();
        Ok(Self { client, url, inboxes, next: AtomicU64::new(0), waiting, receiving })
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request. The result is the future of its answer.
    pub(super) async fn send(&self, to: &Subject, payload: Bytes, limit: Duration) -> PendingAnswer {
        self.exchange(to, self.inboxes.answer_to(to, self.number()), payload, limit).await
    }

    /// Sends a message of the user to itself, and waits for it.
    pub(super) async fn round_trip(&self, limit: Duration) -> Result<(), BusError> {
        let own = self.inboxes.to_itself(self.number());
        self.exchange(&own.clone(), own, Bytes::new(), limit).await.await.map(drop)
    }

    async fn exchange(&self, to: &Subject, reply: Subject, payload: Bytes, limit: Duration) -> PendingAnswer {
        let (client, url, to) = (self.client.clone(), self.url.clone(), to.to_string());
        let headers = trace::headers(payload.len(), client.server_info().max_payload);
        let answer = self.waiting.add(&reply);
        let forget = Forget { waiting: self.waiting.clone(), reply };
        let exchange = async move {
            let reply = forget.reply.as_str().to_owned();
            let sent = match headers {
                Some(headers) => client.publish_with_reply_and_headers(to.clone(), reply, headers, payload).await,
                None => client.publish_with_reply(to.clone(), reply, payload).await,
            };
            sent.map_err(|e| BusError::Connection { url: url.clone(), why: with_sources(&e) })?;
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(Some(answer))) => Ok(answer),
                Ok(Ok(None)) => Err(BusError::NoResponders(to)),
                Ok(Err(_)) => Err(BusError::Connection { url, why: "the connection is closed".into() }),
                Err(_) => Err(BusError::TimedOut(to)),
            }
        };
        // The first poll puts the message into the queue of the connection or, if that is full, into the line for a
        // place in it. Both keep their order. `unconstrained`: the budget of the task must not end the poll before
        // that.
        let mut answer: PendingAnswer = Box::pin(tokio::task::unconstrained(exchange));
        match futures::poll!(&mut answer) {
            Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
            Poll::Pending => answer,
        }
    }
}

/// Hands out answers until the connection is closed.
async fn receive(mut answers: Subscriber, waiting: Arc<Waiting>) {
    while let Some(message) = answers.next().await {
        let Some(waits) = waiting.take(message.subject.as_str()) else { continue };
        let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
        let _ = waits.send((!nobody).then_some(message.payload));
    }
}
