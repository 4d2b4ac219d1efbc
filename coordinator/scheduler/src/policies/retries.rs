//! How often jobs are tried again, and when.
//!
//! An attempt that failed because of infrastructure is followed by another one elsewhere, up to [`MAX_INFRA_FAILURES`]
//! attempts; an ambiguous failure by [`MAX_AMBIGUOUS`] more. An attempt that did not begin, or that a worker gave back
//! when it deregistered, is not a failure of the job: the first two are followed by another one at once (the worker that refused is suspect, so another one gets the
//! job); then each waits twice as long as the one before, from 100 ms to 5 s. After [`MAX_NOT_BEGUN`] the job ends as
//! an internal failure, never with blame. Recalled jobs do not count: the scheduler asked for them.

use pvf_proto::verdict::InternalError;
use std::time::Duration;

/// Attempts that may fail because of infrastructure before that is the verdict.
pub(crate) const MAX_INFRA_FAILURES: u32 = 3;
/// An ambiguous failure is followed by so many more attempts.
pub(crate) const MAX_AMBIGUOUS: u32 = 1;
/// Attempts of one job that may be refused, not sent, find no worker, or be given back.
pub(crate) const MAX_NOT_BEGUN: u32 = 20;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_seconds() {
        let ms: Vec<_> = (1..=10).map(|n| not_begun_delay(n).as_millis()).collect();
        assert_eq!(ms, [0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let all: Duration = (1..MAX_NOT_BEGUN).map(not_begun_delay).sum();
        assert!(all < Duration::from_secs(90), "{all:?} until the job ends as an internal failure");
    }
}
