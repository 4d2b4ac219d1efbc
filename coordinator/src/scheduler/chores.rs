//! Work that may be long: done in small pieces after each event, so that no event waits for all of it.

use super::{
    Effect, Moment, Scheduler,
    artifacts::{ArtifactKey, State, Waiter},
    clients::ClientKey,
    fleet::EngineKey,
    prepare_queue::Turn,
    requests::Ending,
    timers::Timer,
};
use pvf_shared::{ids::RequestId, verdict::Outcome, wire::WorkerKind};

/// Pieces of work after one event.
const PIECES: usize = 48;

/// Work that may be long.
#[derive(Debug)]
pub(super) enum Chore {
    /// Everybody who waits for this artifact goes on, or is told that it cannot be made.
    Release(ArtifactKey),
    /// The requests of this leaf are answered: nobody wants their work any more.
    Orphans(ClientKey, [u8; 32]),
    /// These get their verdict.
    Answer(Vec<RequestId>, Box<Ending>),
    /// Whoever waits for a fleet looks whether there is one now.
    House,
    /// The queues of an engine without workers: another engine may do their work.
    Rehome(EngineKey),
    /// Artifacts that nobody needs are dropped, from this one on.
    Prune(Option<(Moment, ArtifactKey)>),
}

impl Scheduler {
    /// Does some of what is to be done.
    pub(super) fn do_chores(&mut self, now: Moment) {
        let mut pieces = PIECES;
        while pieces > 0
            && let Some(chore) = self.chores.pop_front()
        {
            let share = pieces.min(PIECES / 2);
            pieces -= share;
            if let Some(rest) = self.do_some(chore, share, now) {
                // Behind the others: none waits for the whole of another.
                self.chores.push_back(rest);
            }
        }
    }

    /// Does some of a chore; gives what is left of it.
    fn do_some(&mut self, chore: Chore, pieces: usize, now: Moment) -> Option<Chore> {
        match chore {
            Chore::Release(key) => self.release_some(key, pieces, now).then_some(Chore::Release(key)),
            Chore::Orphans(client, leaf) => {
                self.drop_orphans(client, leaf, pieces, now).then_some(Chore::Orphans(client, leaf))
            }
            Chore::Answer(mut requests, ending) => {
                for _ in 0..pieces {
                    let request = requests.pop()?;
                    self.answer(request, &ending, now);
                }
                Some(Chore::Answer(requests, ending))
            }
            Chore::House => self.house_some(pieces, now).then_some(Chore::House),
            Chore::Rehome(engine) => self.rehome_some(engine, pieces, now).then_some(Chore::Rehome(engine)),
            Chore::Prune(after) => self.prune_some(after, pieces, now).map(|after| Chore::Prune(Some(after))),
        }
    }

    fn drop_orphans(&mut self, client: ClientKey, leaf: [u8; 32], pieces: usize, now: Moment) -> bool {
        for _ in 0..pieces {
            let Some((id, entry)) = self.clients.next_orphan(client, &leaf) else { return false };
            let there = self.requests.get(&id).is_some_and(|r| r.client == client && r.leaf == Some(entry));
            // What runs already may end; should it come back, it is not dispatched again.
            if there && !self.is_running(id) {
                self.end_request(id, Some(Outcome::ExecutionDeadline), now);
            }
        }
        true
    }

    fn house_some(&mut self, pieces: usize, now: Moment) -> bool {
        for _ in 0..pieces {
            let Some(waiter) = self.homeless.first().copied() else { return false };
            let kind = match waiter {
                Waiter::Execution(_) => WorkerKind::Execute,
                Waiter::Preparation(_) => WorkerKind::Prepare,
            };
            if self.fleet.totals(kind).0 == 0 {
                // The other kind may have come: those sort behind or before, as a whole.
                let other = self.homeless.iter().next_back().copied();
                match (waiter, other) {
                    (Waiter::Execution(_), Some(other @ Waiter::Preparation(_)))
                        if self.fleet.totals(WorkerKind::Prepare).0 > 0 =>
                    {
                        self.house(other, now);
                        continue;
                    }
                    _ => return false,
                }
            }
            self.house(waiter, now);
        }
        true
    }

    fn house(&mut self, waiter: Waiter, now: Moment) {
        self.homeless.remove(&waiter);
        match waiter {
            Waiter::Execution(job) => {
                if let Some(execution) = self.executions.get_mut(&job) {
                    execution.errand.timings.queued += now.since(execution.errand.since);
                    execution.errand.since = now;
                }
                self.house_execution(job, now);
            }
            Waiter::Preparation(request) => self.house_preparation(request, now),
        }
    }

    /// Whether another engine than this has workers of a kind.
    fn other_engine(&self, kind: WorkerKind, engine: EngineKey) -> bool {
        self.fleet.engines().any(|other| other != engine && !self.fleet.pool(kind, other).is_empty())
    }

    /// Work for an engine that has no workers (left) looks for another.
    fn rehome_some(&mut self, engine: EngineKey, pieces: usize, now: Moment) -> bool {
        let stranded = |s: &Self, kind| s.fleet.pool(kind, engine).is_empty() && s.other_engine(kind, engine);
        for _ in 0..pieces {
            if stranded(self, WorkerKind::Execute)
                && let Some(job) = self.execute_queue.any(engine)
            {
                self.withdraw_execution(job, now);
                self.house_execution(job, now);
            } else if stranded(self, WorkerKind::Prepare)
                && self.other_engine(WorkerKind::Execute, engine)
                && let Some(Turn { place: (_, job), .. }) =
                    self.prepare_queue.first(engine, 1, now, None).first().copied()
            {
                self.rehome_preparation(job, now);
            } else {
                return false;
            }
        }
        true
    }

    /// Whoever waits for this preparation chooses again; all at once, for they are one bundle.
    fn rehome_preparation(&mut self, job: pvf_shared::ids::JobId, now: Moment) {
        let Some(task) = self.preparations.remove(&job) else { return };
        let Some(artifact) = self.artifacts.get_mut(task.artifact) else { return };
        let (engine, waiters) = (artifact.engine, std::mem::take(&mut artifact.waiters));
        artifact.state = State::Listed;
        if let Some(turn) = task.turn {
            self.prepare_queue.remove(engine, turn);
        }
        for waiter in waiters {
            self.house(waiter, now);
        }
    }

    /// The interval has passed: the store learns what was needed when, and pruning begins.
    pub(super) fn on_prune(&mut self, now: Moment) {
        self.timers.set(Timer::Prune, now.after(self.config.policy.prune_interval));
        let needed = self
            .artifacts
            .least_needed(None)
            .filter_map(|(at, key)| self.artifacts.get(key).map(|artifact| (artifact.id.clone(), now.since(at))));
        self.effects.push_back(Effect::SaveNeeded { idle: needed.collect() });
        self.chores.push_back(Chore::Prune(None));
    }

    /// Looks at some artifacts; gives where to go on.
    fn prune_some(
        &mut self,
        mut after: Option<(Moment, ArtifactKey)>,
        pieces: usize,
        now: Moment,
    ) -> Option<(Moment, ArtifactKey)> {
        if !self.homeless.is_empty() {
            // Nobody can say yet which artifacts they will need.
            return None;
        }
        let candidates: Vec<_> = self.artifacts.least_needed(after).take(pieces).collect();
        let policy = &self.config.policy;
        let (above, min_age, ttl) = (policy.prune_above, policy.prune_min_age, policy.artifact_ttl);
        for (at, key) in &candidates {
            after = Some((*at, *key));
            let Some(artifact) = self.artifacts.get(*key) else { continue };
            if artifact.age(now) < min_age {
                return None;
            }
            let expired = artifact.age(now) > ttl;
            if artifact.is_idle() && (expired || self.artifacts.bytes() > above) {
                self.counts.artifacts_pruned += 1;
                self.drop_artifact(*key);
            }
        }
        if candidates.len() < pieces { None } else { after }
    }
}
