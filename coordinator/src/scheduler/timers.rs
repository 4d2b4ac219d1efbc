//! Every point in time that the scheduler waits for, but for the deadlines of requests (`deadlines`): one enum, one
//! table.

use super::clients::ClientKey;
use pvf_shared::ids::WorkerId;
use std::{collections::BTreeSet, time::Duration};

/// A point in time, nanoseconds since 1970 by the coordinator's clock. The scheduler has no clock of its own: its
/// shell says what time it is, and never says an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// This long after 1970.
    pub fn at(since_1970: Duration) -> Self {
        Self(nanos(since_1970))
    }

    /// This long after.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos(d)))
    }

    /// This long before; not before 1970.
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(d)))
    }

    /// The next multiple of so many nanoseconds since 1970.
    pub(super) fn round_up(self, nanos: u64) -> Self {
        Self(self.0.div_ceil(nanos).saturating_mul(nanos))
    }

    /// Time since an earlier moment; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time, in half of the room that a `Duration` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Nanos(u64);

impl std::ops::AddAssign<Duration> for Nanos {
    fn add_assign(&mut self, more: Duration) {
        self.0 = self.0.saturating_add(nanos(more));
    }
}

impl From<Nanos> for Duration {
    fn from(time: Nanos) -> Self {
        Self::from_nanos(time.0)
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// A worker was silent for too long.
    Silence(WorkerId),
    /// A client was silent for too long.
    Gone(ClientKey),
    /// Artifacts that nobody needs are dropped.
    Prune,
}

/// The table. Whoever sets a timer remembers for when, to be able to unset it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    all: BTreeSet<(Moment, Timer)>,
    /// The first of them: this is looked at after every event.
    first: Option<(Moment, Timer)>,
}

impl Timers {
    /// Sets a timer.
    pub(super) fn set(&mut self, timer: Timer, at: Moment) {
        self.all.insert((at, timer));
        self.first = Some(self.first.map_or((at, timer), |first| first.min((at, timer))));
    }

    /// Unsets a timer that was set for this time; does nothing if it went off.
    pub(super) fn clear(&mut self, timer: Timer, at: Moment) {
        self.all.remove(&(at, timer));
        if self.first == Some((at, timer)) {
            self.first = self.all.first().copied();
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.first.map(|(at, _)| at)
    }

    /// Takes the next one that is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let (at, timer) = self.first.filter(|(at, _)| *at <= now)?;
        self.clear(timer, at);
        Some(timer)
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
