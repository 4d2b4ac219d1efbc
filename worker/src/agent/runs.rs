//! The runs that the shell has: the task of each, and what is known of its process.
//!
//! The progress of a process is looked at before each event of the core, so that the core never decides on older facts
//! than the shell can have. Facts of a run that was stopped are not reported: the run is not here any more.

use crate::supervise::{CompileMeter, JobProgress, SlotGrant, StartSignal};
use pvf_shared::wire::{Compiling, RunningJob};
use pvf_worker_core::{Event, RunId};
use std::collections::BTreeMap;
use tokio::task::AbortHandle;

/// One run.
struct Run {
    /// Ends the run: dropping the task's future kills and reaps the process.
    task: AbortHandle,
    progress: JobProgress,
    /// Starts a staged process before the one before it has ended. Used once.
    start: Option<StartSignal>,
    /// What the core knows.
    reported: Reported,
    attempt: RunningJob,
    /// How far a preparation has come.
    meter: CompileMeter,
}

/// Facts about a run that the core knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reported {
    Nothing,
    Began,
    SlotReleased,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A run that is about to be started.
pub(super) struct NewRun {
    progress: JobProgress,
    start: Option<StartSignal>,
}

/// The runs of a worker.
#[derive(Default)]
pub(super) struct Runs(BTreeMap<RunId, Run>);

impl Runs {
    /// The slot of a new run: its own, or that of the run before it when that has ended.
    pub(super) fn prepare(&self, behind: Option<RunId>) -> (SlotGrant, NewRun) {
        match behind.and_then(|behind| self.0.get(&behind)) {
            Some(before) => {
                let (grant, progress, start) = before.progress.stage_behind();
                (grant, NewRun { progress, start: Some(start) })
            }
            None => {
                let (grant, progress) = SlotGrant::immediate();
                (grant, NewRun { progress, start: None })
            }
        }
    }

    /// Adds a run that was started.
    pub(super) fn insert(
        &mut self,
        run: RunId,
        NewRun { progress, start }: NewRun,
        (attempt, meter): (RunningJob, CompileMeter),
        task: AbortHandle,
    ) {
        let reported = if start.is_some() { Reported::Nothing } else { Reported::Began };
        self.0.insert(run, Run { task, progress, start, reported, attempt, meter });
    }

    /// The preparations whose compiler has begun, and how far they have come.
    pub(super) fn compiling(&self) -> Vec<Compiling> {
        let compiling = |run: &Run| run.meter.read().map(|progress| Compiling { attempt: run.attempt, progress });
        self.0.values().filter_map(compiling).collect()
    }

    /// A staged run may begin at once.
    pub(super) fn grant_slot(&mut self, run: RunId) {
        if let Some(start) = self.0.get_mut(&run).and_then(|run| run.start.take()) {
            start.send();
        }
    }

    /// Removes a run and ends it if it has not ended; whether it was here.
    pub(super) fn remove(&mut self, run: RunId) -> bool {
        self.0.remove(&run).is_some()
    }

    /// The next fact that the core does not know. A run's slot is released at most once.
    pub(super) fn next_fact(&mut self) -> Option<Event> {
        self.0.iter_mut().find_map(|(id, run)| {
            // In this order: a run that failed before it had a process counts as begun when it is over.
            let begun = run.progress.has_started();
            let over = run.progress.has_ended();
            let fact = match (begun, over) {
                (_, true) => Reported::SlotReleased,
                (true, false) => Reported::Began,
                (false, false) => Reported::Nothing,
            };
            if fact <= run.reported {
                return None;
            }
            run.reported = fact;
            Some(if over { Event::SlotReleased { run: *id } } else { Event::Began { run: *id } })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::ids::{FencingToken, JobId};

    fn no_preparation() -> (RunningJob, CompileMeter) {
        let attempt = RunningJob { token: FencingToken(1), job: JobId(1), attempt: 1 };
        (attempt, CompileMeter::default())
    }

    fn add(runs: &mut Runs, run: u64, behind: Option<u64>) -> SlotGrant {
        let (grant, new) = runs.prepare(behind.map(RunId));
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        runs.insert(RunId(run), new, no_preparation(), task);
        grant
    }

    #[tokio::test]
    async fn each_fact_is_reported_once() {
        let mut runs = Runs::default();
        let first = add(&mut runs, 1, None);
        let second = add(&mut runs, 2, Some(1));
        assert_eq!(runs.next_fact(), None);
        drop(first);
        assert_eq!(runs.next_fact(), Some(Event::SlotReleased { run: RunId(1) }));
        assert_eq!(runs.next_fact(), None);
        // It failed before it began: that is not a beginning.
        drop(second);
        assert_eq!(runs.next_fact(), Some(Event::SlotReleased { run: RunId(2) }));
        assert_eq!(runs.next_fact(), None);
    }

    #[tokio::test]
    async fn a_run_that_was_removed_is_ended_and_has_no_facts() {
        let mut runs = Runs::default();
        let (grant, new) = runs.prepare(None);
        let task = tokio::spawn(async move {
            let _turn = grant;
            std::future::pending::<()>().await
        });
        runs.insert(RunId(1), new, no_preparation(), task.abort_handle());
        assert!(runs.remove(RunId(1)) && !runs.remove(RunId(1)));
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(runs.next_fact(), None);
    }
}
