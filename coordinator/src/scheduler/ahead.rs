//! Reading ahead. With a million requests whatever an event needs lies in memory and in no cache, and the processor
//! would wait for each piece in turn. So the shell shows the events that have come already, and what they need is
//! asked for in steps: each step asks, for all the events, for what the step before it brought the addresses of.
//! Nothing here changes or decides anything, and what is asked for in vain costs little.

use super::{
    Event, Scheduler,
    artifacts::ArtifactKey,
    executions::{Execution, tag},
    fleet::Worker,
    prefetch::{prefetch, prefetch_all},
    programs::Program,
    table::Place,
};
use pvf_shared::{
    ids::{JobId, ValidationKey},
    wire::Submission,
};
use smallvec::SmallVec;

/// So many events are read ahead for at once.
pub const READ_AHEAD: usize = 16;

/// One for each event, and some more than that.
type Each<T> = SmallVec<[T; READ_AHEAD]>;
type More<T> = SmallVec<[T; 2 * READ_AHEAD]>;

/// What the next events are about, as far as it is known.
#[derive(Default)]
struct Ahead {
    requests: More<Place>,
    identities: More<Place>,
    programs: Each<Place>,
    workers: Each<Place>,
    /// Jobs that end.
    ended: Each<JobId>,
    /// Jobs that are dispatched next, most likely into the slots that become free.
    next: More<JobId>,
    artifacts: More<ArtifactKey>,
}

impl Ahead {
    fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.ended.iter().chain(&self.next)
    }
}

impl Scheduler {
    /// Reads what the next events will need, up to [`READ_AHEAD`] of them, in the order in which they will be handled.
    /// Only speed depends on whether this is called.
    pub fn read_ahead(&self, events: &[Event]) {
        let mut ahead = Ahead::default();
        for event in events.iter().take(READ_AHEAD) {
            self.look(event, &mut ahead);
        }
        self.look_for_next(&mut ahead);
        self.fetch_entries(&ahead);
        let (programs, workers) = self.follow_entries(&ahead);
        self.follow_executions(&mut ahead);
        ahead.artifacts.extend(programs.iter().filter_map(|program| program.found_last()));
        ahead.artifacts.iter().for_each(|key| self.artifacts.look(*key));
        ahead.requests.iter().for_each(|place| self.requests.fetch(*place));
        ahead.identities.iter().for_each(|place| self.identities.fetch(*place));
        ahead.artifacts.iter().for_each(|key| self.artifacts.fetch(*key));
        for (worker, key) in workers.iter().zip(&ahead.artifacts) {
            worker.held.fetch(*key);
        }
    }

    /// The first step: where everything is.
    fn look(&self, event: &Event, ahead: &mut Ahead) {
        match event {
            Event::Submit { submission, identity, .. } => {
                self.look_for_submission(submission, identity.as_ref(), ahead);
            }
            Event::Report { report, .. } => {
                self.executions.look(&report.job);
                ahead.ended.push(report.job);
                ahead.workers.push(self.fleet.workers.look(&report.worker));
            }
            Event::Heartbeat { heartbeat, .. } => ahead.workers.push(self.fleet.workers.look(&heartbeat.worker)),
            Event::Delivered { worker, .. } => ahead.workers.push(self.fleet.workers.look(worker)),
            Event::Cancel { request, .. } => ahead.requests.push(self.requests.look(request)),
            _ => {}
        }
    }

    fn look_for_submission(&self, submission: &Submission, identity: Option<&ValidationKey>, ahead: &mut Ahead) {
        ahead.requests.push(self.requests.look(&submission.id));
        ahead.identities.extend(identity.map(|identity| self.identities.look(&tag(identity))));
        ahead.programs.push(self.programs.look(&submission.code.hash));
    }

    fn look_for_next(&self, ahead: &mut Ahead) {
        self.verdicts.fetch_oldest(ahead.ended.len());
        for engine in self.fleet.engines() {
            let mut likely = ahead.ended.len();
            for kind in self.execute_queue.order(engine) {
                ahead.next.extend(self.execute_queue.heads(engine, kind, likely));
                likely /= 2;
            }
        }
        ahead.next.iter().for_each(|job| self.executions.look(job));
    }

    /// The second step.
    fn fetch_entries(&self, ahead: &Ahead) {
        ahead.jobs().for_each(|job| self.executions.fetch(job));
        ahead.workers.iter().for_each(|place| self.fleet.workers.fetch(*place));
        ahead.programs.iter().for_each(|place| self.programs.fetch(*place));
    }

    /// The third step: what the entries lead to.
    fn follow_entries(&self, ahead: &Ahead) -> (Each<&Program>, Each<&Worker>) {
        let worker = |place: &Place| self.fleet.workers.fetched(*place).map(|worker| &**worker);
        let workers: Each<&Worker> = ahead.workers.iter().filter_map(worker).collect();
        workers.iter().for_each(|worker| prefetch_all(*worker));
        (ahead.programs.iter().filter_map(|place| self.programs.fetched(*place)).collect(), workers)
    }

    fn follow_executions(&self, ahead: &mut Ahead) {
        let ended: Each<&Execution> = ahead.ended.iter().filter_map(|job| self.executions.get(job)).collect();
        let next = ahead.next.iter().filter_map(|job| self.executions.get(job));
        ahead.artifacts.extend(ended.iter().copied().chain(next).filter_map(|execution| {
            prefetch(&*execution.errand.program);
            execution.errand.artifact
        }));
        for execution in ended {
            ahead.identities.push(self.identities.look(&tag(&execution.identity)));
            ahead.requests.extend(execution.waiters.first().map(|id| self.requests.look(id)));
        }
    }
}
