//! Retry with back-off, for code that does I/O. Its delays are declared here, and [`backon`] carries the schedules out:
//!
//! ```text
//! (|| store.look_up(&id)).retry(retry::STORE_LOOK_UP).await
//! ```
//!
//! The schedules are exponential with factor 2. A schedule without a bound is bounded by its caller: by a deadline, or
//! by the life of the process.
//!
//! The two state machines without I/O have delays of their own: `pvf-worker-core` for the repetition of reports, the
//! scheduler for attempts that did not begin.

use backon::{BackoffBuilder as _, ConstantBuilder, ExponentialBuilder};
use std::time::Duration;

pub use backon::Retryable;

/// Message of a client to the coordinator without an answer: 20 ms, doubling up to 1 s, without a bound.
pub const CLIENT_REQUEST: ExponentialBuilder = unbounded(Duration::from_millis(20), Duration::from_secs(1));

/// Submission that was not accepted: repeated after 50 ms, doubling up to 5 s, without a bound.
pub const SUBMISSION: ExponentialBuilder = unbounded(Duration::from_millis(50), Duration::from_secs(5));

/// JetStream that does not answer when a coordinator starts: tried again after 100 ms, doubling, for 6 s in all.
pub const LEASE_OPENING: ExponentialBuilder = times(Duration::from_millis(100), 6);

/// Failed look-up of an artifact in the store: repeated after 100 ms and 200 ms.
pub const STORE_LOOK_UP: ExponentialBuilder = times(Duration::from_millis(100), 2);

/// Failed upload of what a preparation made: repeated after 0.5, 1, 2, 4 and 8 s. Compiling again would take longer.
pub const ARTIFACT_UPLOAD: ExponentialBuilder = times(Duration::from_millis(500), 5);

/// Failed read of what a job needs from the store: repeated after 0.5, 1 and 2 s. The job has no slot meanwhile.
pub const INPUT_FETCH: ExponentialBuilder = times(Duration::from_millis(500), 3);

/// Failed read of the codes that are pinned: repeated after 0.5 s, doubling up to 10 s, without a bound.
pub const PINS: ExponentialBuilder = unbounded(Duration::from_millis(500), Duration::from_secs(10));

/// A random duration up to `limit`, so that clients do not repeat at the same time.
pub fn jitter(limit: Duration) -> Duration {
    // A schedule with jitter yields its delay plus a random part below it.
    let mut delays = ConstantBuilder::new().with_delay(limit).with_jitter().build();
    delays.next().map_or(Duration::ZERO, |delay| delay.saturating_sub(limit))
}

const fn unbounded(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new().with_factor(2.0).with_min_delay(first).with_max_delay(longest).without_max_times()
}

const fn times(first: Duration, times: usize) -> ExponentialBuilder {
    ExponentialBuilder::new().with_factor(2.0).with_min_delay(first).with_max_times(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first `n` delays in whole milliseconds: the schedules compute in `f32`.
    fn millis(schedule: ExponentialBuilder, n: usize) -> Vec<u128> {
        schedule.build().take(n).map(|delay| (delay + Duration::from_micros(500)).as_millis()).collect()
    }

    #[test]
    fn schedules_have_their_documented_delays() {
        assert_eq!(millis(CLIENT_REQUEST, 8), [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(millis(STORE_LOOK_UP, 9), [100, 200]);
        assert_eq!(millis(INPUT_FETCH, 9), [500, 1000, 2000]);
        assert_eq!(millis(ARTIFACT_UPLOAD, 9), [500, 1000, 2000, 4000, 8000]);
        assert_eq!(millis(PINS, 7), [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(millis(SUBMISSION, 9), [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn jitter_is_within_its_limit_and_varies() {
        let limit = Duration::from_secs(1);
        let some: std::collections::HashSet<_> = (0..100).map(|_| jitter(limit)).collect();
        assert!(some.len() > 50 && some.iter().all(|jitter| *jitter <= limit), "{some:?}");
        assert_eq!(jitter(Duration::ZERO), Duration::ZERO);
    }
}
