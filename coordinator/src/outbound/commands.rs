//! Commands to workers. Those to one worker go out in the order in which the scheduler decided them; none waits for the
//! answer to the one before it. Workers do not delay each other.

use crate::inbound::SentCommand;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::FuturesUnordered,
};
use pvf_scheduler::{Delivery, Event};
use pvf_shared::{
    blob::BlobRef,
    bus::{BusError, PendingAnswer, SharedBus},
    config::ProtocolTimeouts,
    identity::WorkerId,
    ids::FleetName,
    job::JobSpec,
    store::BlobStore,
    subjects::{self, Subject},
    wire::{self, Dispatch, ToWorker},
};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

/// How long block data that does not fit a dispatch may take into the store. Later commands to the worker wait for it.
const UPLOAD_LIMIT: Duration = Duration::from_secs(30);

type Queues = HashMap<WorkerId, VecDeque<ToWorker>>;

/// Sends commands. What became of each comes back as an event. Clones share all queues.
#[derive(Clone)]
pub(crate) struct Commands {
    bus: SharedBus,
    store: BlobStore,
    fleet: FleetName,
    /// How long a worker may take to answer.
    ack: Duration,
    events: UnboundedSender<Event>,
    /// Commands that are not sent yet. A worker has an entry only while one of its commands is being sent, so the
    /// queues hold no more than what the scheduler has under way.
    queues: Arc<Mutex<Queues>>,
}

impl Commands {
    pub(crate) fn new(
        bus: SharedBus,
        store: BlobStore,
        fleet: FleetName,
        timing: &ProtocolTimeouts,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self { bus, store, fleet, ack: timing.ack, events, queues: Arc::default() }
    }

    /// Queues a command. The returned future sends the worker's queue and must be run as a task; it is absent if an
    /// earlier one still does that.
    pub(crate) fn queue(&self, worker: WorkerId, message: ToWorker) -> Option<impl Future<Output = ()> + use<>> {
        match self.queues().entry(worker) {
            Entry::Occupied(queue) => {
                queue.into_mut().push_back(message);
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(VecDeque::from([message]));
                Some(self.clone().send_all(worker))
            }
        }
    }

    /// Drops the queued commands to a worker that left or was lost.
    pub(crate) fn drop_queue(&self, worker: &WorkerId) {
        if let Some(queue) = self.queues().get_mut(worker) {
            queue.clear();
        }
    }

    /// Sends commands until the worker's queue is empty, then waits for the answers that are still to come.
    async fn send_all(self, worker: WorkerId) {
        let mut answers = FuturesUnordered::new();
        while let Some(message) = self.next(worker) {
            let mut sending = pin!(self.send(worker, message));
            loop {
                tokio::select! {
                    biased;
                    answer = &mut sending => {
                        answers.extend(answer);
                        break;
                    }
                    Some(event) = answers.next() => self.report(event),
                }
            }
        }
        while let Some(event) = answers.next().await {
            self.report(event);
        }
    }

    /// The next command to be sent; removes the queue if there is none.
    fn next(&self, worker: WorkerId) -> Option<ToWorker> {
        let mut queues = self.queues();
        let message = queues.get_mut(&worker).and_then(VecDeque::pop_front);
        if message.is_none() {
            queues.remove(&worker);
        }
        message
    }

    /// Sends one command; gives the event of what becomes of it, if it is to be answered.
    async fn send(&self, worker: WorkerId, message: ToWorker) -> Option<BoxFuture<'static, Event>> {
        let to = subjects::worker_commands(&self.fleet, &worker);
        let Some(command) = SentCommand::of(worker, &message) else {
            if let Err(error) = self.bus.publish(&to, wire::encode(&message)).await {
                tracing::warn!(%error, %worker, "a message to a worker could not be sent");
            }
            return None;
        };
        Some(match self.request(&to, message).await {
            Ok(answer) => async move { command.answered(answer.await.map_err(undelivered)) }.boxed(),
            Err(delivery) => ready(command.answered(Err(delivery))).boxed(),
        })
    }

    /// Sends a message that is to be answered. A dispatch that is too large for the bus is sent with its block data in
    /// the store.
    async fn request(&self, to: &Subject, message: ToWorker) -> Result<PendingAnswer, Delivery> {
        let sent = self.bus.send_request(to, wire::encode(&message), self.ack).await;
        let (Err(BusError::TooLarge { .. }), ToWorker::Dispatch(dispatch)) = (&sent, message) else {
            return sent.map_err(undelivered);
        };
        let smaller = self.with_stored_input(*dispatch).await.map_err(Delivery::NotSent)?;
        self.bus.send_request(to, wire::encode(&smaller), self.ack).await.map_err(undelivered)
    }

    async fn with_stored_input(&self, mut dispatch: Dispatch) -> Result<ToWorker, String> {
        if let JobSpec::Execute(execute) = &mut dispatch.spec
            && let BlobRef::Inline(bytes) = &execute.block_data
        {
            let stored = tokio::time::timeout(UPLOAD_LIMIT, self.store.put_blob(bytes.clone())).await;
            execute.block_data = stored
                .map_err(|_| format!("block data was not stored within {} s", UPLOAD_LIMIT.as_secs()))?
                .map_err(|e| e.to_string())?;
        }
        Ok(ToWorker::Dispatch(Box::new(dispatch)))
    }

    fn report(&self, event: Event) {
        // Without a driver the coordinator is ending.
        let _ = self.events.send(event);
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn undelivered(error: BusError) -> Delivery {
    match error {
        BusError::NoResponders(_) => Delivery::NoSubscriber,
        error @ BusError::TooLarge { .. } => Delivery::NotSent(error.to_string()),
        error @ (BusError::TimedOut(_) | BusError::Connection { .. } | BusError::Refused { .. }) => {
            Delivery::Unknown(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
