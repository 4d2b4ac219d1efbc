//! Every point in time that the scheduler waits for: one enum, one table.

use pvf_shared::ids::{RequestId, WorkerId};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// A point in time: since the coordinator's start. The scheduler has no clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// This long after.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d))
    }

    /// Time since an earlier moment; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// A request's answer is too late.
    Deadline(RequestId),
    /// A worker was silent for too long.
    Silence(WorkerId),
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Moment, Timer)>,
    armed: HashMap<Timer, Moment>,
}

impl Timers {
    /// Sets a timer; it replaces the same timer's earlier setting.
    pub(super) fn set(&mut self, timer: Timer, at: Moment) {
        self.clear(timer);
        self.armed.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    /// Unsets a timer.
    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.armed.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the next one that is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }
}
