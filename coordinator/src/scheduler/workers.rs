//! What workers say about themselves, and what their silence says.

use super::{Answer, Moment, Scheduler, Stage, fleet::Worker, results::Loss, timers::Timer};
use pvf_shared::{
    ids::{EngineId, RequestId, WorkerId},
    subjects::Subject,
    wire::{Heartbeat, Work, WorkerHello, WorkerKind, WorkerReply},
};
use std::collections::{HashMap, HashSet};

/// Most slots that one worker may claim.
const MAX_SLOTS: u32 = 4096;

impl Scheduler {
    pub(super) fn on_hello(&mut self, hello: WorkerHello, reply: Option<Subject>, now: Moment) {
        if hello.slots == 0 || hello.slots > MAX_SLOTS {
            let why = format!("slots: {} is outside 1..={MAX_SLOTS}", hello.slots);
            self.reply(reply, Answer::Worker(WorkerReply::Refused(why)));
            return;
        }
        let id = hello.worker;
        self.reply(reply, Answer::Worker(WorkerReply::Welcome { token: self.config.token }));
        self.heard_of(id, now);
        match self.fleet.workers.get_mut(&id) {
            // It says hello again because it missed our answer; it may have jobs.
            Some(worker) => {
                worker.hello = hello;
                worker.suspect = false;
            }
            None => {
                let worker = Worker { hello, jobs: HashMap::new(), warm: HashSet::new(), suspect: false };
                self.fleet.workers.insert(id, worker);
            }
        }
        for request in std::mem::take(&mut self.waiting_for_fleet) {
            self.choose_engine(request, now);
        }
    }

    fn heard_of(&mut self, worker: WorkerId, now: Moment) {
        self.timers.set(Timer::Silence(worker), now.after(self.config.timing.worker_silence));
    }

    pub(super) fn on_heartbeat(&mut self, heartbeat: Heartbeat, reply: Option<Subject>, now: Moment) {
        let id = heartbeat.worker;
        let Some(worker) = self.fleet.workers.get_mut(&id) else {
            self.reply(reply, Answer::Worker(WorkerReply::SayHello));
            return;
        };
        worker.suspect = false;
        let has: HashSet<_> =
            heartbeat.running.iter().filter(|r| r.token == self.config.token).map(|r| (r.job, r.attempt)).collect();
        // It took the job a while ago and has neither it nor an unacknowledged report: it lost it.
        let grace = self.config.timing.heartbeat * 2 + self.config.timing.ack;
        let mut lost: Vec<_> = worker
            .jobs
            .iter()
            .filter(|(job, slot)| {
                slot.taken.is_some_and(|at| now.since(at) > grace) && !has.contains(&(**job, slot.attempt))
            })
            .map(|(job, slot)| (*job, slot.attempt))
            .collect();
        lost.sort_unstable();
        for (job, _) in &lost {
            worker.jobs.remove(job);
        }
        self.heard_of(id, now);
        self.reply(reply, Answer::Worker(WorkerReply::Ack));
        for (job, attempt) in lost {
            self.attempt_lost(id, (job, attempt), Loss::GivenBack("worker lost the job".into()), now);
        }
    }

    pub(super) fn on_goodbye(&mut self, worker: WorkerId, reply: Option<Subject>, now: Moment) {
        self.reply(reply, Answer::Worker(WorkerReply::Ack));
        self.remove_worker(worker, &Loss::GivenBack("worker said goodbye".into()), now);
    }

    /// A silence timer ran out. The worker is lost only if our own link was up all the while.
    pub(super) fn on_silence(&mut self, worker: WorkerId, now: Moment) {
        let silence = self.config.timing.worker_silence;
        match self.link_up_since {
            Some(up) if now.since(up) >= silence => self.remove_worker(worker, &Loss::WorkerDied, now),
            _ => self.timers.set(Timer::Silence(worker), now.after(silence)),
        }
    }

    fn remove_worker(&mut self, id: WorkerId, loss: &Loss, now: Moment) {
        self.timers.clear(Timer::Silence(id));
        let Some(worker) = self.fleet.workers.remove(&id) else { return };
        let mut jobs: Vec<_> = worker.jobs.into_iter().map(|(job, slot)| (job, slot.attempt)).collect();
        jobs.sort_unstable();
        for (job, attempt) in jobs {
            self.attempt_lost(id, (job, attempt), loss.clone(), now);
        }
        if !self.fleet.has(worker.hello.kind, &worker.hello.engine) {
            self.rehome(worker.hello.kind, &worker.hello.engine, now);
        }
    }

    /// The last worker of a kind and engine is gone: whoever comes next may have another engine, so what waits
    /// for this one chooses again.
    fn rehome(&mut self, kind: WorkerKind, engine: &EngineId, now: Moment) {
        let mut homeless: Vec<RequestId> = Vec::new();
        for (id, r) in &self.requests {
            let decides = match r.work {
                Work::Execute(_) => WorkerKind::Execute,
                Work::Precheck | Work::HeadsUp => WorkerKind::Prepare,
            };
            let waits = matches!(r.stage, Stage::WaitingForArtifact { .. } | Stage::Queued { .. });
            if decides == kind && waits && r.artifact.as_ref().is_some_and(|a| a.engine == *engine) {
                homeless.push(*id);
            }
        }
        homeless.sort_unstable();
        for id in homeless {
            self.withdraw_from_stage(id, now);
            if let Some(r) = self.requests.get_mut(&id) {
                r.stage = Stage::WaitingForFleet { since: now };
            }
            self.choose_engine(id, now);
        }
    }
}
