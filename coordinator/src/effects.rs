//! Carries out the scheduler's effects: messages through [`crate::outbox`] and [`crate::outbound`], the rest in tasks.

use crate::{
    history::History, metrics::Counters, notices, observers::Observers, outbound::Commands, outbox::Outbox,
    storage::Storage, traces::Traces,
};
use pvf_scheduler::{Answer, Effect, Notice};
use pvf_shared::wire::ToWorker;
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};

/// Carries out effects. Dropping it ends all tasks.
pub(crate) struct Effects {
    pub(crate) outbox: Outbox,
    pub(crate) observers: Observers,
    pub(crate) commands: Commands,
    pub(crate) storage: Storage,
    pub(crate) metrics: Arc<Counters>,
    pub(crate) history: History,
    pub(crate) traces: Traces,
    pub(crate) tasks: JoinSet<()>,
}

impl Effects {
    /// Starts an effect; never waits. What can fail comes back to the scheduler as an event.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { to, answer } => {
                if let Answer::Accepted { client, request } = &answer {
                    self.traces.accepted(*client, *request);
                }
                self.outbox.answer(to, answer);
            }
            Effect::Verdict { client, verdict, about } => {
                let trace = self.traces.of_request(verdict.request).map(|context| context.trace_id());
                notices::log_verdict(client, &verdict, trace);
                // One that is sent again is not told again.
                if let Some(about) = about {
                    self.history.ended(client, &verdict, about);
                    self.metrics.answered(&verdict, about);
                    self.observers.verdict(client, &verdict);
                }
                self.traces.ended(client, &verdict);
                self.outbox.verdict(client, verdict);
            }
            Effect::ToWorker { worker, message } => {
                if let ToWorker::Dispatch(dispatch) = &message {
                    self.traces.dispatched(worker, dispatch);
                    self.metrics.dispatched(worker.kind);
                }
                if let Some(sending) = self.commands.queue(worker, message) {
                    self.tasks.spawn(sending);
                }
            }
            Effect::LookUp { artifact } => self.start(self.storage.clone().look_up(artifact)),
            Effect::Drop { artifact } => self.start(self.storage.clone().drop_artifact(artifact)),
            Effect::ListArtifacts => self.start(self.storage.clone().list_artifacts()),
            Effect::SaveNeeded { idle } => self.start(self.storage.clone().save_idle_times(idle)),
            Effect::ReadPins => self.start(self.storage.clone().read_pins()),
            Effect::SavePins { codes } => self.start(self.storage.clone().save_pins(codes)),
            Effect::Notice(notice) => {
                if let Notice::WorkerLeft { worker, .. } | Notice::WorkerLost { worker, .. } = &notice {
                    self.commands.drop_queue(worker);
                }
                notices::log(&notice);
                self.metrics.count(&notice);
                self.history.noticed(&notice);
                self.traces.noticed(&notice);
                self.observers.notice(notice);
            }
        }
    }

    fn start(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Discards the tasks that have ended.
    pub(crate) fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            check(ended);
        }
    }
}

fn check(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the coordinator panicked");
    }
}

#[cfg(test)]
mod tests;
