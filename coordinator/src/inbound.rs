//! The only decoder of bytes from the bus: messages of clients, workers and operators, questions for the status, and
//! workers' answers to commands. Each becomes one event for the scheduler, or is refused here. Who sent a message is
//! what its subject says, and an answer goes only to an inbox of that user.
//!
//! A submission becomes an event only after it passed [`check`] and the operator's [`Ceilings`]. Its code and its large
//! block data stay with the client.

mod older;

pub(crate) use older::Older;

use crate::{ceilings::Ceilings, outbox::Outbox, traces::Traces};
use futures::StreamExt as _;
use pvf_scheduler::{Answer, Command, Delivery, Event, check};
use pvf_shared::{
    Bytes,
    bus::Subscription,
    identity::{ClientId, UserName, WorkerId},
    ids::{Attempt, FleetName, JobId, RequestId},
    subjects::{self, Subject},
    wire::{
        self, DispatchReply, FromClient, FromOperator, FromWorker, MAX_ASKED, MAX_DRAINED, Refusal, SPEAKS,
        StatusQuestion, Submission, SubmitReply, ToWorker, WireError, WorkerRefusal, WorkerReply,
    },
};
use tokio::sync::mpsc::UnboundedSender;

/// Decodes what clients and workers send. Clones share all state.
#[derive(Clone)]
pub(crate) struct Inbound {
    pub(crate) fleet: FleetName,
    pub(crate) events: UnboundedSender<Event>,
    pub(crate) outbox: Outbox,
    /// The most that a request may ask for.
    pub(crate) ceilings: Ceilings,
    pub(crate) traces: Traces,
}

impl Inbound {
    /// Decodes the messages of clients until the subscription ends.
    pub(crate) async fn clients(self, mut messages: Subscription) {
        while let Some(message) = messages.next().await {
            let Some(client) = subjects::requesting_client(&self.fleet, &message.subject) else {
                tracing::warn!(subject = %message.subject, "ignoring a message: its subject names no client");
                continue;
            };
            let (payload, reply) = (message.payload, own_inbox(message.reply, &client.user));
            let event = match wire::decode::<FromClient>(&payload) {
                Ok(FromClient::Submit(submission)) => {
                    self.traces.arrived(client, &submission, message.trace);
                    self.submit(client, submission, reply);
                    continue;
                }
                Ok(FromClient::Ask { mut requests, mut heard }) => {
                    requests.truncate(MAX_ASKED);
                    heard.truncate(MAX_ASKED);
                    Event::Ask { client, requests, heard, reply }
                }
                Ok(FromClient::Cancel { request }) => {
                    self.traces.cancelled(client, request);
                    Event::Cancel { client, request, reply }
                }
                Ok(FromClient::Leaves { update }) => Event::Leaves { client, update, reply },
                Err(error) => {
                    tracing::warn!(%error, %client, "cannot decode a client's message");
                    self.refuse(reply, Refusal::Malformed(error.to_string()));
                    continue;
                }
            };
            let _ = self.events.send(event);
        }
    }

    /// Decodes the messages of workers until the subscription ends.
    pub(crate) async fn workers(self, mut messages: Subscription) {
        while let Some(message) = messages.next().await {
            let Some(worker) = subjects::requesting_worker(&self.fleet, &message.subject) else {
                tracing::warn!(subject = %message.subject, "ignoring a message: its subject names no worker");
                continue;
            };
            let reply = own_inbox(message.reply, &worker.user);
            let event = match wire::decode::<FromWorker>(&message.payload) {
                Ok(FromWorker::Hello(hello)) if hello.speaks.common(SPEAKS).is_none() => {
                    let why = WorkerRefusal::Version { worker: hello.speaks, fleet: SPEAKS };
                    self.refuse_worker(reply, why);
                    continue;
                }
                Ok(FromWorker::Hello(hello)) => Event::Hello { worker, hello, reply },
                Ok(FromWorker::Heartbeat(heartbeat)) => Event::Heartbeat { worker, heartbeat, reply },
                Ok(FromWorker::Report(report)) => match reply {
                    Some(reply) => Event::Report { worker, report, reply: Some(reply) },
                    // A report that expects no answer would count as the answer to a dispatch.
                    None => continue,
                },
                Ok(FromWorker::Goodbye) => Event::Goodbye { worker, reply },
                Err(error) => {
                    tracing::warn!(%error, %worker, "cannot decode a worker's message");
                    self.refuse_worker(reply, WorkerRefusal::NotUnderstood(error.to_string()));
                    continue;
                }
            };
            let _ = self.events.send(event);
        }
    }

    /// Decodes the messages of operators until the subscription ends.
    pub(crate) async fn operators(self, mut messages: Subscription) {
        while let Some(message) = messages.next().await {
            let Some(operator) = subjects::requesting_operator(&self.fleet, &message.subject) else {
                tracing::warn!(subject = %message.subject, "ignoring a message: its subject names no operator");
                continue;
            };
            let reply = own_inbox(message.reply, &operator);
            match wire::decode::<FromOperator>(&message.payload) {
                Ok(mut message) => {
                    if let FromOperator::Drain { workers } = &mut message {
                        workers.truncate(MAX_DRAINED);
                    }
                    let _ = self.events.send(Event::Operator { operator, message, reply });
                }
                Err(error) => {
                    tracing::warn!(%error, %operator, "cannot decode an operator's message");
                    self.refuse(reply, Refusal::Malformed(error.to_string()));
                }
            }
        }
    }

    /// Decodes the questions for the status until the subscription ends. Whoever may publish them may ask, and is
    /// answered in an inbox of whichever user it is.
    pub(crate) async fn status(self, mut messages: Subscription) {
        while let Some(message) = messages.next().await {
            let Some(reply) = message.reply.filter(Subject::is_inbox) else { continue };
            match wire::decode::<StatusQuestion>(&message.payload) {
                Ok(StatusQuestion { host }) => {
                    let _ = self.events.send(Event::Status { host, reply: Some(reply) });
                }
                Err(error) => self.refuse(Some(reply), Refusal::Malformed(error.to_string())),
            }
        }
    }

    /// Hands a submission to the scheduler, or refuses it.
    fn submit(&self, client: ClientId, submission: Box<Submission>, reply: Option<Subject>) {
        match self.check(&submission) {
            Ok(()) => {
                let identity = submission.validation_key();
                let _ = self.events.send(Event::Submit { client, submission, identity, reply });
            }
            Err(refusal) => {
                tracing::info!(request = %submission.id, %client, %refusal, "request refused");
                self.refuse(reply, refusal);
            }
        }
    }

    fn check(&self, submission: &Submission) -> Result<(), Refusal> {
        if submission.speaks.common(SPEAKS).is_none() {
            return Err(Refusal::UnsupportedVersion { client: submission.speaks, fleet: SPEAKS });
        }
        check(submission)?;
        self.ceilings.check(submission)
    }

    fn refuse_worker(&self, reply: Option<Subject>, why: WorkerRefusal) {
        if let Some(to) = reply {
            self.outbox.answer(to, Answer::Worker(WorkerReply::Refused(why)));
        }
    }

    fn refuse(&self, reply: Option<Subject>, refusal: Refusal) {
        if let Some(to) = reply {
            self.outbox.answer(to, Answer::Submit(SubmitReply::Refused(refusal)));
        }
    }
}

/// A reply subject, if it is an inbox of the user who asks. The server lets a sender name any reply subject.
fn own_inbox(reply: Option<Subject>, user: &UserName) -> Option<Subject> {
    let reply = reply?;
    if reply.is_inbox_of(user) {
        return Some(reply);
    }
    tracing::warn!(%reply, %user, "a message is not answered: its reply subject is no inbox of its sender");
    None
}

/// A command to a worker that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentCommand {
    pub(crate) worker: WorkerId,
    pub(crate) command: Command,
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    /// One of the requests that the job is for, for logs.
    pub(crate) request: Option<RequestId>,
}

impl SentCommand {
    /// What identifies the message; absent for one that is not answered.
    pub(crate) fn of(worker: WorkerId, message: &ToWorker) -> Option<Self> {
        let (command, job, attempt, request) = match message {
            ToWorker::Dispatch(dispatch) => (Command::Dispatch, dispatch.job, dispatch.attempt, dispatch.request),
            ToWorker::Cancel { job, attempt, .. } => (Command::Cancel, *job, *attempt, None),
            ToWorker::Recall { job, attempt, .. } => (Command::Recall, *job, *attempt, None),
            ToWorker::Acknowledge { .. } => return None,
        };
        Some(Self { worker, command, job, attempt, request })
    }

    /// Decodes a worker's answer, or takes over why there is none.
    pub(crate) fn answered(self, answer: Result<Bytes, Delivery>) -> Event {
        let Self { worker, command, job, attempt, .. } = self;
        let delivery = match answer.map(|bytes| wire::decode(&bytes)) {
            Ok(Ok(DispatchReply::Done(report))) => return Event::Report { worker, report, reply: None },
            Ok(Ok(DispatchReply::Taken)) => Delivery::Taken,
            Ok(Ok(DispatchReply::Refused(why))) => Delivery::Refused(why),
            Ok(Err(
                error @ (WireError::NewerVersion { .. } | WireError::OlderVersion { .. } | WireError::Malformed { .. }),
            )) => Delivery::Unknown(error.to_string()),
            Err(delivery) => delivery,
        };
        match &delivery {
            Delivery::Taken => {}
            // A recall races with the start of the job.
            Delivery::Refused(_) if command == Command::Recall => {}
            failed => tracing::warn!(
                %worker, %job, attempt, ?command, request = self.request.map(tracing::field::display), ?failed,
                "worker did not accept a command"
            ),
        }
        Event::Delivered { worker, job, attempt, command, delivery }
    }
}

#[cfg(test)]
mod tests;
