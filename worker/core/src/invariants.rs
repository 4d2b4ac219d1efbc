//! What holds between two events. Tests and the simulation check it after each.

use crate::{
    JobState,
    state::{Phase, WorkerState},
};
use pvf_proto::job::JobSpec;
use std::collections::HashSet;

impl WorkerState {
    pub(crate) fn assert_invariants(&self) {
        let (mut running, mut staged, mut queued) = (HashSet::new(), Vec::new(), Vec::new());
        let (mut runs, mut fetches) = (HashSet::new(), HashSet::new());
        for (id, job) in &self.jobs {
            assert_eq!(*id, job.dispatch.job, "a job is stored under its id");
            if let Some(run) = job.state.run() {
                assert!(runs.insert(run), "two jobs share run {run:?}");
            }
            match &job.state {
                JobState::Fetching { fetch, .. } => {
                    assert!(fetches.insert(*fetch), "two jobs share fetch {fetch:?}");
                }
                JobState::Queued { .. } => queued.push(job),
                JobState::Staged { behind, .. } => staged.push((*behind, job.dispatch.urgency)),
                JobState::Running { run, .. } => drop(running.insert(*run)),
                JobState::Finishing { .. } => {}
                JobState::Finished(report) => {
                    assert!(job.answer.is_none(), "job {id} is reported, and the answer to its dispatch is held back");
                    assert_eq!(report.report().job, *id);
                }
                JobState::Gone => panic!("job {id} is gone and still here"),
            }
        }
        assert!(running.len() <= self.slots(), "{} jobs hold one of {} slots", running.len(), self.slots());
        let predecessors: HashSet<_> = staged.iter().map(|(behind, _)| *behind).collect();
        assert_eq!(predecessors.len(), staged.len(), "two jobs are staged behind one run");
        assert!(predecessors.is_subset(&running), "a job is staged behind a run without a slot");
        assert!(staged.windows(2).all(|pair| pair[0].1 == pair[1].1), "jobs of two urgencies are staged");
        let here = fetches.len() + queued.len() + staged.len() + running.len();
        assert!(here <= self.max_jobs(), "too many jobs are here");
        let waiting = queued.len() + staged.len();
        assert!(running.len() == self.slots() || waiting == 0, "a slot is free and {waiting} jobs wait");
        let Some(first) = queued.iter().map(|job| job.dispatch.urgency).min() else { return };
        assert!(
            staged.iter().all(|(_, urgency)| *urgency <= first),
            "a job waits that is more urgent than a staged one"
        );
        let executions = queued.iter().all(|job| matches!(job.dispatch.spec, JobSpec::Execute(_)));
        let same_class = staged.iter().all(|(_, urgency)| *urgency == first);
        let all_staged = !executions || !same_class || staged.len() == running.len();
        assert!(all_staged || self.phase == Phase::Left, "a job could be staged and is not");
    }
}
