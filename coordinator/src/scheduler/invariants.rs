//! What must hold after every event. Tests sweep it; a release does not.

use super::{Scheduler, Stage, artifacts::State, dispatch::Job};

impl Scheduler {
    /// Panics if the scheduler's parts contradict each other.
    #[doc(hidden)]
    pub fn assert_invariants(&self) {
        for (id, r) in &self.requests {
            match &r.stage {
                Stage::WaitingForFleet { .. } => {
                    assert!(self.waiting_for_fleet.contains(id), "{id:?} waits for the fleet, which does not know");
                }
                Stage::WaitingForArtifact { .. } => {
                    let artifact = r.artifact.as_ref().and_then(|a| self.artifacts.get(a));
                    let artifact = artifact.unwrap_or_else(|| panic!("{id:?} waits for an artifact that is not known"));
                    assert!(artifact.waiters.contains(id), "{id:?} waits for an artifact that does not know");
                    let moving = !matches!(artifact.state, State::Prepared(_) | State::Failed { .. });
                    assert!(moving, "{id:?} waits for an artifact that is done");
                }
                Stage::Queued { job, .. } => {
                    assert!(self.execute_queue.contains(*job), "{id:?} is queued, but not in the queue");
                    assert!(matches!(self.jobs.get(job), Some(Job::Execute(r)) if r == id));
                }
                Stage::Executing { job, worker, attempt, .. } => {
                    let slot = self.fleet.workers.get(worker).and_then(|w| w.jobs.get(job));
                    assert_eq!(slot.map(|s| s.attempt), Some(*attempt), "{id:?} is executed where no slot is taken");
                    assert!(!self.execute_queue.contains(*job));
                }
            }
        }
        for (id, artifact) in &self.artifacts {
            for waiter in &artifact.waiters {
                let r = self.requests.get(waiter).unwrap_or_else(|| panic!("{waiter:?} is gone but waits"));
                assert!(matches!(r.stage, Stage::WaitingForArtifact { .. }) && r.artifact.as_ref() == Some(id));
            }
            if let State::Preparing(job) = &artifact.state {
                assert!(matches!(self.jobs.get(job), Some(Job::Prepare(task)) if task.artifact == *id));
            }
        }
        for (job, what) in &self.jobs {
            match what {
                Job::Prepare(task) => {
                    let state = self.artifacts.get(&task.artifact).map(|a| &a.state);
                    assert!(matches!(state, Some(State::Preparing(j)) if j == job), "{job} prepares what nobody needs");
                    let at_worker = self.fleet.workers.values().any(|w| w.jobs.contains_key(job));
                    assert!(self.prepare_queue.contains(*job) || at_worker, "{job} is nowhere");
                }
                Job::Execute(request) => assert!(self.requests.contains_key(request), "{job} executes for nobody"),
            }
        }
        for (id, worker) in &self.fleet.workers {
            assert!(worker.jobs.len() as u32 <= worker.hello.slots, "{id:?} has more jobs than slots");
        }
        assert_eq!(self.timers.len(), self.requests.len() + self.fleet.workers.len(), "a timer too many or too few");
        for job in self.prepare_queue.engines().iter().flat_map(|e| self.prepare_queue.in_order(e)) {
            assert!(matches!(self.jobs.get(&job), Some(Job::Prepare(_))), "{job} waits for a slot but is not known");
        }
    }
}
