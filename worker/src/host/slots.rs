//! Who has a worker's slots, and who comes next. A job that waits is given to a process of its own already, behind a
//! job that runs: it begins when that one ends, without the worker. Of several urgencies only the most urgent one waits
//! like that, so that whichever slot is free first is its.

use super::{
    desk::{Desk, key_of},
    jobs,
    link::{Key, Run},
};
use crate::supervise::{Go, Progress, Turn};
use pvf_shared::{
    ids::{Attempt, FencingToken, JobId},
    job::JobSpec,
    subjects::Subject,
    wire::{Dispatch, JobReport},
};
use std::sync::Arc;
use tokio::task::AbortHandle;

/// A job that a worker has: running, about to, or its report is not acknowledged.
pub(super) struct Running {
    pub(super) token: FencingToken,
    pub(super) attempt: Attempt,
    /// Where its dispatch waits for an answer still.
    pub(super) answer: Option<Subject>,
    /// How it ended; only the report is under way.
    pub(super) report: Option<Box<JobReport>>,
    /// Does the job, or repeats the report.
    pub(super) task: Option<AbortHandle>,
    /// Which run of the attempt this is.
    run: u64,
    /// Whether it has a process, or had one; others come behind it.
    progress: Progress,
    /// It has not begun: it begins behind another one.
    behind: Option<Behind>,
    /// Those that began or got their place earlier have a lower number.
    began: u64,
}

/// What a job waits for that has a process.
struct Behind {
    before: Key,
    go: Go,
    dispatch: Arc<Dispatch>,
}

impl Running {
    /// Whether it is this attempt of its job. Another coordinator may have given the same numbers to another job.
    pub(super) fn is(&self, (token, _, attempt): Key) -> bool {
        (self.token, self.attempt) == (token, attempt)
    }

    /// Whether it is this run of its attempt.
    pub(super) fn is_run(&self, run: Run) -> bool {
        self.run == run.number
    }

    fn has_slot(&self) -> bool {
        self.behind.is_none() && !self.progress.is_over()
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Running {
    /// Ends what of it still runs: dropping a job's future kills its process.
    fn drop(&mut self) {
        self.stop();
    }
}

/// A dispatch that waits for a slot.
pub(super) struct Waiting {
    pub(super) dispatch: Arc<Dispatch>,
    /// Where it waits for an answer still.
    pub(super) answer: Option<Subject>,
}

impl Desk {
    fn has_free_slot(&self) -> bool {
        self.running.values().filter(|r| r.has_slot()).count() < self.worker.config.slots as usize
    }

    /// Jobs that wait, in whatever way.
    pub(super) fn not_begun(&self) -> usize {
        self.waiting.len() + self.behind().count()
    }

    /// Jobs that wait behind others, with their urgency.
    fn behind(&self) -> impl Iterator<Item = (u8, JobId)> {
        self.running.iter().filter_map(|(job, r)| Some((r.behind.as_ref()?.dispatch.urgency, *job)))
    }

    /// Comes to those that wait, behind those that are as urgent.
    pub(super) fn await_slot(&mut self, waiting: Waiting) {
        let at = self.waiting.partition_point(|w| w.dispatch.urgency <= waiting.dispatch.urgency);
        self.waiting.insert(at, waiting);
    }

    /// A job that has not begun does not wait any more; whether there was one.
    pub(super) fn take_back(&mut self, key: Key) -> bool {
        self.see_who_began();
        if self.running.get(&key.1).is_some_and(|r| r.is(key) && r.behind.is_some()) {
            self.running.remove(&key.1);
            self.fill_slots();
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|w| key_of(&w.dispatch) != key);
        self.waiting.len() < before
    }

    /// Who can begin begins, and who is next gets its place. To be called when a slot became free and when somebody
    /// came or went.
    pub(super) fn fill_slots(&mut self) {
        self.see_who_began();
        while self.has_free_slot() {
            let behind = self.behind().min();
            let first = self.waiting.first().map(|w| w.dispatch.urgency);
            match (behind, first) {
                (Some((urgency, job)), first) if first.is_none_or(|first| urgency <= first) => self.let_go(job),
                (_, Some(_)) => {
                    let waiting = self.waiting.remove(0);
                    self.start(waiting, None);
                }
                (_, None) => break,
            }
        }
        let Some(first) = self.waiting.first().map(|w| w.dispatch.urgency) else { return };
        let mut less_urgent: Vec<_> =
            self.behind().filter(|(urgency, _)| *urgency > first).map(|(_, job)| job).collect();
        less_urgent.sort_by_key(|job| self.running.get(job).map(|r| r.began));
        while let Some(last) = less_urgent.pop() {
            self.displace(last);
        }
        while let Some(first) = self.waiting.first()
            && matches!(first.dispatch.spec, JobSpec::Execute(_))
            && self.behind().all(|(urgency, _)| urgency == first.dispatch.urgency)
            && let Some(before) = self.next_to_end()
        {
            let waiting = self.waiting.remove(0);
            self.start(waiting, Some(before));
        }
    }

    /// Jobs behind one that ended or is gone have begun, whether they know it yet or not.
    fn see_who_began(&mut self) {
        let has_slot = |key: Key| self.running.get(&key.1).is_some_and(|r| r.is(key) && r.has_slot());
        let without_a_word = |r: &Running, behind: &Behind| r.progress.has_begun() || !has_slot(behind.before);
        let began = |r: &Running| r.behind.as_ref().is_some_and(|behind| without_a_word(r, behind));
        let began: Vec<_> = self.running.iter().filter(|(_, r)| began(r)).map(|(job, _)| *job).collect();
        for job in began {
            self.note_begun(job);
        }
    }

    fn note_begun(&mut self, job: JobId) -> Option<Behind> {
        let running = self.running.get_mut(&job)?;
        self.counter += 1;
        running.began = self.counter;
        running.behind.take()
    }

    /// It has a slot before the one that it waits behind ends.
    fn let_go(&mut self, job: JobId) {
        if let Some(behind) = self.note_begun(job) {
            behind.go.go();
        }
    }

    /// Somebody else is to be next: its process goes, and it waits as it did before it had one.
    fn displace(&mut self, job: JobId) {
        let Some(mut running) = self.running.remove(&job) else { return };
        running.stop();
        if let Some(Behind { dispatch, .. }) = running.behind.take() {
            let at = self.waiting.partition_point(|w| w.dispatch.urgency < dispatch.urgency);
            self.waiting.insert(at, Waiting { dispatch, answer: running.answer.take() });
        }
    }

    /// The job that has had its slot for the longest time, and nobody behind it.
    fn next_to_end(&self) -> Option<Key> {
        let taken = |key: Key| self.running.values().any(|r| r.behind.as_ref().is_some_and(|b| b.before == key));
        let running = self.running.iter().filter(|(_, r)| r.has_slot());
        let keys = running.map(|(job, r)| (r.began, (r.token, *job, r.attempt))).filter(|(_, key)| !taken(*key));
        keys.min_by_key(|(began, _)| *began).map(|(_, key)| key)
    }

    fn start(&mut self, Waiting { dispatch, answer }: Waiting, before: Option<Key>) {
        let (token, job, attempt) = key_of(&dispatch);
        let turn = before.and_then(|before| Some((before, self.running.get(&before.1)?.progress.behind())));
        let (turn, progress, behind) = match turn {
            Some((before, (turn, progress, go))) => {
                (turn, progress, Some(Behind { before, go, dispatch: dispatch.clone() }))
            }
            None => {
                let (turn, progress) = Turn::now();
                (turn, progress, None)
            }
        };
        self.counter += 1;
        let (run, began) = (self.counter, self.counter);
        let this = (self.worker.id, Run { key: (token, job, attempt), number: run });
        let work = jobs::work(self.worker.jobs.clone(), self.link.clone(), this, dispatch, turn);
        let task = Some(tokio::spawn(work).abort_handle());
        let report = None;
        let running = Running { token, attempt, answer, report, task, run, progress, behind, began };
        self.running.insert(job, running);
    }
}
