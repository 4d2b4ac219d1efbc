//! What workers say about themselves, and what their silence says.

use super::{Answer, Moment, Scheduler, chores::Chore, results::Loss, timers::Timer};
use pvf_shared::{
    ids::WorkerId,
    subjects::Subject,
    wire::{Heartbeat, Holding, WorkerHello, WorkerKind, WorkerReply},
};
use std::collections::HashSet;

/// Most slots that one worker may claim.
const MAX_SLOTS: u32 = 1024;
/// Most artifacts that one hello or heartbeat may speak of.
const MAX_HOLDINGS: usize = 512;
/// Most workers.
const MAX_WORKERS: usize = 100_000;

impl Scheduler {
    pub(super) fn on_hello(&mut self, hello: WorkerHello, reply: Option<Subject>, now: Moment) {
        let refusal = if hello.slots == 0 || hello.slots > MAX_SLOTS {
            Some(format!("slots: {} is outside 1..={MAX_SLOTS}", hello.slots))
        } else if self.fleet.workers.len() >= MAX_WORKERS {
            Some(format!("this fleet has {MAX_WORKERS} workers already"))
        } else {
            None
        };
        if let Some(why) = refusal {
            self.reply(reply, Answer::Worker(WorkerReply::Refused(why)));
            return;
        }
        let id = hello.worker;
        self.reply(reply, Answer::Worker(WorkerReply::Welcome { token: self.config.token }));
        let holds: Vec<_> = hello.holds.iter().take(MAX_HOLDINGS).cloned().collect();
        if self.fleet.workers.contains_key(&id) {
            // It says hello again because it missed our answer; it may have jobs.
            self.heard_of(id, now);
        } else {
            let silence = now.after(self.config.timing.worker_silence);
            self.timers.set(Timer::Silence(id), silence);
            self.fleet.add(hello, now, silence);
        }
        for holding in holds {
            self.note_holding(id, &holding);
        }
        if !self.homeless.is_empty() {
            self.chores.push_back(Chore::House);
        }
        self.rehome_stranded();
    }

    /// Work for engines that have no workers may have a new home.
    fn rehome_stranded(&mut self) {
        for engine in self.fleet.engines() {
            let stranded = |kind| self.fleet.pool(kind, engine).is_empty();
            if stranded(WorkerKind::Execute) && self.execute_queue.len(engine) > 0
                || stranded(WorkerKind::Prepare) && !self.prepare_queue.is_empty(engine)
            {
                self.chores.push_back(Chore::Rehome(engine));
            }
        }
    }

    /// A worker is alive: it may get jobs, and its silence counts from now.
    fn heard_of(&mut self, id: WorkerId, now: Moment) {
        let Some(worker) = self.fleet.workers.get_mut(&id) else { return };
        // Its timer stays as it is: when it goes off it sees that this was heard.
        worker.heard = now;
        if std::mem::take(&mut worker.suspect) {
            self.fleet.reindex(id);
        }
    }

    fn note_holding(&mut self, id: WorkerId, holding: &Holding) {
        match holding {
            Holding::Warm(artifact) | Holding::OnDisk(artifact) => {
                if let Some(key) = self.artifact_key(artifact) {
                    self.note_held(key, id, matches!(holding, Holding::Warm(_)));
                }
            }
            Holding::Gone(artifact) => self.note_not_held(artifact, id),
        }
    }

    pub(super) fn on_heartbeat(&mut self, heartbeat: Heartbeat, reply: Option<Subject>, now: Moment) {
        let id = heartbeat.worker;
        let Some(worker) = self.fleet.workers.get_mut(&id) else {
            self.reply(reply, Answer::Worker(WorkerReply::SayHello));
            return;
        };
        let drains = std::mem::replace(&mut worker.draining, heartbeat.draining) != heartbeat.draining;
        // It took the job a while ago and has neither it nor an unacknowledged report: it lost it.
        let grace = self.config.timing.heartbeat * 2 + self.config.timing.ack;
        let mut lost = Vec::new();
        if worker.jobs.iter().any(|slot| slot.taken.is_some_and(|at| now.since(at) > grace)) {
            let ours = heartbeat.running.iter().filter(|r| r.token == self.config.token);
            let has: HashSet<_> = ours.map(|r| (r.job, r.attempt)).collect();
            let gone = worker.jobs.iter().filter(|slot| {
                slot.taken.is_some_and(|at| now.since(at) > grace) && !has.contains(&(slot.job, slot.attempt))
            });
            lost.extend(gone.map(|slot| (slot.job, slot.attempt)));
            lost.sort_unstable();
        }
        let from = (id, if lost.is_empty() { String::new() } else { worker.hello.host.clone() });
        self.heard_of(id, now);
        if drains {
            self.fleet.reindex(id);
        }
        self.reply(reply, Answer::Worker(WorkerReply::Ack));
        for holding in heartbeat.holdings.iter().take(MAX_HOLDINGS) {
            self.note_holding(id, holding);
        }
        for (job, attempt) in lost {
            self.fleet.vacate(id, job, attempt);
            self.attempt_lost(from.clone(), (job, attempt), Loss::GivenBack("worker lost the job".into()), now);
        }
    }

    pub(super) fn on_goodbye(&mut self, worker: WorkerId, reply: Option<Subject>, now: Moment) {
        self.reply(reply, Answer::Worker(WorkerReply::Ack));
        self.remove_worker(worker, &Loss::GivenBack("worker said goodbye".into()), now);
    }

    /// A silence timer ran out. The worker is lost only if our own link was up all the while.
    pub(super) fn on_silence(&mut self, id: WorkerId, now: Moment) {
        let silence = self.config.timing.worker_silence;
        let Some(worker) = self.fleet.workers.get_mut(&id) else { return };
        let since = worker.heard.max(self.link_up_since.unwrap_or(now));
        if now.since(since) >= silence {
            self.remove_worker(id, &Loss::WorkerDied, now);
        } else {
            worker.silence = since.after(silence);
            self.timers.set(Timer::Silence(id), worker.silence);
        }
    }

    fn remove_worker(&mut self, id: WorkerId, loss: &Loss, now: Moment) {
        let Some(worker) = self.fleet.remove(id) else { return };
        self.timers.clear(Timer::Silence(id), worker.silence);
        let from = (id, worker.hello.host.clone());
        let mut jobs = worker.jobs;
        jobs.sort_unstable_by_key(|slot| slot.job);
        for slot in jobs {
            let loss = match (slot.ahead, loss) {
                (None, loss) => loss.clone(),
                (Some(_), Loss::WorkerDied) => Loss::PerhapsBegun,
                (Some(_), _) => Loss::NotBegun,
            };
            self.attempt_lost(from.clone(), (slot.job, slot.attempt), loss, now);
        }
        self.rehome_stranded();
    }
}
