//! Time of the scheduler: points in time come from its shell, durations are stored in eight bytes.

pub use pvf_proto::time::Timestamp;
use std::time::Duration;

/// A duration in nanoseconds, half the size of a `Duration`: a queued request holds several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CompactDuration(u64);

impl std::ops::AddAssign<Duration> for CompactDuration {
    fn add_assign(&mut self, more: Duration) {
        self.0 = self.0.saturating_add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl From<CompactDuration> for Duration {
    fn from(time: CompactDuration) -> Self {
        Self::from_nanos(time.0)
    }
}
