//! Which job gets a slot, which job is staged behind which, and what the processes' facts mean for that.
//!
//! `next_step` only selects, `take_step` only mutates; `fill_slots` repeats both until nothing is left to do. Every
//! event that frees a slot or changes who waits ends with it.

use crate::{Action, AttemptKey, FetchId, JobEvent, JobState, Notice, RunId, state::WorkerState};
use pvf_proto::{ids::JobId, job::JobSpec};

/// One change of who has what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A queued job gets a free slot.
    Start(JobId),
    /// A staged job gets a free slot.
    Grant(JobId),
    /// A staged job gives way to a more urgent one.
    Displace(JobId),
    /// A queued job is staged behind this run.
    Stage(JobId, RunId),
}

/// The jobs by what they have.
#[derive(Default)]
struct Overview {
    /// The most urgent queued job: urgency, place, id.
    first: Option<(u8, i64, JobId)>,
    /// Urgency, id, run, and the run before it.
    staged: Vec<(u8, JobId, RunId, RunId)>,
    /// When each got its slot, and its run.
    running: Vec<(u64, RunId)>,
}

impl WorkerState {
    fn overview(&self) -> Overview {
        let mut overview = Overview::default();
        for (id, job) in &self.jobs {
            let urgency = job.dispatch.urgency;
            match job.state {
                JobState::Queued { place } => {
                    let this = (urgency, place, *id);
                    overview.first = Some(overview.first.map_or(this, |first| first.min(this)));
                }
                JobState::Staged { run, behind } => overview.staged.push((urgency, *id, run, behind)),
                JobState::Running { run, order } => overview.running.push((order, run)),
                JobState::Fetching { .. } | JobState::Finishing { .. } | JobState::Finished(_) | JobState::Gone => {}
            }
        }
        overview
    }

    fn next_step(&self) -> Option<Step> {
        let Overview { first, staged, running } = self.overview();
        if running.len() < self.slots() {
            let next = staged.iter().map(|(urgency, job, ..)| (*urgency, *job)).min();
            return match (next, first) {
                (Some((urgency, job)), first) if first.is_none_or(|(first, ..)| urgency <= first) => {
                    Some(Step::Grant(job))
                }
                (_, first) => first.map(|(.., job)| Step::Start(job)),
            };
        }
        let (urgency, _, job) = first?;
        // The one that was staged last goes first, so that they are queued in the order in which they were.
        let last = staged.iter().filter(|(other, ..)| *other > urgency).max_by_key(|(_, _, run, _)| *run);
        if let Some((_, job, ..)) = last {
            return Some(Step::Displace(*job));
        }
        let is_execution = self.jobs.get(&job).is_some_and(|job| matches!(job.dispatch.spec, JobSpec::Execute(_)));
        if !is_execution || staged.iter().any(|(other, ..)| *other != urgency) {
            return None;
        }
        let has_successor = |run: &RunId| staged.iter().any(|(.., behind)| behind == run);
        let next_to_end = running.iter().filter(|(_, run)| !has_successor(run)).min()?;
        Some(Step::Stage(job, next_to_end.1))
    }

    fn take_step(&mut self, step: Step) -> bool {
        match step {
            Step::Start(job) => self.start(job, None),
            Step::Stage(job, behind) => self.start(job, Some(behind)),
            Step::Grant(job) => {
                let run = self.jobs.get(&job).and_then(|job| job.state.run());
                let granted = self.grant(job);
                if let (true, Some(run)) = (granted, run) {
                    self.push(Action::GrantSlot { run });
                }
                granted
            }
            Step::Displace(job) => self.displace(job),
        }
    }

    /// Gives away free slots and staging places. To be called after every change of who holds a slot or waits.
    pub(crate) fn fill_slots(&mut self) {
        while let Some(step) = self.next_step() {
            if !self.take_step(step) {
                break;
            }
        }
    }

    fn start(&mut self, id: JobId, behind: Option<RunId>) -> bool {
        let run = self.next_run();
        let event = match behind {
            Some(behind) => JobEvent::Staged { run, behind },
            None => JobEvent::Started { run, order: self.next_order() },
        };
        if !self.apply(id, event) {
            return false;
        }
        if let Some(job) = self.jobs.get(&id) {
            let dispatch = job.dispatch.clone();
            self.push(Action::Start { run, dispatch, behind });
        }
        true
    }

    fn grant(&mut self, id: JobId) -> bool {
        let order = self.next_order();
        self.apply(id, JobEvent::SlotGranted { order })
    }

    fn displace(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let (run, attempt) = (job.state.run(), AttemptKey::from(&*job.dispatch));
        let place = self.place_in_front();
        if !self.apply(id, JobEvent::Displaced { place }) {
            return false;
        }
        if let Some(run) = run {
            self.push(Action::Stop { run });
        }
        self.notice(Notice::JobDisplaced { attempt });
        true
    }

    /// The run has no slot any more: the job that is staged behind it has it. Its process begins by itself.
    fn pass_on(&mut self, ended: RunId) {
        let successor =
            self.jobs.iter().find(|(_, job)| matches!(job.state, JobState::Staged { behind, .. } if behind == ended));
        if let Some(id) = successor.map(|(id, _)| *id) {
            self.grant(id);
        }
    }

    /// The process of a staged run has begun.
    pub(crate) fn on_began(&mut self, run: RunId) {
        let Some(id) = self.find_run(run) else { return self.unknown_run("began", run) };
        // With a slot it was bound to begin, and may have ended since.
        if let Some(JobState::Staged { behind, .. }) = self.jobs.get(&id).map(|job| &job.state) {
            // The kernel passed the slot on: one process has ended, the other has begun.
            let behind = *behind;
            self.release(behind);
            self.fill_slots();
        }
    }

    /// A run needs no slot any more.
    pub(crate) fn on_slot_released(&mut self, run: RunId) {
        self.release(run);
        self.fill_slots();
    }

    /// As [`WorkerState::on_slot_released`]; the caller fills the slot.
    pub(crate) fn release(&mut self, run: RunId) {
        let Some(id) = self.find_run(run) else { return self.unknown_run("released its slot", run) };
        if self.apply(id, JobEvent::SlotReleased) {
            self.pass_on(run);
        }
    }

    /// Ends a job wherever it is. The caller fills the slot that may be free now.
    pub(crate) fn withdraw(&mut self, id: JobId) {
        let Some(state) = self.jobs.get(&id).map(|job| &job.state) else { return };
        let (run, fetch) = (state.run(), state.fetch());
        if !self.apply(id, JobEvent::Withdrawn) {
            return;
        }
        if let Some(fetch) = fetch {
            self.push(Action::StopFetch { fetch });
        }
        if let Some(run) = run {
            self.push(Action::Stop { run });
            self.pass_on(run);
        }
    }

    /// What a job needs is here: it is queued.
    pub(crate) fn on_fetched(&mut self, fetch: FetchId) {
        let Some(id) = self.find_fetch(fetch) else { return self.unknown_fetch("is done", fetch) };
        if self.apply(id, JobEvent::Fetched) {
            self.fill_slots();
        }
    }

    pub(crate) fn unknown_fetch(&mut self, what: &str, fetch: FetchId) {
        self.inconsistent(format!("fetch {} {what}, but no job has it", fetch.0));
    }

    pub(crate) fn unknown_run(&mut self, what: &str, run: RunId) {
        self.inconsistent(format!("run {} {what}, but no job has it", run.0));
    }
}
