//! The requests of a client that wait for their verdicts, and the tasks that bring the verdicts.

use super::{coordinator::Coordinator, trouble::Trouble};
use crate::{
    bus::Subscription,
    ids::RequestId,
    terms::Terms,
    wire::{self, AskReply, CompileProgress, FromClient, ToClient, Verdict},
};
use futures::StreamExt as _;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::Instant,
};

/// What a waiting request learns.
pub(super) enum Update {
    /// Its verdict.
    Verdict(Box<Verdict>),
    /// The coordinator does not know the request: it must be submitted again.
    Unknown,
}

struct PendingRequest {
    updates: UnboundedSender<Update>,
    /// When a coordinator accepted the request; `None` while it is being submitted.
    accepted: Option<Instant>,
}

/// Verdicts that have come and that the coordinator does not know of yet, at most. It keeps those that it is not told
/// of for longer, no more.
const MAX_HEARD: usize = 64 * wire::MAX_ASKED;

/// The waiting requests by id.
#[derive(Default)]
pub(super) struct Pending {
    waiting: Mutex<HashMap<RequestId, PendingRequest>>,
    /// Requests whose verdicts have come since the coordinator was told of others.
    heard: Mutex<Vec<RequestId>>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, PendingRequest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Vec<RequestId>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a request before its submission.
    pub(super) fn register(&self, id: RequestId) -> UnboundedReceiver<Update> {
        let (updates, receiver) = unbounded_channel();
        self.lock().insert(id, PendingRequest { updates, accepted: None });
        receiver
    }

    /// Notes that a coordinator has accepted a request.
    pub(super) fn mark_accepted(&self, id: &RequestId) {
        if let Some(request) = self.lock().get_mut(id) {
            request.accepted = Some(Instant::now());
        }
    }

    /// Notes that a request is submitted again.
    pub(super) fn mark_unaccepted(&self, id: &RequestId) {
        if let Some(request) = self.lock().get_mut(id) {
            request.accepted = None;
        }
    }

    /// Removes a request.
    pub(super) fn remove(&self, id: &RequestId) {
        self.lock().remove(id);
    }

    fn on_verdict(&self, verdict: Box<Verdict>) {
        let mut heard = self.heard();
        if heard.len() < MAX_HEARD {
            heard.push(verdict.request);
        }
        drop(heard);
        // Without a waiting request the verdict is a duplicate, or the request was cancelled.
        if let Some(request) = self.lock().get(&verdict.request) {
            let _ = request.updates.send(Update::Verdict(verdict));
        }
    }

    fn on_unknown(&self, id: &RequestId) {
        if let Some(request) = self.lock().get_mut(id) {
            request.accepted = None;
            let _ = request.updates.send(Update::Unknown);
        }
    }

    /// The questions of a client: about requests that were accepted at least `time` ago, and with the verdicts that
    /// have come.
    fn questions(&self, time: Duration) -> Vec<FromClient> {
        let (mut waiting, mut heard) = (self.accepted_for(time), std::mem::take(&mut *self.heard()));
        let mut questions = Vec::new();
        while !waiting.is_empty() || !heard.is_empty() {
            let part = |of: &mut Vec<RequestId>| of.split_off(of.len().saturating_sub(wire::MAX_ASKED));
            questions.push(FromClient::Ask { requests: part(&mut waiting), heard: part(&mut heard) });
        }
        questions
    }

    /// Requests that were accepted at least `time` ago.
    fn accepted_for(&self, time: Duration) -> Vec<RequestId> {
        let waits = |request: &PendingRequest| request.accepted.is_some_and(|at| at.elapsed() >= time);
        self.lock().iter().filter(|(_, request)| waits(request)).map(|(id, _)| *id).collect()
    }
}

/// Hands verdicts to the waiting requests, until the bus ends.
pub(super) async fn receive_verdicts(mut verdicts: Subscription, pending: Arc<Pending>, terms: Arc<Terms>) {
    while let Some(message) = verdicts.next().await {
        if !terms.obey_message(&message.payload) {
            tracing::info!("ignoring a message of a coordinator that was replaced");
            continue;
        }
        match wire::decode::<ToClient>(&message.payload) {
            Ok(ToClient::Verdict(verdict)) => pending.on_verdict(verdict),
            Err(error) => tracing::warn!(%error, "ignoring a malformed message of the coordinator"),
        }
    }
}

/// Asks a coordinator about requests.
pub(super) struct Questions {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) trouble: Arc<Trouble>,
    /// How far the preparations are that requests wait for.
    pub(super) compiling: Arc<watch::Sender<Option<CompileProgress>>>,
}

impl Questions {
    /// Asks periodically for verdicts that have not arrived: the message was lost, or the coordinator was replaced; and
    /// says which have. The questions also keep the client's session at the coordinator alive.
    pub(super) async fn ask_for_verdicts(self, pending: Arc<Pending>) {
        let interval = self.coordinator.ask_interval();
        loop {
            tokio::time::sleep(interval).await;
            // Several requests may wait for one preparation.
            let mut compiling = BTreeMap::new();
            let mut all_answered = true;
            for question in pending.questions(interval) {
                let answer = self.coordinator.ask::<AskReply>(&question).await;
                all_answered &= answer.is_ok();
                match answer {
                    Ok(AskReply { unknown, compiling: of_these }) => {
                        self.trouble.clear();
                        compiling.extend(of_these.into_iter().map(|of| (of.job, of.progress)));
                        unknown.iter().for_each(|id| pending.on_unknown(id));
                    }
                    // Logged once, not with each question.
                    Err(error) if self.trouble.report_questions(&error.to_string()) => {
                        tracing::warn!(%error, "cannot ask for verdicts, retrying");
                    }
                    Err(error) => tracing::debug!(%error, "still cannot ask for verdicts, retrying"),
                }
            }
            if all_answered {
                let all = compiling.into_values().reduce(CompileProgress::and);
                self.compiling.send_if_modified(|shown| std::mem::replace(shown, all) != all);
            }
        }
    }
}
