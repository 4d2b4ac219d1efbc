//! Messages between clients, coordinator and workers: requests and their answers, commands and what becomes of them.
//! Each message may be lost, duplicated, or overtaken by later ones.

use super::{scheduled::Scheduled, setup::timing, world::World};
use pvf_scheduler::{Answer, Command, Delivery, Event};
use pvf_shared::{
    identity::{ClientId, WorkerId},
    ids::{Attempt, JobId, RequestId},
    subjects::Subject,
    wire::{DispatchReply, ToWorker, WorkerReply},
};
use pvf_worker_core::Request;
use std::time::Duration;

/// The sender of a request to the coordinator.
#[derive(Debug, Clone, Copy)]
pub enum Requester {
    /// A client with a submission.
    Submission(ClientId, RequestId),
    /// A client with a question.
    Question(ClientId),
    /// An operator.
    Operator,
    /// A worker of this generation.
    Worker(WorkerId, u64, Request),
}

/// A command that the coordinator's shell waits to be answered.
#[derive(Debug)]
pub struct PendingCommand {
    worker: WorkerId,
    job: JobId,
    attempt: Attempt,
    command: Command,
}

impl PendingCommand {
    /// Acknowledgements are not answered.
    fn of(worker: WorkerId, message: &ToWorker) -> Option<Self> {
        let (job, attempt, command) = match message {
            ToWorker::Dispatch(d) => (d.job, d.attempt, Command::Dispatch),
            ToWorker::Cancel { job, attempt, .. } => (*job, *attempt, Command::Cancel),
            ToWorker::Recall { job, attempt, .. } => (*job, *attempt, Command::Recall),
            ToWorker::Acknowledge { .. } => return None,
        };
        Some(Self { worker, job, attempt, command })
    }

    fn delivered(self, delivery: Delivery) -> Event {
        let Self { worker, job, attempt, command } = self;
        Event::Delivered { worker, job, attempt, command, delivery }
    }
}

impl World {
    /// A subject that no other message uses.
    pub(super) fn new_subject(&mut self) -> Subject {
        Subject::received(&format!("reply.{}", self.new_uuid().simple()))
    }

    /// How long a message takes; now and then very long, so that others overtake it.
    pub(super) fn latency(&mut self) -> Duration {
        match self.rng.u8(0..40) {
            0 => self.millis(50..1500),
            _ => Duration::from_micros(self.rng.u64(50..3000)),
        }
    }

    /// Whether a message is lost.
    pub(super) fn is_lost(&mut self) -> bool {
        !self.link_up || self.rng.u8(0..100) < self.lost
    }

    fn is_duplicated(&mut self) -> bool {
        self.rng.u8(0..100) < self.duplicated
    }

    /// A message to the coordinator; its answer, if there is a requester, goes to that.
    pub(super) fn send(&mut self, requester: Option<Requester>, event: impl Fn(Option<Subject>) -> Event) {
        let reply = self.new_subject();
        if let Some(requester) = requester {
            self.requests.insert(reply.clone(), requester);
        }
        if let Some(Requester::Worker(..)) = requester {
            self.after(timing().ack, Scheduled::RequestTimeout(reply.clone()));
        }
        let copies = 1 + u8::from(self.is_duplicated());
        for copy in 0..copies {
            if !self.is_lost() {
                // A copy may come very late: after its sender was given up, or to another coordinator.
                let late = copy > 0 && self.rng.u8(0..2) == 0;
                let latency = if late { self.millis(0..20_000) } else { self.latency() };
                self.after(latency, Scheduled::Arrives(event(Some(reply.clone()))));
            }
        }
    }

    /// The coordinator answers a request.
    pub(super) fn send_answer(&mut self, to: Subject, answer: Answer) {
        if self.requests.contains_key(&to) && !self.is_lost() {
            let latency = self.latency();
            self.after(latency, Scheduled::RequestAnswered(to, answer, self.checks.token));
        }
    }

    /// A worker's request was answered, or not in time. The first answer counts.
    pub(super) fn worker_request_ends(&mut self, reply: &Subject, answer: Result<WorkerReply, String>) {
        if let Some(Requester::Worker(id, generation, request)) = self.requests.remove(reply) {
            self.worker_input(id, generation, super::workers::Input::Answered { request, answer });
        }
    }

    /// A worker does not wait any longer for the answer to its registration or heartbeat: another coordinator announced
    /// itself.
    pub(super) fn give_up_beat(&mut self, id: WorkerId, generation: u64) {
        let beats = [Request::Register, Request::Heartbeat];
        let is_beat = |requester: &Requester| match requester {
            Requester::Worker(of, of_generation, request) => {
                (*of, *of_generation) == (id, generation) && beats.contains(request)
            }
            Requester::Submission(..) | Requester::Question(_) | Requester::Operator => false,
        };
        let beat = self.requests.iter().find(|(_, requester)| is_beat(requester)).map(|(reply, _)| reply.clone());
        if let Some(reply) = beat {
            self.worker_request_ends(&reply, Err("another coordinator announced itself".into()));
        }
    }

    /// The coordinator sends a command; what becomes of it comes back as an event.
    pub(super) fn send_command(&mut self, worker: WorkerId, message: ToWorker) {
        let pending = PendingCommand::of(worker, &message);
        let reply = pending.is_some().then(|| self.new_subject());
        if let (Some(pending), Some(reply)) = (pending, &reply) {
            self.commands.insert(reply.clone(), pending);
            self.after(timing().ack, Scheduled::CommandEnds(reply.clone(), None));
        }
        let copies = 1 + u8::from(self.is_duplicated());
        for _ in 0..copies {
            if !self.is_lost() {
                let latency = self.latency();
                let by = self.checks.token;
                self.after(latency, Scheduled::CommandArrives(worker, message.clone(), reply.clone(), by));
            }
        }
    }

    /// A worker answers a command.
    pub(super) fn send_command_answer(&mut self, to: Subject, reply: DispatchReply) {
        if !self.is_lost() {
            let latency = self.latency();
            self.after(latency, Scheduled::CommandEnds(to, Some(reply)));
        }
    }

    /// A command was answered, or not in time. The first answer counts, and only for the coordinator that sent it.
    pub(super) fn command_ends(&mut self, reply: &Subject, answer: Option<DispatchReply>) {
        let Some(pending) = self.commands.remove(reply) else { return };
        self.tell(match answer {
            Some(DispatchReply::Taken) => pending.delivered(Delivery::Taken),
            Some(DispatchReply::Refused(why)) => pending.delivered(Delivery::Refused(why)),
            Some(DispatchReply::Done(report)) => Event::Report { worker: pending.worker, report, reply: None },
            None => pending.delivered(Delivery::Unknown("no answer".into())),
        });
    }

    /// No worker listens on this subject.
    pub(super) fn command_without_worker(&mut self, reply: Option<&Subject>) {
        if let Some(pending) = reply.and_then(|reply| self.commands.remove(reply)) {
            self.tell(pending.delivered(Delivery::NoSubscriber));
        }
    }
}
