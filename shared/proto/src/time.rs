//! Time for the pure state machines (scheduler, worker core). They have no clock: time is an argument.

use std::time::Duration;

/// A point in time: nanoseconds since the Unix epoch, read from the clock of the shell around a state machine. The
/// shell passes non-decreasing timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point this long after the Unix epoch.
    pub fn at(since_epoch: Duration) -> Self {
        Self(nanos(since_epoch))
    }

    /// The point this long after; saturates.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos(d)))
    }

    /// The point this long before, at the earliest the epoch.
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(d)))
    }

    /// The last multiple of this unit since the epoch that is not after this point. A unit of zero changes nothing.
    pub fn round_down(self, unit: Duration) -> Self {
        Self(self.0 - self.0 % nanos(unit).max(1))
    }

    /// Time that has passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_rounded_down_to_a_multiple_of_the_unit() {
        let second = Duration::from_secs(1);
        let at = |nanos| Timestamp::at(Duration::from_nanos(nanos));
        assert_eq!(at(1_999_999_999).round_down(second), at(1_000_000_000));
        assert_eq!(at(2_000_000_000).round_down(second), at(2_000_000_000));
        assert_eq!(at(999_999_999).round_down(second), Timestamp::default());
        assert_eq!(at(7).round_down(Duration::ZERO), at(7));
    }
}
