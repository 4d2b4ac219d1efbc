//! What is made to happen to the world.

use super::{
    clients::{Client, Waiting},
    ops::Op,
    truth,
    world::{Asker, Happening, World, dispatch_is, scheduler, timing},
};
use pvf_coordinator::scheduler::{Counts, Delivery, Event};
use pvf_shared::{
    ids::{FencingToken, NodeId, RequestId, WorkerId},
    priority::ExecuteKind,
    wire::{ActiveLeaf, ActiveLeavesUpdate, Submission, Work},
};
use std::time::Duration;

impl World {
    /// Makes an operation happen.
    pub fn perform(&mut self, op: &Op) {
        let pick = |clients: &[Client], n: u8| clients[usize::from(n) % clients.len()].node;
        match op {
            Op::Wait(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Op::Execute { client, kind, code, candidate, leaf, fresh, seconds } => {
                let work = truth::execution(*kind, *candidate, *leaf, *fresh);
                let node = pick(&self.clients, *client);
                self.submit(node, *code, Duration::from_secs(u64::from(*seconds)), work);
            }
            Op::Burst { client, code, first, each } => {
                let node = pick(&self.clients, *client);
                for n in 0..u32::from(*each) {
                    for kind in ExecuteKind::ALL {
                        let candidate = first + n * 4 + kind as u32;
                        self.submit(
                            node,
                            *code,
                            Duration::from_secs(200),
                            truth::execution(kind, candidate, None, false),
                        );
                    }
                }
            }
            Op::Precheck { client, code } => {
                self.submit(pick(&self.clients, *client), *code, Duration::from_secs(200), Work::Precheck);
            }
            Op::HeadsUp { client, code } => {
                self.submit(pick(&self.clients, *client), *code, Duration::from_secs(200), Work::HeadsUp);
            }
            Op::Cancel { client, which } => {
                let node = pick(&self.clients, *client);
                let client = self.clients.iter_mut().find(|c| c.node == node).expect("picked");
                let ids: Vec<_> = client.waiting.keys().copied().collect();
                if let Some(id) = ids.get(usize::from(*which) % ids.len().max(1)) {
                    client.waiting.remove(id);
                    let request = *id;
                    self.send(Asker::Nobody, |reply| Event::Cancel { request, node, reply });
                }
            }
            Op::Leaf { client, activated, deactivated } => {
                let node = pick(&self.clients, *client);
                let activated = (activated != deactivated)
                    .then(|| ActiveLeaf { hash: [*activated; 32], ancestors: vec![[(activated + 1) % 4; 32]] });
                let update = ActiveLeavesUpdate { activated, deactivated: vec![[*deactivated; 32]] };
                self.send(Asker::Nobody, |reply| Event::Leaves { node, update: update.clone(), reply });
            }
            Op::ClientDies { client } => {
                let at = usize::from(*client) % self.clients.len();
                self.clients.remove(at);
                self.new_client();
            }
            Op::Weather { lost, doubled } => (self.lost, self.doubled) = (*lost, *doubled),
            other => self.perform_fault(other),
        }
    }

    pub(super) fn perform_fault(&mut self, op: &Op) {
        let ids: Vec<_> = self.workers.keys().copied().collect();
        let pick = |n: &u8| ids.get(usize::from(*n) % ids.len().max(1)).copied();
        match op {
            Op::WorkerDies { worker, back } => {
                if let Some(id) = pick(worker) {
                    self.worker_dies(id, Duration::from_millis(u64::from(*back)));
                }
            }
            Op::WorkerStops { worker, ms } => {
                let until = self.now.after(Duration::from_millis(u64::from(*ms)));
                if let Some(worker) = pick(worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.stopped_until = Some(until);
                }
            }
            Op::WorkerDrains { worker } => {
                if let Some(worker) = pick(worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.draining = true;
                }
            }
            Op::WorkerForgets { worker } => {
                if let Some(worker) = pick(worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.forget_jobs();
                }
            }
            Op::LoseArtifacts { code } => self.store.lose(*code),
            Op::DamageArtifacts { code } => self.store.damage(*code),
            Op::StoreFails { ms } => {
                self.store.failing = true;
                self.after(Duration::from_millis(u64::from(*ms)), Happening::StoreWorks);
            }
            Op::LinkDown { ms } => {
                if std::mem::replace(&mut self.link_up, false) {
                    self.tell(Event::Link { up: false });
                }
                self.after(Duration::from_millis(u64::from(*ms)), Happening::LinkUp);
            }
            Op::Restart => {
                let token = FencingToken(self.checks.token.0 + 1);
                self.summary.restarts += 1;
                self.scheduler = scheduler(&self.policy, token, self.now);
                self.checks.restart(token, self.now, self.link_up);
                self.seen = ([0; 4], Counts::default());
                self.history.clear();
                if !self.link_up {
                    self.tell(Event::Link { up: false });
                }
                self.drain();
            }
            other => panic!("{other:?} is no fault"),
        }
    }

    pub(super) fn worker_dies(&mut self, id: WorkerId, back: Duration) {
        let Some(dead) = self.workers.remove(&id) else { return };
        for (key, incarnation) in dead.unanswered {
            let event = dispatch_is(id, key, Delivery::Unknown("no answer".into()));
            self.shell_after(timing().ack, incarnation, event);
        }
        let host = dead.hello.host.trim_start_matches("host").parse().unwrap_or(0);
        let next = (dead.hello.kind, dead.hello.slots, dead.hello.engine.as_str().to_owned(), host);
        self.after(back, Happening::NewWorker(Box::new(next)));
    }

    pub(super) fn submit(&mut self, node: NodeId, code: u8, within: Duration, work: Work) {
        let id = RequestId(self.name());
        self.summary.requests += 1;
        let submission = truth::submission(id, node, code, within, work);
        if let Some(client) = self.clients.iter_mut().find(|c| c.node == node) {
            client.waiting.insert(id, Waiting { submission, accepted: None });
            self.send_submission(node, id);
        }
    }

    pub(super) fn waiting(&mut self, node: NodeId, id: RequestId) -> Option<&mut Waiting> {
        self.clients.iter_mut().find(|c| c.node == node)?.waiting.get_mut(&id)
    }

    pub(super) fn send_submission(&mut self, node: NodeId, id: RequestId) {
        let Some(waiting) = self.waiting(node, id) else { return };
        let submission: Submission = waiting.submission.clone();
        self.send(Asker::Submission(node, id), |reply| {
            let identity = submission.validation_key();
            Event::Submit { submission: Box::new(submission.clone()), identity, reply }
        });
        // Nobody answered: again.
        self.after(timing().ack, Happening::Submit(node, id));
    }
}
