//! The only publisher of messages on the bus: answers and verdicts in the order of the outbox, and [`commands`] to
//! workers in one ordered queue for each worker.

mod acceptances;
mod commands;

pub(crate) use commands::Commands;

use crate::outbox::Outgoing;
use acceptances::HeldAcceptances;
use pvf_scheduler::Answer;
use pvf_shared::{
    Bytes,
    bus::SharedBus,
    config::ProtocolTimeouts,
    ids::{FleetName, Term},
    subjects,
    wire::{self, SubmitReply, ToClient},
};
use tokio::sync::mpsc::UnboundedReceiver;

/// Publishes what is in the outbox.
pub(crate) struct Outbound {
    pub(crate) bus: SharedBus,
    pub(crate) fleet: FleetName,
    pub(crate) timing: ProtocolTimeouts,
    /// What every message says.
    pub(crate) term: Term,
}

impl Outbound {
    /// Publishes until the outbox is closed. A message that cannot be sent is lost: its receiver repeats what it asked.
    pub(crate) async fn publish(self, mut outbox: UnboundedReceiver<Outgoing>) {
        let (mut held, mut failed) = (HeldAcceptances::default(), None);
        loop {
            let sent = tokio::select! {
                biased;
                message = outbox.recv() => match message {
                    None => break,
                    Some(Outgoing::Accepted(to, request)) => {
                        held.hold(request, to, self.timing.hold_acceptance());
                        continue;
                    }
                    Some(Outgoing::Answer(to, answer)) => self.bus.publish(&to, encode(self.term, &answer)).await,
                    Some(Outgoing::RefusedOlder(to, refusal)) => self.bus.publish(&to, refusal).await,
                    Some(Outgoing::Mark(mark)) => {
                        let _ = mark.send(());
                        continue;
                    }
                    Some(Outgoing::Announcement(announcement)) => {
                        let to = subjects::announcements(&self.fleet);
                        self.bus.publish(&to, wire::encode_by(self.term, &*announcement)).await
                    }
                    Some(Outgoing::Verdict(client, verdict)) => {
                        held.drop_for(&(client, verdict.request));
                        let to = subjects::client_verdicts(&self.fleet, &client);
                        let message = ToClient::Verdict(Box::new((*verdict).clone()));
                        self.bus.publish(&to, wire::encode_by(self.term, &message)).await
                    }
                },
                to = held.due() => self.bus.publish(&to, wire::encode_by(self.term, &SubmitReply::Accepted)).await,
            };
            // Logged once, not for each of many messages.
            let why = sent.err().map(|error| error.to_string());
            match &why {
                Some(error) if failed != why => tracing::warn!(%error, "an answer or verdict could not be sent"),
                Some(_) | None => {}
            }
            failed = why;
        }
    }
}

fn encode(by: Term, answer: &Answer) -> Bytes {
    match answer {
        Answer::Accepted { .. } => wire::encode_by(by, &SubmitReply::Accepted),
        Answer::Submit(answer) => wire::encode_by(by, answer),
        Answer::Ask(answer) => wire::encode_by(by, answer),
        Answer::Status(answer) => wire::encode_by(by, &**answer),
        Answer::Operator(answer) => wire::encode_by(by, answer),
        Answer::Worker(answer) => wire::encode_by(by, answer),
    }
}

#[cfg(test)]
mod tests;
