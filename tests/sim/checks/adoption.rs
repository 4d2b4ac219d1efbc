//! Attempts of earlier coordinators: what their workers have described is not run again, and counts for their credit,
//! until it is adopted, cancelled, given back or lost.

use super::{Checks, Fetch, Lease};
use pvf_shared::{
    identity::WorkerId,
    ids::{ArtifactId, Attempt, FencingToken, JobId, ValidationKey},
    time::Timestamp,
    wire::{Dispatch, Heartbeat, HeldAttempt, HeldStage, HeldWork, JobReport, WorkerHello},
};

/// An attempt at a worker.
pub(super) type Place = (WorkerId, JobId, Attempt);

/// An attempt that a worker has described to this coordinator, and that no job has adopted.
#[derive(Debug)]
pub(super) struct Held {
    token: FencingToken,
    pub(super) artifact: ArtifactId,
    validation: Option<ValidationKey>,
    since: Timestamp,
    pub(super) fetch: Fetch,
    /// Its report, which the coordinator keeps.
    pub(super) report: Option<Box<JobReport>>,
}

impl Held {
    fn new(held: &HeldAttempt, now: Timestamp) -> Self {
        let (artifact, validation) = match &held.work {
            HeldWork::Execute { artifact, validation, .. } => (artifact.clone(), *validation),
            HeldWork::Prepare(job) => (job.artifact.clone(), None),
        };
        let fetch = if held.stage == HeldStage::Fetching { Fetch::UnderWay } else { Fetch::Over };
        Self { token: held.attempt.token, artifact, validation, since: now, fetch, report: None }
    }
}

impl Checks {
    /// A worker registers, and describes what it has of earlier coordinators: each attempt counts once.
    pub(super) fn on_described(&mut self, worker: WorkerId, hello: &WorkerHello, now: Timestamp) {
        for held in hello.held.iter().filter(|held| held.attempt.token < self.token) {
            let place = (worker, held.attempt.job, held.attempt.attempt);
            // One that was adopted and given up may be reported late, and holds nothing, as any other.
            let given_up = self.lost.contains(&(held.attempt.job, held.attempt.attempt, worker));
            if self.described.insert(place) && !given_up {
                self.held.insert(place, Held::new(held, now));
            }
        }
    }

    /// A worker is gone, and what it had.
    pub(super) fn forget_held(&mut self, worker: WorkerId) {
        self.held.retain(|(at, ..), _| *at != worker);
        self.described.retain(|(at, ..)| *at != worker);
    }

    /// The scheduler says that a job goes on with an attempt that a worker has: from now on it has a lease like others.
    pub(super) fn on_adopted(&mut self, place: Place) {
        let (worker, job, attempt) = place;
        let held = self.held.remove(&place).unwrap_or_else(|| panic!("{place:?} is adopted, and no worker has it"));
        let Held { token, artifact, since, fetch, report, .. } = held;
        let lease = Lease {
            worker,
            attempt,
            token,
            taken: Some(since),
            acknowledged: true,
            fetch,
            kind: worker.kind,
            artifact,
        };
        if let Some(other) = self.leases.insert(job, lease) {
            panic!("job {job} has a lease at {:?} and adopts {place:?}", other.worker);
        }
        if let Some(report) = report {
            self.on_report(worker, &report);
        }
    }

    /// Whether a report is of an unclaimed attempt: it is kept, the first one.
    pub(super) fn keeps_report(&mut self, worker: WorkerId, report: &JobReport) -> bool {
        let held = self.held.get_mut(&(worker, report.job, report.attempt));
        let Some(held) = held.filter(|held| held.token == report.token) else { return false };
        held.report.get_or_insert_with(|| Box::new(report.clone()));
        true
    }

    /// A worker's heartbeat says of its unclaimed attempts whether they are fetched; what it does not list it has lost.
    pub(super) fn on_held_listed(&mut self, worker: WorkerId, heartbeat: &Heartbeat, now: Timestamp) {
        let grace = self.timing.heartbeat * 2 + self.timing.ack;
        self.held.retain(|(at, job, attempt), held| {
            let is_this = |listed: &&pvf_shared::wire::RunningJob| {
                (listed.token, listed.job, listed.attempt) == (held.token, *job, *attempt)
            };
            if *at != worker {
                return true;
            }
            let listed = heartbeat.running.iter().find(is_this);
            if listed.is_some() && !heartbeat.fetching.iter().any(|fetching| is_this(&fetching)) {
                held.fetch = Fetch::Over;
            }
            listed.is_some() || held.report.is_some() || now.since(held.since) <= grace
        });
    }

    /// A job is dispatched: no worker may have the same already.
    pub(super) fn check_not_run_again(&self, to: WorkerId, dispatch: &Dispatch) {
        let Some(validation) = dispatch.validation else { return };
        let same = self.held.iter().find(|(_, held)| held.validation == Some(validation));
        assert!(same.is_none(), "run again: job {} goes to {to:?}, and there is {same:?}", dispatch.job);
    }

    /// Unclaimed attempts that a worker works on, and how many of them are only being fetched.
    pub(super) fn unclaimed_at(&self, worker: WorkerId) -> (u32, u32) {
        let here = self.held.iter().filter(|((at, ..), held)| *at == worker && held.report.is_none());
        here.fold((0, 0), |(all, fetching), (_, held)| (all + 1, fetching + u32::from(held.fetch == Fetch::UnderWay)))
    }
}
