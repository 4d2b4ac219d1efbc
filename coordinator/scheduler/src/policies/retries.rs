//! How often jobs are tried again, and when.
//!
//! An attempt that failed because of infrastructure is followed by another one elsewhere, up to [`MAX_INFRA_FAILURES`]
//! attempts; an ambiguous failure by [`MAX_AMBIGUOUS`] more. An attempt that did not begin, or that a worker gave back
//! when it deregistered, is not a failure of the job: the first two are followed by another one at once (the worker
//! that refused is suspect, so another one gets the job); then each waits twice as long as the one before, from 100 ms
//! to 5 s. After [`MAX_NOT_BEGUN`] the job ends as an internal failure, never with blame. Recalled jobs do not count:
//! the scheduler asked for them.

use crate::settings::Policy;
use pvf_proto::verdict::{InternalError, PrepareError};
use std::time::Duration;

/// Attempts that may fail because of infrastructure before that is the verdict.
pub(crate) const MAX_INFRA_FAILURES: u32 = 3;
/// An ambiguous failure is followed by so many more attempts.
pub(crate) const MAX_AMBIGUOUS: u32 = 1;
/// Attempts of one job that may be refused, not sent, find no worker, or be given back.
pub(crate) const MAX_NOT_BEGUN: u32 = 20;

const FIRST_DEATH_PAUSE: Duration = Duration::from_secs(10);
const DEATHS_FORGOTTEN: Duration = Duration::from_secs(3600);

const AT_ONCE: u32 = 2;
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How long a job waits after its `failures`th attempt that did not begin; zero: not at all.
pub(crate) fn not_begun_delay(failures: u32) -> Duration {
    match failures.checked_sub(AT_ONCE + 1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST),
    }
}

/// How a job ends after [`MAX_NOT_BEGUN`] attempts that did not begin or were given back.
pub(crate) fn not_begun_error(why: &str) -> InternalError {
    InternalError::WorkerDraining(format!(
        "{MAX_NOT_BEGUN} attempts did not begin or were given back, the last one because: {why}"
    ))
}

/// For how long a preparation is not tried again whose process or workers have died so many times in a row: that may be
/// the machine's doing and soon over, or the code's, which must not take all prepare workers. 10 s, then four times as
/// long each time, up to [`Policy::failure_cool_down`]; after [`Policy::max_preparations`] an hour, as for executions.
pub(crate) fn death_pause(policy: &Policy, failures: u32) -> Duration {
    if failures >= policy.max_preparations {
        return DEATHS_FORGOTTEN;
    }
    let doublings = failures.saturating_sub(1).saturating_mul(2).min(16);
    FIRST_DEATH_PAUSE.saturating_mul(1 << doublings).min(policy.failure_cool_down)
}

/// Whether a preparation that failed so long ago, for the `failures`th time, is tried again for a new request.
pub(crate) fn may_pass(
    policy: &Policy,
    (error, failures): (&PrepareError, u32),
    precheck: bool,
    since: Duration,
) -> bool {
    if error.may_be_the_machines() {
        return since >= death_pause(policy, failures);
    }
    !error.is_deterministic() && !precheck && failures < policy.max_preparations && since >= policy.failure_cool_down
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_of_preparations_are_kept_for_longer_each_time() {
        let seconds = |policy: &Policy| [1, 2, 3, 4, 5, 9].map(|n| death_pause(policy, n).as_secs());
        assert_eq!(seconds(&Policy::default()), [10, 40, 160, 640, 3600, 3600]);
        let policy = Policy { failure_cool_down: Duration::from_secs(30), max_preparations: 3, ..Policy::default() };
        assert_eq!(seconds(&policy), [10, 30, 3600, 3600, 3600, 3600]);
        assert_eq!(death_pause(&Policy { max_preparations: u32::MAX, ..Policy::default() }, 1000).as_secs(), 900);
    }

    #[test]
    fn delays_double_up_to_five_seconds() {
        let ms: Vec<_> = (1..=10).map(|n| not_begun_delay(n).as_millis()).collect();
        assert_eq!(ms, [0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let all: Duration = (1..MAX_NOT_BEGUN).map(not_begun_delay).sum();
        assert!(all < Duration::from_secs(90), "{all:?} until the job ends as an internal failure");
    }
}
