//! Performs operations.

use super::{
    clients::{Client, PendingRequest},
    network::Requester,
    ops::Op,
    scheduled::Scheduled,
    setup::{self, timing},
    truth,
    workers::Input,
    world::World,
};
use pvf_scheduler::{Counts, Event};
use pvf_shared::{
    identity::{ClientId, WorkerId},
    ids::{FencingToken, RelayHash, RequestId},
    priority::ExecuteKind,
    wire::{ActiveLeaf, ActiveLeavesUpdate, Submission, Work},
};
use std::time::Duration;

/// How often a coordinator announces itself.
const ANNOUNCEMENTS: u8 = 3;
/// Time that a client gives a request that is not about deadlines.
const PATIENT: Duration = Duration::from_secs(200);

impl World {
    /// Performs an operation.
    pub fn perform(&mut self, op: &Op) {
        let pick = |clients: &[Client], n: u8| clients[usize::from(n) % clients.len()].id;
        match op {
            Op::Wait(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Op::Execute { client, kind, code, candidate, leaf, fresh, seconds } => {
                let work = truth::execution(*kind, *candidate, *leaf, *fresh);
                let from = pick(&self.clients, *client);
                self.submit(from, *code, Duration::from_secs(u64::from(*seconds)), work);
            }
            Op::Burst { client, code, first, each } => {
                let from = pick(&self.clients, *client);
                for n in 0..u32::from(*each) {
                    for kind in ExecuteKind::ALL {
                        let candidate = first + n * 4 + kind as u32;
                        self.submit(from, *code, PATIENT, truth::execution(kind, candidate, None, false));
                    }
                }
            }
            Op::Precheck { client, code } => {
                self.submit(pick(&self.clients, *client), *code, PATIENT, Work::Precheck);
            }
            Op::HeadsUp { client, code } => {
                self.submit(pick(&self.clients, *client), *code, PATIENT, Work::HeadsUp { wait_prepared: false });
            }
            Op::Cancel { client, which } => {
                let from = pick(&self.clients, *client);
                let client = self.clients.iter_mut().find(|c| c.id == from).expect("picked");
                let ids: Vec<_> = client.pending.keys().copied().collect();
                if let Some(id) = ids.get(usize::from(*which) % ids.len().max(1)) {
                    client.pending.remove(id);
                    let request = *id;
                    self.send(None, |reply| Event::Cancel { client: from, request, reply });
                }
            }
            Op::Leaf { client, activated, deactivated } => {
                let from = pick(&self.clients, *client);
                let activated = (activated != deactivated).then(|| ActiveLeaf {
                    hash: RelayHash([*activated; 32]),
                    ancestors: vec![RelayHash([(activated + 1) % 4; 32])],
                });
                let update = ActiveLeavesUpdate { activated, deactivated: vec![RelayHash([*deactivated; 32])] };
                self.send(None, |reply| Event::Leaves { client: from, update: update.clone(), reply });
            }
            Op::ClientDies { client } => {
                let at = usize::from(*client) % self.clients.len();
                self.clients.remove(at);
                self.new_client();
            }
            Op::Network { lost, duplicated } => {
                (self.lost, self.duplicated) = (*lost, *duplicated);
                self.checks.set_lossy(*lost > 0, self.now);
            }
            fault => self.perform_fault(fault),
        }
    }

    fn perform_fault(&mut self, op: &Op) {
        match op {
            Op::WorkerDies { worker, back } => {
                if let Some(id) = self.pick_worker(*worker) {
                    self.worker_dies(id, Duration::from_millis(u64::from(*back)));
                }
            }
            Op::WorkerStops { worker, ms } => {
                if let Some(id) = self.pick_worker(*worker) {
                    self.worker_stops(id, Duration::from_millis(u64::from(*ms)));
                }
            }
            Op::WorkerDrains { worker } => {
                self.checks.worker_fails(self.now);
                if let Some(id) = self.pick_worker(*worker) {
                    let generation = self.workers.get(&id).map_or(0, |w| w.generation);
                    self.worker_input(id, generation, Input::Shutdown);
                }
            }
            Op::OperatorDrains { worker } => {
                if let Some(id) = self.pick_worker(*worker) {
                    self.operator_asks(id);
                }
            }
            Op::WorkerForgets { worker } => {
                if let Some(id) = self.pick_worker(*worker) {
                    self.worker_forgets(id);
                }
            }
            Op::LoseArtifacts { code } => self.store.lose(*code),
            Op::DamageArtifacts { code } => self.store.damage(*code),
            Op::StoreFails { ms } => {
                self.store.failing = true;
                self.after(Duration::from_millis(u64::from(*ms)), Scheduled::StoreWorks);
            }
            Op::LinkDown { ms } => {
                self.link_up = false;
                self.deaf();
                self.after(Duration::from_millis(u64::from(*ms)), Scheduled::LinkUp);
            }
            Op::LinkSilent { ms } => {
                self.link_up = false;
                self.after(setup::deaf_after(), Scheduled::Deaf);
                self.after(Duration::from_millis(u64::from(*ms)), Scheduled::LinkUp);
            }
            Op::CoordinatorStops { ms } => {
                if self.stopped_since.is_none() {
                    self.stopped_since = Some(self.now);
                    self.after(Duration::from_millis(u64::from(*ms)), Scheduled::CoordinatorResumes);
                }
            }
            Op::StoreHangs { ms } => {
                self.checks.hung = true;
                self.store.hangs_until = self.now.after(Duration::from_millis(u64::from(*ms)));
            }
            Op::WorkerFailsAtOnce { worker, ms } => {
                let until = self.now.after(Duration::from_millis(u64::from(*ms)));
                if let Some(worker) = self.pick_worker(*worker).and_then(|id| self.workers.get_mut(&id)) {
                    worker.fails_until = until;
                }
            }
            Op::WorkerUnfit { worker, ms } => {
                if let Some(id) = self.pick_worker(*worker) {
                    let generation = self.workers.get(&id).map_or(0, |w| w.generation);
                    self.worker_input(id, generation, Input::Fit(false));
                    let fit = Scheduled::Worker(id, generation, Input::Fit(true));
                    self.after(Duration::from_millis(u64::from(*ms)), fit);
                }
            }
            Op::JobHangs { worker, ms } => {
                self.checks.hung = true;
                if let Some(id) = self.pick_worker(*worker) {
                    self.jobs_hang(id, Duration::from_millis(u64::from(*ms)));
                }
            }
            Op::Restart => self.restart_coordinator(),
            other => panic!("{other:?} is no fault"),
        }
    }

    fn pick_worker(&self, n: u8) -> Option<WorkerId> {
        self.workers.keys().nth(usize::from(n) % self.workers.len().max(1)).copied()
    }

    /// The coordinator is replaced by one that knows nothing.
    fn restart_coordinator(&mut self) {
        let token = FencingToken(self.checks.token.0 + 1);
        self.summary.restarts += 1;
        self.scheduler = setup::scheduler(&self.policy, token, self.now);
        self.checks.restart(token, self.now, self.link_up);
        self.commands.clear();
        self.stopped_since = None;
        self.held.clear();
        self.hears = true;
        self.seen = ([0; 4], Counts::default());
        self.history.clear();
        if !self.link_up {
            self.deaf();
        }
        self.drain();
        self.announce(token, ANNOUNCEMENTS);
    }

    /// The coordinator announces itself to everybody, more than once, because an announcement may be lost.
    pub(super) fn announce(&mut self, token: FencingToken, times: u8) {
        if token != self.checks.token || times == 0 {
            return;
        }
        if self.stopped_since.is_none() {
            for (id, generation) in self.workers.iter().map(|(id, w)| (*id, w.generation)).collect::<Vec<_>>() {
                if !self.is_lost() {
                    let latency = self.latency();
                    self.after(latency, Scheduled::Worker(id, generation, Input::Announced(token)));
                }
            }
            for from in self.clients.iter().map(|client| client.id).collect::<Vec<_>>() {
                if !self.is_lost() {
                    let latency = self.latency() + self.millis(0..100);
                    self.after(latency, Scheduled::ClientTold(from, token));
                }
            }
        }
        self.after(Duration::from_millis(500), Scheduled::Announce(token, times - 1));
    }

    /// A client hears of another coordinator: it submits again what it waits for.
    pub(super) fn client_told(&mut self, from: ClientId, token: FencingToken) {
        let Some(client) = self.clients.iter_mut().find(|c| c.id == from).filter(|c| c.told < token) else { return };
        client.told = token;
        client.pending.values_mut().for_each(|pending| pending.accepted = None);
        for id in client.pending.keys().copied().collect::<Vec<_>>() {
            self.send_submission(from, id);
        }
    }

    fn submit(&mut self, from: ClientId, code: u8, within: Duration, work: Work) {
        let id = self.new_request_id(from);
        self.summary.requests += 1;
        let submission = truth::submission(id, code, within, work);
        if let Some(client) = self.clients.iter_mut().find(|c| c.id == from) {
            client.chosen.insert(id);
            client.pending.insert(id, PendingRequest { submission, accepted: None });
            self.send_submission(from, id);
        }
    }

    /// An id that a client has not used yet. Now and then it is that of a request of another client.
    fn new_request_id(&mut self, from: ClientId) -> RequestId {
        let own = self.clients.iter().find(|client| client.id == from);
        if let (Some(own), 0) = (own, self.rng.u8(0..12)) {
            let others =
                self.clients.iter().filter(|client| client.id != from).flat_map(|client| client.pending.keys());
            let taken: Vec<_> = others.filter(|id| !own.chosen.contains(id)).copied().collect();
            if !taken.is_empty() {
                return taken[self.rng.usize(0..taken.len())];
            }
        }
        RequestId(self.new_uuid())
    }

    /// A request that its client waits for.
    pub(super) fn pending(&mut self, from: ClientId, id: RequestId) -> Option<&mut PendingRequest> {
        self.clients.iter_mut().find(|c| c.id == from)?.pending.get_mut(&id)
    }

    pub(super) fn send_submission(&mut self, from: ClientId, id: RequestId) {
        let Some(pending) = self.pending(from, id) else { return };
        let submission: Submission = pending.submission.clone();
        self.send(Some(Requester::Submission(from, id)), |reply| {
            let identity = submission.validation_key();
            Event::Submit { client: from, submission: Box::new(submission.clone()), identity, reply }
        });
        // Without an answer it is sent again.
        self.after(timing().ack, Scheduled::Submit(from, id));
    }
}
