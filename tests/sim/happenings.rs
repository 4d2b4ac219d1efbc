//! What happens when its time has come: messages arrive, clocks tick, jobs end.

use super::{
    workers::{self, End, Key, Worker},
    world::{Asker, Happening, World, delivered, dispatch_is, timing},
};
use pvf_coordinator::scheduler::{Answer, Delivery, Event, Moment};
use pvf_shared::{
    ids::{NodeId, WorkerId},
    wire::{DispatchReply, Refusal, SubmitReply, ToWorker, WorkerKind, WorkerReply},
};
use std::time::Duration;

impl World {
    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(event) => self.tell(event),
            Happening::Shell(incarnation, event) => {
                if incarnation == self.checks.token.0 {
                    self.tell(event);
                }
            }
            Happening::Answered(asker, answer) => self.on_answer(asker, answer),
            Happening::Command(incarnation, worker, message) => self.on_command(incarnation, worker, message),
            Happening::Verdict(verdict, node) => {
                if let Some(client) = self.clients.iter_mut().find(|c| c.node == node) {
                    client.on_verdict(&verdict);
                    self.summary.answered += 1;
                }
            }
            Happening::ClientTick(node) => self.client_tick(node),
            Happening::WorkerTick(id) => self.worker_tick(id),
            Happening::JobEnds(id, key) => self.job_ends(id, key),
            Happening::AnswerDue(id, key) => self.answer_due(id, key),
            Happening::ReportAgain(id, key) => self.report(id, key),
            Happening::Submit(node, id) => {
                if self.waiting(node, id).is_some_and(|w| w.accepted.is_none()) {
                    self.send_submission(node, id);
                }
            }
            Happening::NewWorker(next) => {
                let (kind, slots, engine, host) = *next;
                self.new_worker(kind, slots, &engine, host);
            }
            Happening::StoreWorks => self.store.failing = false,
            Happening::LinkUp => {
                if !std::mem::replace(&mut self.link_up, true) {
                    self.tell(Event::Link { up: true });
                }
            }
        }
    }

    pub(super) fn on_answer(&mut self, asker: Asker, answer: Answer) {
        match (asker, answer) {
            (Asker::Submission(node, id), Answer::Accepted(accepted)) => {
                assert_eq!(accepted, id, "another request was accepted");
                let now = self.now;
                if let Some(waiting) = self.waiting(node, id) {
                    waiting.accepted.get_or_insert(now);
                }
            }
            (Asker::Submission(..), Answer::Submit(SubmitReply::Refused(Refusal::Overloaded { .. }))) => {}
            (Asker::Submission(..), answer) => panic!("a good submission is answered by {answer:?}"),
            (Asker::Question(node), Answer::Ask(answer)) => {
                for id in answer.unknown {
                    if let Some(waiting) = self.waiting(node, id) {
                        waiting.accepted = None;
                        self.send_submission(node, id);
                    }
                }
            }
            (Asker::Hello(id), Answer::Worker(WorkerReply::Welcome { token })) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.welcome(token);
                }
            }
            (Asker::Hello(id), Answer::Worker(WorkerReply::SayHello)) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.welcomed = false;
                }
            }
            (Asker::Report(id, key), Answer::Worker(_)) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.reports.remove(&key);
                }
            }
            (Asker::Nobody | Asker::Hello(_) | Asker::Question(_) | Asker::Report(..), _) => {}
        }
    }

    pub(super) fn client_tick(&mut self, node: NodeId) {
        let Some(client) = self.clients.iter().find(|c| c.node == node) else { return };
        let since = |at: Moment| self.now.since(at) >= timing().ask_again;
        let asked = client.waiting.iter().filter(|(_, w)| w.accepted.is_some_and(since));
        let requests: Vec<_> = asked.map(|(id, _)| *id).collect();
        if !requests.is_empty() {
            self.send(Asker::Question(node), |reply| Event::Ask { node, requests: requests.clone(), reply });
        }
        self.after(timing().ask_again, Happening::ClientTick(node));
    }

    /// Whether a worker stands still; what happens to it then happens when it goes on.
    pub(super) fn stands_still(&mut self, id: WorkerId) -> Option<Duration> {
        let worker = self.workers.get_mut(&id)?;
        let until = worker.stopped_until?;
        if until <= self.now {
            worker.stopped_until = None;
            return None;
        }
        Some(until.since(self.now))
    }

    pub(super) fn worker_tick(&mut self, id: WorkerId) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::WorkerTick(id));
            return;
        }
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.draining && worker.is_idle() {
            let host = worker.hello.host.trim_start_matches("host").parse().unwrap_or(0);
            let (kind, slots, engine) =
                (worker.hello.kind, worker.hello.slots, worker.hello.engine.as_str().to_owned());
            self.workers.remove(&id);
            self.send(Asker::Nobody, |reply| Event::Goodbye { worker: id, reply });
            self.new_worker(kind, slots, &engine, host);
            return;
        }
        let (welcomed, hello, heartbeat) = (worker.welcomed, worker.hello.clone(), worker.heartbeat());
        self.send(Asker::Hello(id), |reply| match welcomed {
            true => Event::Heartbeat { heartbeat: heartbeat.clone(), reply },
            false => Event::Hello { hello: hello.clone(), reply },
        });
        self.after(timing().heartbeat, Happening::WorkerTick(id));
    }

    pub(super) fn on_command(&mut self, incarnation: u64, id: WorkerId, message: ToWorker) {
        if let Some(rest) = self.stands_still(id) {
            // Nobody answers in time; the worker reads it when it goes on.
            if rest > timing().ack {
                let event = delivered(id, &message, Delivery::Unknown("no answer".into()));
                self.shell_after(timing().ack, incarnation, event);
                self.after(rest, Happening::Command(0, id, message));
            } else {
                self.after(rest, Happening::Command(incarnation, id, message));
            }
            return;
        }
        let Some(worker) = self.workers.get_mut(&id) else {
            self.shell_after(Duration::ZERO, incarnation, delivered(id, &message, Delivery::Nobody));
            return;
        };
        let (reply, begun) = worker.on_command(message.clone());
        match (&reply, &message) {
            // It is answered when it is done, or after a moment.
            (None, ToWorker::Dispatch(dispatch)) => {
                let key = workers::key(dispatch);
                worker.unanswered.insert(key, incarnation);
                self.after(timing().hold_back(), Happening::AnswerDue(id, key));
            }
            (_, ToWorker::Cancel { token, job, attempt } | ToWorker::Recall { token, job, attempt }) => {
                self.answer_due(id, (*token, *job, *attempt));
            }
            _ => {}
        }
        self.begin(id, begun);
        let delivery = match reply {
            None => return,
            Some(DispatchReply::Taken | DispatchReply::Done(_)) => Delivery::Taken,
            Some(DispatchReply::Refused(why)) => Delivery::Refused(why),
        };
        let (delay, delivery) = self.answered(delivery);
        self.shell_after(delay, incarnation, delivered(id, &message, delivery));
    }

    /// An answer to a command is on its way, or gets lost.
    fn answered(&mut self, delivery: Delivery) -> (Duration, Delivery) {
        if self.is_lost() { (timing().ack, Delivery::Unknown("lost".into())) } else { (self.latency(), delivery) }
    }

    /// A dispatch is answered, if it is not yet, although its job is not done.
    fn answer_due(&mut self, id: WorkerId, key: Key) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::AnswerDue(id, key));
            return;
        }
        let Some(incarnation) = self.workers.get_mut(&id).and_then(|w| w.unanswered.remove(&key)) else { return };
        let (delay, delivery) = self.answered(Delivery::Taken);
        self.shell_after(delay, incarnation, dispatch_is(id, key, delivery));
    }

    pub(super) fn begin(&mut self, id: WorkerId, begun: Vec<Key>) {
        let prepares = self.workers.get(&id).is_some_and(|w| w.hello.kind == WorkerKind::Prepare);
        for key in begun {
            let time = match (prepares, self.rng.u8(0..20)) {
                (true, _) => self.millis(100..3000),
                // Now and then one outlives the patience with its worker.
                (false, 0) => self.millis(3000..15_000),
                (false, _) => self.millis(1..150),
            };
            self.after(time, Happening::JobEnds(id, key));
        }
    }

    pub(super) fn job_ends(&mut self, id: WorkerId, key: Key) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::JobEnds(id, key));
            return;
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let end = worker.end(key, &mut self.store);
        match end {
            None => {}
            Some(End::WorkerDies) => {
                self.worker_dies(id, Duration::from_secs(2));
                return;
            }
            Some(End::Report(outcome)) => {
                let report = worker.keep_report(key, *outcome);
                match worker.unanswered.remove(&key) {
                    // The report is the answer to the dispatch.
                    Some(incarnation) => {
                        self.after(timing().ack, Happening::ReportAgain(id, key));
                        let (delay, event) = if self.is_lost() {
                            (timing().ack, dispatch_is(id, key, Delivery::Unknown("lost".into())))
                        } else {
                            (self.latency(), Event::Report { report: Box::new(report), reply: None })
                        };
                        self.shell_after(delay, incarnation, event);
                    }
                    None => self.report(id, key),
                }
            }
        }
        let begun = self.workers.get_mut(&id).map(Worker::begin).unwrap_or_default();
        self.begin(id, begun);
    }

    /// Reports until somebody has acknowledged it.
    pub(super) fn report(&mut self, id: WorkerId, key: Key) {
        if let Some(rest) = self.stands_still(id) {
            self.after(rest, Happening::ReportAgain(id, key));
            return;
        }
        let Some(report) = self.workers.get(&id).and_then(|w| w.reports.get(&key)).cloned() else { return };
        self.send(Asker::Report(id, key), |reply| Event::Report { report: Box::new(report.clone()), reply });
        self.after(timing().ack, Happening::ReportAgain(id, key));
    }
}
