//! Effects go onto the bus and into the store. What becomes of those that can fail comes back as events.

use crate::{
    ingress::KnownCode,
    scheduler::{Answer, Command, Delivery, Effect, Event, Listed},
};
use pvf_shared::{
    bus::{BusError, SharedBus},
    config::Timing,
    ids::{ArtifactId, FleetName, NodeId, RequestId, WorkerId},
    job::{BlobRef, JobSpec},
    store::{BlobStore, Found},
    subjects::{self, Subject},
    verdict::Outcome,
    wire::{self, Dispatch, DispatchReply, JobReport, SubmitReply, ToNode, ToWorker, Verdict},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::Instant,
};

/// How often the store is asked for an artifact.
const LOOK_UPS: u32 = 3;
/// Artifacts in one event.
const LISTED_AT_ONCE: usize = 64;

/// What does as the scheduler says.
#[derive(Clone)]
pub(crate) struct Egress {
    pub(crate) bus: SharedBus,
    pub(crate) store: BlobStore,
    pub(crate) fleet: FleetName,
    pub(crate) timing: Timing,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) known_code: KnownCode,
    /// Messages whose order matters and that are not answered.
    pub(crate) outbox: UnboundedSender<Outgoing>,
}

/// A message that is not answered.
pub(crate) enum Outgoing {
    /// The answer to a bus request.
    Answer(Subject, Box<Answer>),
    /// The answer to a submission, unless its verdict comes soon.
    Accepted(Subject, RequestId),
    /// A verdict.
    Verdict(NodeId, Arc<Verdict>),
}

/// Answers to submissions whose verdict may come before they are due: a message less on the bus for each.
#[derive(Default)]
struct HeldBack {
    due: VecDeque<(Instant, RequestId)>,
    to: HashMap<RequestId, Subject>,
}

impl HeldBack {
    fn hold(&mut self, request: RequestId, to: Subject, time: Duration) {
        self.due.push_back((Instant::now() + time, request));
        self.to.insert(request, to);
    }

    /// Its verdict says so as well.
    fn forget(&mut self, request: &RequestId) {
        self.to.remove(request);
    }

    /// The next answer that has been held back long enough. May be dropped at any time.
    async fn due(&mut self) -> Outgoing {
        loop {
            let Some((at, request)) = self.due.front().copied() else { return std::future::pending().await };
            if self.to.contains_key(&request) {
                tokio::time::sleep_until(at).await;
            }
            self.due.pop_front();
            if let Some(to) = self.to.remove(&request) {
                return Outgoing::Answer(to, Box::new(Answer::Accepted(request)));
            }
        }
    }
}

impl Egress {
    /// Begins to do as the scheduler says; never waits.
    pub(crate) fn perform(&self, effect: Effect) {
        match effect {
            Effect::Reply { to, answer: Answer::Accepted(request) } => {
                let _ = self.outbox.send(Outgoing::Accepted(to, request));
            }
            Effect::Reply { to, answer } => {
                let _ = self.outbox.send(Outgoing::Answer(to, Box::new(answer)));
            }
            Effect::Verdict { node, verdict } => {
                tracing::info!(request = %verdict.request, verdict = verdict.outcome.name(),
                    reason = verdict.outcome.reason(), attempts = verdict.attempts,
                    total_ms = verdict.timings.total.as_millis() as u64, "verdict");
                let _ = self.outbox.send(Outgoing::Verdict(node, verdict));
            }
            Effect::ToWorker { worker, message } => {
                tokio::spawn(self.clone().command(worker, message));
            }
            Effect::LookUp { artifact } => {
                let this = self.clone();
                tokio::spawn(async move {
                    let found = this.look_up(&artifact).await;
                    let _ = this.events.send(Event::LookedUp { artifact, found });
                });
            }
            Effect::Drop { artifact } => {
                let this = self.clone();
                tokio::spawn(async move {
                    tracing::info!(%artifact, "artifact is dropped: damaged, or nobody needed it");
                    if let Err(error) = this.store.delete_artifact(&artifact).await {
                        tracing::error!(%error, %artifact, "artifact could not be dropped; it will be written over");
                    }
                    let _ = this.events.send(Event::Dropped { artifact });
                });
            }
            Effect::ListArtifacts => drop(tokio::spawn(self.clone().list_artifacts())),
            Effect::SaveNeeded { idle } => {
                let this = self.clone();
                tokio::spawn(async move {
                    let needed = idle.iter().map(|(id, idle)| ((**id).clone(), *idle));
                    if let Err(error) = this.store.save_needed(needed.collect()).await {
                        tracing::warn!(%error, "when artifacts were needed could not be saved");
                    }
                });
            }
            Effect::ForgetCode { code } => {
                // Whoever asks next brings it again; what is damaged must not be in the way of that.
                if let Some(blob) = self.known_code.forget(&code) {
                    let this = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = this.store.delete_blob(&blob).await {
                            tracing::warn!(%error, %code, "a damaged code could not be deleted");
                        }
                    });
                }
            }
        }
    }

    /// Sends what is not answered, in order, until the driver ends.
    pub(crate) async fn post(self, mut outbox: UnboundedReceiver<Outgoing>) {
        let mut held = HeldBack::default();
        loop {
            let outgoing = tokio::select! {
                biased;
                outgoing = outbox.recv() => outgoing,
                accepted = held.due() => Some(accepted),
            };
            let sent = match outgoing {
                None => break,
                Some(Outgoing::Answer(to, answer)) => self.bus.publish(&to, encode(&answer)).await,
                Some(Outgoing::Accepted(to, request)) => {
                    held.hold(request, to, self.timing.hold_acceptance());
                    continue;
                }
                Some(Outgoing::Verdict(node, verdict)) => {
                    held.forget(&verdict.request);
                    self.send_verdict(node, (*verdict).clone()).await
                }
            };
            if let Err(error) = sent {
                // Whoever waits for it asks again.
                tracing::warn!(%error, "a message could not be sent");
            }
        }
    }

    async fn send_verdict(&self, node: NodeId, mut verdict: Verdict) -> Result<(), BusError> {
        let to = subjects::node(&self.fleet, &node);
        let message = wire::encode(&ToNode::Verdict(Box::new(verdict.clone())));
        if message.len() > self.bus.max_payload()
            && let Outcome::Valid(BlobRef::Inline(result)) = &verdict.outcome
        {
            match self.store.put_blob(result.clone()).await {
                Ok(blob) => verdict.outcome = Outcome::Valid(blob),
                Err(error) => tracing::error!(%error, request = %verdict.request, "result could not be stored"),
            }
            return self.bus.publish(&to, wire::encode(&ToNode::Verdict(Box::new(verdict)))).await;
        }
        self.bus.publish(&to, message).await
    }

    /// What the store has for an artifact; one that does not answer is asked again.
    async fn look_up(&self, artifact: &ArtifactId) -> Result<Option<Found>, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.look_up(artifact).await {
                Ok(found) => return Ok(found),
                Err(error) if tries == LOOK_UPS => return Err(error.to_string()),
                Err(error) => tracing::warn!(%error, "the store cannot be asked, trying again"),
            }
            tokio::time::sleep(Duration::from_millis(100) * tries).await;
        }
    }

    /// Tells the scheduler what the store has, in pieces.
    async fn list_artifacts(self) {
        match self.store.list_artifacts().await {
            Ok(listed) => {
                tracing::info!(artifacts = listed.len(), "artifacts in the store");
                for some in listed.chunks(LISTED_AT_ONCE) {
                    let listed = some.iter().map(|(artifact, bytes, idle)| Listed {
                        artifact: artifact.clone(),
                        bytes: *bytes,
                        idle: *idle,
                    });
                    let _ = self.events.send(Event::Listed(listed.collect()));
                }
            }
            // Each is still found when it is needed; those that are not needed are not pruned.
            Err(error) => tracing::warn!(%error, "the store's artifacts cannot be listed"),
        }
    }

    async fn command(self, worker: WorkerId, message: ToWorker) {
        let (job, attempt, command) = match &message {
            ToWorker::Dispatch(d) => (d.job, d.attempt, Command::Dispatch),
            ToWorker::Cancel { job, attempt, .. } => (*job, *attempt, Command::Cancel),
            ToWorker::Recall { job, attempt, .. } => (*job, *attempt, Command::Recall),
            ToWorker::Acknowledge { .. } => return self.tell(worker, &message).await,
        };
        let delivery = match self.deliver(worker, message).await {
            Ok(report) => {
                let _ = self.events.send(Event::Report { report, reply: None });
                return;
            }
            Err(delivery) => delivery,
        };
        let refused_recall = command == Command::Recall && matches!(delivery, Delivery::Refused(_));
        if delivery != Delivery::Taken && !refused_recall {
            tracing::warn!(%worker, %job, attempt, ?command, ?delivery, "message to a worker");
        }
        let _ = self.events.send(Event::Delivered { worker, job, attempt, command, delivery });
    }

    /// Sends what no answer is waited for.
    async fn tell(&self, worker: WorkerId, message: &ToWorker) {
        if let Err(error) = self.bus.publish(&subjects::worker(&self.fleet, &worker), wire::encode(message)).await {
            tracing::warn!(%error, %worker, "a message to a worker could not be sent");
        }
    }

    /// Sends a message and waits for the answer: the report of a job that was done at once, or what became of the
    /// message.
    async fn deliver(&self, worker: WorkerId, message: ToWorker) -> Result<Box<JobReport>, Delivery> {
        let to = subjects::worker(&self.fleet, &worker);
        let mut sent = self.bus.request(&to, wire::encode(&message), self.timing.ack).await;
        if let (Err(BusError::TooLarge { .. }), ToWorker::Dispatch(dispatch)) = (&sent, message) {
            sent = match self.by_reference(*dispatch).await {
                Ok(smaller) => self.bus.request(&to, wire::encode(&smaller), self.timing.ack).await,
                Err(why) => return Err(Delivery::Refused(why)),
            };
        }
        Err(match sent {
            Ok(answer) => match wire::decode::<DispatchReply>(&answer) {
                Ok(DispatchReply::Done(report)) => return Ok(report),
                Ok(DispatchReply::Taken) => Delivery::Taken,
                Ok(DispatchReply::Refused(why)) => Delivery::Refused(why),
                Err(error) => Delivery::Unknown(error.to_string()),
            },
            Err(BusError::NoResponders(_)) => Delivery::Nobody,
            Err(error) => Delivery::Unknown(error.to_string()),
        })
    }

    /// The same dispatch with its block data in the store.
    async fn by_reference(&self, mut dispatch: Dispatch) -> Result<ToWorker, String> {
        if let JobSpec::Execute(execute) = &mut dispatch.spec
            && let BlobRef::Inline(bytes) = &execute.block_data
        {
            execute.block_data = self.store.put_blob(bytes.clone()).await.map_err(|e| e.to_string())?;
        }
        Ok(ToWorker::Dispatch(Box::new(dispatch)))
    }
}

fn encode(answer: &Answer) -> bytes::Bytes {
    match answer {
        Answer::Accepted(_) => wire::encode(&SubmitReply::Accepted),
        Answer::Submit(answer) => wire::encode(answer),
        Answer::Ask(answer) => wire::encode(answer),
        Answer::Status(answer) => wire::encode(&**answer),
        Answer::Worker(answer) => wire::encode(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(outgoing: &Outgoing) -> (&Subject, RequestId) {
        let Outgoing::Answer(to, answer) = outgoing else { panic!("no answer") };
        let Answer::Accepted(request) = **answer else { panic!("{answer:?}") };
        (to, request)
    }

    #[tokio::test]
    async fn that_a_request_is_accepted_is_said_once_unless_its_verdict_has_come() {
        let fleet = FleetName::default();
        let [first, again] = [NodeId::new(), NodeId::new()].map(|node| subjects::node(&fleet, &node));
        let [judged, waits, long] = [RequestId::new(), RequestId::new(), RequestId::new()];
        let mut held = HeldBack::default();
        held.hold(judged, first.clone(), Duration::ZERO);
        held.hold(waits, first, Duration::ZERO);
        // It was submitted once more, and the answer goes to who asked last.
        held.hold(waits, again.clone(), Duration::ZERO);
        held.hold(long, again.clone(), Duration::from_secs(3600));
        held.forget(&judged);
        assert_eq!(sent(&held.due().await), (&again, waits));
        let nothing_more = async {
            tokio::select! {
                biased;
                _ = held.due() => false,
                () = std::future::ready(()) => true,
            }
        };
        assert!(nothing_more.await);
        held.forget(&long);
        assert!(held.to.is_empty());
    }
}
