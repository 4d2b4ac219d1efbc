//! How a worker does: its failures since its last success, and whether it gets jobs because of them. A broken worker
//! fails at once, so it always has room, and would get most of the jobs.

use crate::time::Timestamp;
use pvf_proto::{ids::JobId, verdict::clean_reason};
use smallvec::SmallVec;
use std::time::Duration;

/// After failures of so many different jobs without a success a worker gets no jobs for a while. Fewer may be the doing
/// of one job.
const MAX_FAILURES: usize = 3;
/// Failures with more time between them are not counted together.
const WINDOW: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The health record of one worker.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Jobs that failed since the last success, each once.
    failed: SmallVec<[JobId; MAX_FAILURES]>,
    last_failure: Timestamp,
    /// Pauses since the last success. After one the next failure is enough for another.
    pauses: u32,
    paused_until: Option<Timestamp>,
    /// Why the last job failed.
    reason: String,
}

impl Health {
    /// A job succeeded there: whatever failed before is over.
    pub(super) fn note_success(&mut self) {
        if !self.is_good() {
            *self = Self { paused_until: self.paused_until, ..Self::default() };
        }
    }

    /// A job failed there, and only the worker, its machine, or what both depend on can be the reason. Returns for how
    /// long the worker should get no jobs, if it has failed often enough.
    pub(super) fn note_failure(&mut self, job: JobId, reason: String, now: Timestamp) -> Option<Duration> {
        if now.since(self.last_failure) > WINDOW {
            *self = Self { paused_until: self.paused_until, ..Self::default() };
        }
        (self.last_failure, self.reason) = (now, clean_reason(&reason));
        if self.failed.len() < MAX_FAILURES && !self.failed.contains(&job) {
            self.failed.push(job);
        }
        let is_due = self.paused_until.is_none() && (self.failed.len() == MAX_FAILURES || self.pauses > 0);
        is_due.then(|| FIRST_PAUSE.saturating_mul(1 << self.pauses.min(16)).min(LONGEST_PAUSE))
    }

    pub(super) fn pause(&mut self, until: Timestamp) {
        self.pauses += 1;
        self.paused_until = Some(until);
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = None;
    }

    /// Until when the worker gets no jobs.
    pub(crate) fn paused_until(&self) -> Option<Timestamp> {
        self.paused_until
    }

    fn is_good(&self) -> bool {
        self.failed.is_empty() && self.pauses == 0
    }

    /// What is wrong, for people; `None` if nothing is.
    pub(crate) fn trouble(&self, now: Timestamp) -> Option<String> {
        let pause = self.paused_until.map(|until| format!("gets no jobs for {} s", until.since(now).as_secs()));
        if self.is_good() || now.since(self.last_failure) > WINDOW {
            return pause;
        }
        let jobs = self.failed.len();
        let failed = format!("{jobs} or more jobs failed without a success since, the last one: {}", self.reason);
        Some(match pause {
            Some(pause) => format!("{pause}: {failed}"),
            None => failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::at(Duration::from_secs(seconds))
    }

    /// Jobs with these numbers fail, one a second. Returns what the last failure means, seconds.
    fn fail(health: &mut Health, jobs: &[u64], from: u64) -> Option<u64> {
        let means = jobs.iter().zip(from..).map(|(job, s)| health.note_failure(JobId(*job), "full".into(), at(s)));
        means.collect::<Vec<_>>().last().copied().flatten().map(|pause| pause.as_secs())
    }

    #[test]
    fn three_different_jobs_that_fail_in_a_row_pause_a_worker() {
        assert_eq!(fail(&mut Health::default(), &[1, 2], 10), None);
        assert_eq!(fail(&mut Health::default(), &[1, 2, 3], 10), Some(5));
        assert_eq!(fail(&mut Health::default(), &[1, 1, 1, 1, 2, 2], 10), None, "one job may do that to any worker");
    }

    #[test]
    fn a_success_or_ten_minutes_clear_the_record() {
        let mut health = Health::default();
        fail(&mut health, &[1, 2], 10);
        health.note_success();
        assert_eq!((fail(&mut health, &[3, 4], 20), health.trouble(at(22)).is_some()), (None, true));
        assert_eq!(fail(&mut health, &[5], 1000), None);
        assert_eq!(fail(&mut health, &[6, 7], 1001), Some(5));
        health.note_success();
        assert_eq!(health.trouble(at(1003)), None);
    }

    #[test]
    fn pauses_double_until_a_job_succeeds() {
        let mut health = Health::default();
        let mut pause = fail(&mut health, &[1, 2, 3], 10);
        let mut pauses = Vec::new();
        for n in 0..7 {
            pauses.push(pause.unwrap());
            health.pause(at(100 + n));
            assert_eq!(fail(&mut health, &[50 + n], 100), None, "what was running there may fail meanwhile");
            health.resume();
            pause = fail(&mut health, &[100 + n], 100);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 120, 120]);
        health.note_success();
        assert_eq!(fail(&mut health, &[200], 100), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut health = Health::default();
        assert_eq!(health.trouble(at(1)), None);
        fail(&mut health, &[1, 2, 3], 10);
        let failed = "3 or more jobs failed without a success since, the last one: full";
        assert_eq!(health.trouble(at(12)).unwrap(), failed);
        health.pause(at(20));
        assert_eq!(health.trouble(at(12)).unwrap(), format!("gets no jobs for 8 s: {failed}"));
    }
}
