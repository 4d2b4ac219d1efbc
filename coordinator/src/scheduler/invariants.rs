//! What must hold after every event. Tests and the simulation sweep it; a release does not.

use super::{
    Scheduler,
    artifacts::{State, Waiter},
    chores::Chore,
    executions::{Stage, tag},
    fleet::Indexed,
    requests::Wants,
};
use pvf_shared::{ids::RequestId, wire::WorkerKind};
use std::collections::HashSet;

impl Scheduler {
    /// Panics if the scheduler's parts contradict each other.
    #[doc(hidden)]
    pub fn assert_invariants(&self) {
        self.check_requests();
        self.check_executions();
        self.check_artifacts();
        self.check_fleet();
        let timers = self.fleet.workers.len() + self.clients.len() + 1;
        assert!(self.timers.len() <= timers, "{} timers for {timers} things", self.timers.len());
        assert!(self.timers.len() > self.fleet.workers.len(), "a timer is missing");
        assert_eq!(self.deadlines.len(), self.requests.len(), "deadlines and requests do not agree");
    }

    fn check_requests(&self) {
        let mut answers = HashSet::<&RequestId>::new();
        for chore in &self.chores {
            if let Chore::Answer(requests, _) = chore {
                answers.extend(requests);
            }
        }
        for (id, request) in self.requests.iter() {
            match &request.wants {
                Wants::Execution(job, _) => {
                    let waits = self.executions.get(job).is_some_and(|e| e.waiters.contains(id));
                    assert!(waits || answers.contains(id), "{id:?} waits for nothing");
                }
                Wants::Preparation(errand) => {
                    let waiter = Waiter::Preparation(*id);
                    let artifact = errand.artifact.and_then(|key| self.artifacts.get(key));
                    let waits = artifact.is_some_and(|a| a.waiters.contains(&waiter));
                    assert!(waits || self.homeless.contains(&waiter), "{id:?} waits for nothing");
                }
            }
        }
        assert_eq!(self.clients.requests(), self.requests.len() as u64, "requests are not counted right");
    }

    fn check_executions(&self) {
        let mut queued = 0;
        let mut bytes = 0;
        for (job, execution) in self.executions.iter() {
            bytes += execution.bytes;
            assert!(!execution.waiters.is_empty(), "{job} is for nobody");
            for waiter in &execution.waiters {
                let wants = self.requests.get(waiter).map(|r| &r.wants);
                assert!(matches!(wants, Some(Wants::Execution(j, _)) if *j == job), "{job}: {waiter:?} does not know");
            }
            if execution.shared {
                assert_eq!(self.identities.get(&tag(&execution.identity)), Some(&job), "{job} cannot be found");
            }
            let artifact = execution.errand.artifact.and_then(|key| self.artifacts.get(key));
            match &execution.stage {
                Stage::Homeless => assert!(self.homeless.contains(&Waiter::Execution(job)), "{job} is nowhere"),
                Stage::Waiting => {
                    let waits = artifact.is_some_and(|a| a.waiters.contains(&Waiter::Execution(job)));
                    assert!(waits, "{job} waits for an artifact that does not know");
                }
                Stage::Queued(_) => {
                    queued += 1;
                    assert!(artifact.is_some_and(|a| a.users > 0), "{job} is queued for an artifact that may go");
                }
                Stage::Running { worker, attempt } => {
                    let worker = self.fleet.workers.get(worker);
                    let there = worker.is_some_and(|w| w.jobs.iter().any(|s| (s.job, s.attempt) == (job, *attempt)));
                    assert!(there, "{job} runs where it has no slot");
                    assert!(artifact.is_some_and(|a| a.users > 0), "{job} runs on an artifact that may go");
                }
            }
        }
        assert_eq!(self.execute_queue.depths().iter().sum::<u64>(), queued, "the execute queue has other jobs");
        assert_eq!(self.clients.bytes(), bytes, "bytes are not counted right");
        let shared = self.executions.iter().filter(|(_, e)| e.shared).count();
        assert_eq!(self.identities.len(), shared, "an identity too many");
    }

    fn check_artifacts(&self) {
        let mut users = std::collections::HashMap::new();
        for (_, execution) in self.executions.iter() {
            if matches!(execution.stage, Stage::Queued(_) | Stage::Running { .. }) {
                *users.entry(execution.errand.artifact).or_insert(0) += 1;
            }
        }
        for (key, artifact) in self.artifacts.iter() {
            assert_eq!(artifact.users, users.get(&Some(key)).copied().unwrap_or(0), "{key:?} has other users");
            let settled = matches!(
                artifact.state,
                State::Listed | State::Prepared(_) | State::Failed { .. } | State::Abandoned(_)
            );
            if settled && !artifact.waiters.is_empty() {
                let released = self.chores.iter().any(|chore| matches!(chore, Chore::Release(k) if *k == key));
                assert!(released, "{key:?} is waited for and nothing happens");
            }
            if let State::Preparing(job) = &artifact.state {
                assert!(self.preparations.get(job).is_some_and(|task| task.artifact == key));
            }
        }
        let mut waiting = 0;
        for (job, task) in &self.preparations {
            let state = self.artifacts.get(task.artifact).map(|a| &a.state);
            assert!(matches!(state, Some(State::Preparing(j)) if j == job), "{job} prepares what nobody needs");
            waiting += u64::from(task.turn.is_some());
            let at_worker = self.fleet.workers.iter().any(|(_, w)| w.jobs.iter().any(|s| s.job == *job));
            assert!(task.turn.is_some() || at_worker, "{job} is nowhere");
        }
        assert_eq!(self.prepare_queue.depths().iter().sum::<u64>(), waiting, "the prepare queue has other jobs");
        let programs = self.executions.len() + self.requests.len() + self.artifacts.len();
        assert!(self.programs.len() <= programs, "programs that nobody uses are kept");
    }

    fn check_fleet(&self) {
        for (id, worker) in self.fleet.workers.iter() {
            assert!(worker.jobs.len() as u32 <= worker.credit(self.fleet.ahead), "{id:?} is above its credit");
            assert_eq!(worker.indexed, worker.index(self.fleet.ahead), "{id:?} is indexed wrongly");
            let pool = self.fleet.pool(worker.hello.kind, worker.engine);
            for slot in &worker.jobs {
                if let (Some(rank), false) = (slot.rank(), slot.recalled) {
                    assert!(pool.has_waiting(rank, *id), "{} waits at {id:?} and cannot be asked back", slot.job);
                }
            }
            let running = worker.jobs.iter().filter(|slot| slot.ahead.is_none()).count() as u32;
            let waits = worker.jobs.len() as u32 > running;
            assert!(!waits || running >= worker.hello.slots, "{id:?} has a job waiting beside a free slot");
            assert!(!matches!(worker.indexed, Indexed::Free(_)) || !waits);
        }
        for engine in self.fleet.engines() {
            for kind in [WorkerKind::Prepare, WorkerKind::Execute] {
                let pool = self.fleet.pool(kind, engine);
                let all = self.fleet.workers.iter().map(|(_, w)| &**w);
                let of: Vec<_> = all.filter(|w| w.engine == engine && w.hello.kind == kind).collect();
                let slots = of.iter().flat_map(|w| &w.jobs);
                let busy = slots.clone().filter(|slot| slot.ahead.is_none()).count() as u64;
                let waiting = slots.filter(|slot| slot.ahead.is_some()).count();
                assert_eq!((pool.busy(), pool.waiting_len(), pool.len()), (busy, waiting, of.len()));
            }
        }
    }
}
