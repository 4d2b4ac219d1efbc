//! What becomes due on the virtual clock: messages arrive, processes end, timers of clients and workers fire.

use super::{
    network::Requester,
    setup::{WorkerSetup, deaf_after, timing},
    workers::Input,
    world::World,
};
use pvf_scheduler::{Answer, Event};
use pvf_shared::{
    identity::{ClientId, WorkerId},
    ids::{FencingToken, RequestId},
    subjects::Subject,
    time::Timestamp,
    wire::{DispatchReply, Refusal, SubmitReply, ToWorker, Verdict},
};
use pvf_worker_core::RunId;
use std::sync::Arc;

/// Something that becomes due at a point in time.
#[derive(Debug)]
pub enum Scheduled {
    /// A message arrives at the coordinator.
    Arrives(Event),
    /// A result of the shell of the coordinator with this token. It does not reach its successor.
    CoordinatorShell(u64, Event),
    /// The answer to a request arrives, of the coordinator with this token.
    RequestAnswered(Subject, Answer, FencingToken),
    /// A worker does not wait any longer for an answer.
    RequestTimeout(Subject),
    /// A command of the coordinator with this token arrives at a worker.
    CommandArrives(WorkerId, ToWorker, Option<Subject>, FencingToken),
    /// The answer to a command arrives. None: the coordinator does not wait any longer.
    CommandEnds(Subject, Option<DispatchReply>),
    /// Something reaches a worker of this generation.
    Worker(WorkerId, u64, Input),
    /// A stop of a worker of this generation ends.
    WorkerResumes(WorkerId, u64),
    /// A process of a worker of this generation ends.
    ProcessEnds(WorkerId, u64, RunId),
    Verdict(Arc<Verdict>, ClientId),
    ClientTick(ClientId),
    /// An operator asks once more for a worker that is to drain.
    OperatorTick(WorkerId),
    /// The coordinator with this token announces itself so many times more.
    Announce(FencingToken, u8),
    /// The announcement of a coordinator arrives at a client.
    ClientTold(ClientId, FencingToken),
    /// A client repeats a submission that was not accepted.
    Submit(ClientId, RequestId),
    NewWorker(Box<WorkerSetup>),
    StoreWorks,
    LinkUp,
    /// The coordinator has not heard itself for long enough to know that its link is silent.
    Deaf,
    /// The coordinator's process goes on.
    CoordinatorResumes,
}

impl Scheduled {
    /// Whether it waits while the coordinator stands still.
    fn is_for_coordinator(&self) -> bool {
        matches!(self, Self::Arrives(_) | Self::CoordinatorShell(..) | Self::CommandEnds(..) | Self::Deaf)
    }
}

impl World {
    pub(super) fn becomes_due(&mut self, scheduled: Scheduled) {
        if self.stopped_since.is_some() && scheduled.is_for_coordinator() {
            return self.held.push(scheduled);
        }
        match scheduled {
            Scheduled::Arrives(event) => self.tell(event),
            Scheduled::CoordinatorShell(token, event) => {
                if token == self.checks.token.0 {
                    self.tell(event);
                }
            }
            Scheduled::RequestAnswered(to, answer, by) => self.request_answered(&to, answer, by),
            Scheduled::RequestTimeout(to) => self.worker_request_ends(&to, Err("no answer".into())),
            Scheduled::CommandArrives(worker, message, reply, by) => {
                self.command_arrives(worker, (message, by), reply);
            }
            Scheduled::CommandEnds(reply, answer) => self.command_ends(&reply, answer),
            Scheduled::Worker(id, generation, input) => self.worker_input(id, generation, input),
            Scheduled::WorkerResumes(id, generation) => self.stop_ends(id, generation),
            Scheduled::ProcessEnds(id, generation, run) => self.process_ends(id, generation, run),
            Scheduled::Verdict(verdict, from) => {
                if let Some(client) = self.clients.iter_mut().find(|c| c.id == from) {
                    client.on_verdict(&verdict);
                    self.summary.answered += 1;
                }
            }
            Scheduled::ClientTick(from) => self.client_tick(from),
            Scheduled::OperatorTick(worker) => self.operator_tick(worker),
            Scheduled::Announce(token, times) => self.announce(token, times),
            Scheduled::ClientTold(from, token) => self.client_told(from, token),
            Scheduled::Submit(from, id) => {
                if self.pending(from, id).is_some_and(|pending| pending.accepted.is_none()) {
                    self.send_submission(from, id);
                }
            }
            Scheduled::NewWorker(setup) => self.new_worker(*setup),
            Scheduled::StoreWorks => self.store.failing = false,
            Scheduled::LinkUp => self.link_works(),
            Scheduled::Deaf => {
                if !self.link_up {
                    self.deaf();
                }
            }
            Scheduled::CoordinatorResumes => self.coordinator_resumes(),
        }
    }

    /// The scheduler is told that the coordinator hears nothing, once.
    pub(super) fn deaf(&mut self) {
        if self.stopped_since.is_none() && std::mem::replace(&mut self.hears, false) {
            self.tell(Event::Link { up: false });
        }
    }

    /// The coordinator's link carries messages.
    pub(super) fn link_works(&mut self) {
        self.link_up = true;
        if self.stopped_since.is_none() && !std::mem::replace(&mut self.hears, true) {
            self.tell(Event::Link { up: true });
        }
    }

    /// The coordinator's process goes on: first it notices that it stood still, then it reads what waits for it, then
    /// its timers fire.
    pub(super) fn coordinator_resumes(&mut self) {
        let Some(since) = self.stopped_since.take() else { return };
        if self.now.since(since) > deaf_after() || !self.link_up {
            self.deaf();
        }
        for held in std::mem::take(&mut self.held) {
            self.becomes_due(held);
        }
        if self.link_up {
            self.after(timing().worker_silence / 6, Scheduled::LinkUp);
        }
    }

    fn request_answered(&mut self, to: &Subject, answer: Answer, by: FencingToken) {
        match (self.requests.get(to).copied(), answer) {
            (Some(Requester::Worker(id, ..)), Answer::Worker(_)) if self.is_replaced(id, by) => {
                self.worker_request_ends(to, Err("the answer is of a coordinator that was replaced".into()));
            }
            (Some(Requester::Worker(..)), Answer::Worker(reply)) => self.worker_request_ends(to, Ok(reply)),
            (Some(Requester::Submission(from, _) | Requester::Question(from)), _) if self.was_told(from, by) => {}
            (Some(Requester::Submission(from, id)), answer) => self.submission_answered(from, id, answer),
            (Some(Requester::Question(from)), Answer::Ask(answer)) => {
                for id in answer.unknown {
                    if let Some(pending) = self.pending(from, id) {
                        pending.accepted = None;
                        self.send_submission(from, id);
                    }
                }
            }
            (Some(Requester::Operator), Answer::Operator(reply)) => {
                // Answers of a coordinator that was replaced do not count.
                if by == self.checks.token {
                    self.operator_hears(&reply);
                }
            }
            (None, _) => {}
            (requester, answer) => panic!("{requester:?} is answered by {answer:?}"),
        }
    }

    /// Whether a client has heard of a later coordinator than this one, whose answers it ignores then.
    fn was_told(&self, client: ClientId, of: FencingToken) -> bool {
        self.clients.iter().any(|c| c.id == client && c.told > of)
    }

    fn submission_answered(&mut self, from: ClientId, id: RequestId, answer: Answer) {
        match answer {
            Answer::Accepted { client, request } => {
                assert_eq!((client, request), (from, id), "another request was accepted");
                let now = self.now;
                if let Some(pending) = self.pending(from, id) {
                    pending.accepted.get_or_insert(now);
                }
            }
            Answer::Submit(SubmitReply::Refused(Refusal::Overloaded { .. })) => {}
            answer => panic!("a good submission is answered by {answer:?}"),
        }
    }

    /// A client asks for the verdicts that it has waited for, and says which have come.
    fn client_tick(&mut self, from: ClientId) {
        let Some(client) = self.clients.iter_mut().find(|c| c.id == from) else { return };
        let is_late = |at: Timestamp| self.now.since(at) >= timing().ask_again;
        let late = client.pending.iter().filter(|(_, pending)| pending.accepted.is_some_and(is_late));
        let requests: Vec<_> = late.map(|(id, _)| *id).collect();
        let heard = std::mem::take(&mut client.heard);
        if !requests.is_empty() || !heard.is_empty() {
            let question = Some(Requester::Question(from));
            self.send(question, |reply| Event::Ask {
                client: from,
                requests: requests.clone(),
                heard: heard.clone(),
                reply,
            });
        }
        self.after(timing().ask_again, Scheduled::ClientTick(from));
    }
}
