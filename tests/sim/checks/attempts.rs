//! Leases, credit and retries: which attempt may go to which worker.

use super::{Checks, Fetch, Known, Lease, Live, Past, RequestKey};
use pvf_shared::{
    identity::WorkerId,
    ids::{Attempt, EngineId, JobId},
    job::{ExecuteOutcome, JobOutcome, JobSpec, PrepareOutcome},
    time::Timestamp,
    verdict::{AmbiguousReason, InternalError},
    wire::{Dispatch, JobReport, ToWorker, Work, WorkerKind},
};

/// Ambiguous reports that are followed by another attempt of the job.
const AMBIGUOUS_REPORTS: u32 = 1;
/// Reports of infrastructure failures that are followed by another attempt of the job.
const FAILED_REPORTS: u32 = 2;

impl Checks {
    /// A worker deregistered: it gave its attempts back, which is no failure.
    pub(super) fn worker_left(&mut self, id: WorkerId) {
        self.leases.retain(|_, lease| lease.worker != id);
        self.forget_held(id);
        self.fleet.remove(&id);
    }

    /// A worker died: its attempts are over.
    pub(super) fn worker_died(&mut self, id: WorkerId) {
        self.forget_held(id);
        let jobs: Vec<_> = self.leases.iter().filter(|(_, l)| l.worker == id).map(|(job, _)| *job).collect();
        // Staged jobs have not failed, and messages do not tell which jobs were staged.
        let has = |k: &Known| (jobs.len() + k.stopping.len()) as u32;
        let certain = self.fleet.get(&id).is_some_and(|k| has(k) <= k.hello.slots);
        for job in jobs {
            self.end_lease(job, true, certain);
        }
        self.fleet.remove(&id);
    }

    /// An attempt was lost without a report.
    pub(super) fn end_lease(&mut self, job: JobId, died: bool, certain: bool) {
        let Some(lease) = self.leases.remove(&job) else { return };
        self.lost.insert((job, lease.attempt, lease.worker));
        // A preparation that was only being fetched has a bound of its own.
        let fetched = lease.fetch == Fetch::UnderWay && died;
        if !lease.acknowledged || fetched && lease.kind == WorkerKind::Prepare {
            return;
        }
        // What was only being fetched did not die: that is an infrastructure failure.
        let died = died && !fetched;
        let certain = certain || fetched;
        if died {
            *self.deaths.entry(lease.artifact.code_hash).or_default() += 1;
        }
        let past = self.past.entry(job).or_default();
        past.uncertain |= !certain;
        past.ambiguous += u32::from(died);
        // A job that was only staged has not failed: that is an infrastructure failure.
        past.ours += u32::from(!died || !certain || fetched);
        if let Some(known) = self.fleet.get(&lease.worker).filter(|_| certain) {
            past.failed_at.push((lease.worker, known.hello.host.clone()));
        }
    }

    /// A worker has stopped an attempt.
    pub(super) fn stopped(&mut self, worker: WorkerId, at: (JobId, Attempt)) {
        if let Some(known) = self.fleet.get_mut(&worker) {
            known.stopping.remove(&at);
        }
    }

    /// Only the report of an attempt with a lease counts.
    pub(super) fn on_report(&mut self, worker: WorkerId, report: &JobReport) {
        if self.keeps_report(worker, report) {
            return;
        }
        self.stopped(worker, (report.job, report.attempt));
        let lease = self.leases.get(&report.job);
        let valid = lease.is_some_and(|l| (l.worker, l.attempt, l.token) == (worker, report.attempt, report.token));
        if !valid {
            return self.on_late_report(worker, report);
        }
        let lease = self.leases.remove(&report.job).expect("seen above");
        self.accepted.insert((report.token, report.job, report.attempt));
        if let JobOutcome::Execute(ExecuteOutcome::Valid(_) | ExecuteOutcome::Invalid(_)) = &report.outcome {
            self.decided(report.job, worker);
        }
        let host = self.fleet.get(&worker).map(|k| k.hello.host.clone()).unwrap_or_default();
        let past = self.past.entry(report.job).or_default();
        match &report.outcome {
            JobOutcome::Execute(
                ExecuteOutcome::Internal(_) | ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(_)),
            )
            | JobOutcome::Prepare(PrepareOutcome::Internal(_)) => past.reported.1 += 1,
            JobOutcome::Execute(ExecuteOutcome::Ambiguous(_)) => past.reported.0 += 1,
            JobOutcome::Execute(_) | JobOutcome::Prepare(_) => {}
        }
        let elsewhere = match &report.outcome {
            // An artifact that does not open is never the candidate's doing.
            JobOutcome::Execute(ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(_))) => {
                past.ours += 1;
                self.suspected.insert(lease.artifact);
                true
            }
            JobOutcome::Execute(ExecuteOutcome::Ambiguous(reason)) => {
                past.ambiguous += 1;
                if matches!(reason, AmbiguousReason::RuntimeConstruction(_)) {
                    self.suspected.insert(lease.artifact);
                }
                true
            }
            JobOutcome::Execute(ExecuteOutcome::Internal(InternalError::ArtifactMissing(_))) => {
                past.ours += 1;
                self.suspected.insert(lease.artifact);
                false
            }
            JobOutcome::Execute(ExecuteOutcome::Internal(_)) | JobOutcome::Prepare(PrepareOutcome::Internal(_)) => {
                past.ours += 1;
                true
            }
            JobOutcome::Execute(_) | JobOutcome::Prepare(_) => false,
        };
        if elsewhere {
            past.failed_at.push((worker, host));
        }
    }

    /// The report of an attempt that was given up counts if it has a verdict or an artifact.
    fn on_late_report(&mut self, worker: WorkerId, report: &JobReport) {
        let decides = matches!(
            report.outcome,
            JobOutcome::Execute(ExecuteOutcome::Valid(_) | ExecuteOutcome::Invalid(_))
                | JobOutcome::Prepare(PrepareOutcome::Prepared(_))
        );
        let at = (report.job, report.attempt, worker);
        if decides && self.lost.contains(&at) {
            self.accepted.insert((report.token, report.job, report.attempt));
            if let JobOutcome::Execute(_) = &report.outcome {
                self.decided(report.job, worker);
            }
        }
    }

    /// The scheduler sends this to a worker.
    pub fn on_message(&mut self, worker: WorkerId, message: &ToWorker, now: Timestamp) {
        match message {
            ToWorker::Dispatch(dispatch) => self.on_dispatch(worker, dispatch, now),
            ToWorker::Cancel { job, attempt, .. } => {
                self.held.remove(&(worker, *job, *attempt));
                if self.leases.get(job).is_some_and(|l| (l.worker, l.attempt) == (worker, *attempt)) {
                    self.leases.remove(job);
                    // Its lease may be over: it has failed there then.
                    self.lost.insert((*job, *attempt, worker));
                    self.past.entry(*job).or_default().uncertain = true;
                }
                if let Some(known) = self.fleet.get_mut(&worker) {
                    known.stopping.insert((*job, *attempt));
                }
            }
            ToWorker::Recall { .. } | ToWorker::Acknowledge { .. } => {}
        }
    }

    fn on_dispatch(&mut self, id: WorkerId, dispatch: &Dispatch, now: Timestamp) {
        let job = dispatch.job;
        assert!(!self.paused.contains(&id), "a job is dispatched to {id:?}, which is paused");
        assert!(!self.told.contains(&id), "a job is dispatched to {id:?}, which was told to drain");
        if let Some(lease) = self.leases.get(&job) {
            panic!("two attempts of job {job} have valid leases: at {:?} and {id:?}", lease.worker);
        }
        let Some(known) = self.fleet.get(&id) else { panic!("a job is dispatched to {id:?}, which is not registered") };
        let (kind, artifact) = match &dispatch.spec {
            JobSpec::Prepare(spec) => (WorkerKind::Prepare, &spec.artifact),
            JobSpec::Execute(spec) => (WorkerKind::Execute, &spec.artifact),
        };
        assert_eq!(
            (id.kind, &known.hello.engine),
            (kind, &artifact.engine),
            "a job is dispatched to a worker of another kind or engine"
        );
        let ahead = if kind == WorkerKind::Execute { self.ahead * known.hello.slots } else { 0 };
        let credit = known.hello.slots + ahead;
        let has = self.leases.values().filter(|l| l.worker == id);
        let unclaimed = self.unclaimed_at(id);
        let fetching = has.clone().filter(|l| l.fetch == Fetch::UnderWay).count() as u32 + unclaimed.1;
        let jobs = has.count() as u32 + unclaimed.0;
        self.check_not_run_again(id, dispatch);
        // Jobs that are known to be only fetched do not count, but for those above the credit.
        assert!(jobs - fetching.min(credit) < credit, "credit: {id:?} gets more jobs than it may");
        if let Some(past) = self.past.get(&job) {
            let again = past.decided_on.contains(&known.hello.host);
            assert!(!again, "job {job} runs again on {}, which has decided it", known.hello.host);
            let (ambiguous, failed) = past.reported;
            assert!(ambiguous <= AMBIGUOUS_REPORTS, "job {job} is tried again after {ambiguous} ambiguous reports");
            assert!(failed <= FAILED_REPORTS, "job {job} is tried again after {failed} infrastructure failures");
            self.check_elsewhere(job, past, known, (kind, &artifact.engine));
        }
        if let Some(request) = dispatch.request {
            let is_it = |((id, _), live): &(&RequestKey, &Live)| *id == request && live.code == artifact.code_hash;
            let mut with_its_id = self.live.iter().filter(is_it).peekable();
            assert!(with_its_id.peek().is_some(), "{request:?} is dispatched after its end");
            assert!(with_its_id.any(|(_, live)| live.deadline > now), "{request:?} is dispatched too late");
        }
        if let JobSpec::Prepare(_) = &dispatch.spec {
            assert!(!dispatch.holders.is_empty(), "{artifact} is to be prepared, and nobody holds its code");
        }
        for holder in &dispatch.holders {
            let waits = |((_, from), live): (&RequestKey, &Live)| {
                from == holder && live.code == artifact.code_hash && !live.abandoned
            };
            assert!(self.live.iter().any(waits), "{holder} is said to hold what it does not wait for");
        }
        match &dispatch.spec {
            JobSpec::Prepare(spec)
                if spec.threads == 1 && self.engines == 1 && self.has_workers(WorkerKind::Execute) =>
            {
                let asks = |live: &Live| live.code == artifact.code_hash && !matches!(live.work, Work::HeadsUp { .. });
                let urgent = self.live.iter().find(|(key, live)| asks(live) && self.is_there((key, live), now));
                assert!(urgent.is_none(), "priority fell: {urgent:?} is prepared in the background");
            }
            JobSpec::Prepare(_) | JobSpec::Execute(_) => {}
        }
        let lease = Lease {
            worker: id,
            attempt: dispatch.attempt,
            token: dispatch.token,
            taken: None,
            acknowledged: false,
            fetch: Fetch::Unknown,
            kind,
            artifact: artifact.clone(),
        };
        self.leases.insert(job, lease);
    }

    /// Whether a worker of this kind is registered. Without one it is open for which engine an artifact is needed.
    pub(super) fn has_workers(&self, kind: WorkerKind) -> bool {
        self.fleet.keys().any(|worker| worker.kind == kind)
    }

    /// A failed attempt is followed by one on another machine if there is one, else on another worker if there is one.
    fn check_elsewhere(&self, job: JobId, past: &Past, at: &Known, of: (WorkerKind, &EngineId)) {
        if past.failed_at.is_empty() || past.uncertain {
            return;
        }
        let others = || {
            let of_pool = self.fleet.values().filter(|k| (k.worker.kind, &k.hello.engine) == of);
            // A second attempt that decides about a candidate waits for paused workers too; a second opinion comes from
            // a machine that has given none.
            let waits_for_all = past.ambiguous > 0 && of.0 == WorkerKind::Execute;
            let may_get_it = move |k: &&Known| waits_for_all || !self.paused.contains(&k.worker);
            of_pool.filter(may_get_it).filter(|k| !past.decided_on.contains(&k.hello.host))
        };
        let same_host = |k: &Known| past.failed_at.iter().any(|(_, host)| *host == k.hello.host);
        let same_worker = |k: &Known| past.failed_at.iter().any(|(id, _)| *id == k.worker);
        if others().any(|k| !same_host(k)) {
            assert!(
                !same_host(at),
                "tried again on the same machine ({at:?}), and there is another: job {job} {past:?} {:?}",
                others().collect::<Vec<_>>()
            );
        } else if others().any(|k| !same_worker(k)) {
            assert!(!same_worker(at), "tried again on the same worker, and there is another: {past:?}");
        }
    }
}
