//! Commands to workers. Those to one worker go out in the order in which the scheduler decided them; none waits for the
//! answer to the one before it. Workers do not delay each other.

use crate::{inbound::SentCommand, traces::Traces};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::FuturesUnordered,
};
use pvf_scheduler::{Delivery, Event};
use pvf_shared::{
    bus::{BusError, SharedBus},
    config::ProtocolTimeouts,
    identity::WorkerId,
    ids::{FleetName, Term},
    subjects, traces,
    wire::{self, ToWorker},
};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::UnboundedSender;

type Queues = HashMap<WorkerId, VecDeque<ToWorker>>;

/// Sends commands. What became of each comes back as an event. Clones share all queues.
#[derive(Clone)]
pub(crate) struct Commands {
    bus: SharedBus,
    fleet: FleetName,
    /// How long a worker may take to answer.
    ack: Duration,
    events: UnboundedSender<Event>,
    /// What every message says.
    term: Term,
    traces: Traces,
    /// Commands that are not sent yet. A worker has an entry only while one of its commands is being sent, so the
    /// queues hold no more than what the scheduler has under way.
    queues: Arc<Mutex<Queues>>,
}

impl Commands {
    pub(crate) fn new(
        (bus, traces): (SharedBus, Traces),
        fleet: FleetName,
        timing: &ProtocolTimeouts,
        term: Term,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self { bus, fleet, ack: timing.ack, events, term, traces, queues: Arc::default() }
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
            if let Err(error) = self.bus.publish(&to, wire::encode_by(self.term, &message)).await {
                tracing::warn!(%error, %worker, "a message to a worker could not be sent");
            }
            return None;
        };
        let sending = self.bus.send_request(&to, wire::encode_by(self.term, &message), self.ack);
        let trace = self.traces.of_attempt(command.job, command.attempt);
        Some(match traces::within(trace, sending).await {
            Ok(answer) => async move { command.answered(answer.await.map_err(undelivered)) }.boxed(),
            Err(error) => ready(command.answered(Err(undelivered(error)))).boxed(),
        })
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
