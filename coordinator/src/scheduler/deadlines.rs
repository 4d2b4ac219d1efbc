//! When requests are too late: a calendar of short lists, so that a request among a million costs as little as one
//! among a thousand. A deadline is rounded up, by at most a thirty-second of the wait and a quarter of a second; what
//! is dispatched is checked against the exact one.

use super::{lists::Lists, table::Table, timers::Moment};
use pvf_shared::ids::RequestId;
use std::{collections::BTreeSet, time::Duration};

/// Where a request stands in the calendar.
pub(super) type Entry = (Moment, u32);

/// The calendar.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    intervals: Table<Moment, Lists>,
    /// The ends of the intervals.
    ends: BTreeSet<Moment>,
    /// When the first of them is due: this is looked at after every event.
    first: Option<Moment>,
    live: usize,
}

/// The end of the interval that a deadline falls into.
fn rounded(deadline: Moment, now: Moment) -> Moment {
    let wait = deadline.since(now) / 32;
    let least = Duration::from_millis(1);
    let step = wait.clamp(least, Duration::from_millis(256)).as_nanos() as u64;
    // A power of two, so that waits of about the same length share intervals.
    deadline.round_up(1 << (63 - step.leading_zeros()))
}

impl Deadlines {
    /// Enters a request; whoever does remembers where.
    pub(super) fn set(&mut self, id: RequestId, deadline: Moment, now: Moment) -> Entry {
        let at = rounded(deadline, now);
        self.live += 1;
        if let Some(interval) = self.intervals.get_mut(&at) {
            return (at, interval.add(id));
        }
        let mut interval = Lists::default();
        let number = interval.add(id);
        self.intervals.insert(at, interval);
        self.ends.insert(at);
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        (at, number)
    }

    /// A request has ended. Gives whether its list is to be tidied.
    pub(super) fn clear(&mut self, (at, number): Entry) -> bool {
        self.live -= 1;
        let Some(interval) = self.intervals.get_mut(&at) else { return false };
        let untidy = interval.clear(number);
        if interval.is_empty() {
            self.forget(at);
        }
        untidy
    }

    fn forget(&mut self, at: Moment) {
        self.intervals.remove(&at);
        self.ends.remove(&at);
        if self.first == Some(at) {
            self.first = self.ends.first().copied();
        }
    }

    /// Leaves only the requests in a list that have not ended.
    pub(super) fn tidy(&mut self, (at, number): Entry, is_live: impl Fn(&RequestId) -> bool) {
        if let Some(interval) = self.intervals.get_mut(&at) {
            interval.tidy(number, is_live);
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.first
    }

    /// Takes the next one that is due; it may have ended already.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<(RequestId, Entry)> {
        let at = self.next().filter(|at| *at <= now)?;
        let interval = self.intervals.get_mut(&at)?;
        let taken = interval.take_for_good();
        if interval.is_empty() {
            self.forget(at);
        }
        taken.map(|(id, number)| (id, (at, number)))
    }

    /// How many lists there are, and what they hold.
    #[cfg(test)]
    fn size(&self) -> (usize, usize) {
        let sizes = self.intervals.iter().map(|(_, interval)| interval.size());
        sizes.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// How many have not ended.
    pub(super) fn len(&self) -> usize {
        self.live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hashbrown::HashSet;

    fn id(n: u128) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n))
    }

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn never_early_and_not_much_late() {
        for wait in [1, 7, 100, 1_000, 60_000, 86_400_000] {
            let rounded = rounded(at(wait + 12_345), at(12_345));
            let late = rounded.since(at(wait + 12_345));
            assert!(rounded >= at(wait + 12_345), "{wait}");
            assert!(late <= Duration::from_millis(wait / 32 + 1).min(Duration::from_millis(256)), "{wait}: {late:?}");
        }
    }

    #[test]
    fn whoever_is_due_comes_out_once() {
        let mut calendar = Deadlines::default();
        let entries: Vec<_> = (0..2000).map(|n| calendar.set(id(n), at(1000 + n as u64 % 300), at(0))).collect();
        // Every other one ends before.
        let mut ended = HashSet::new();
        for n in (0..2000).step_by(2) {
            ended.insert(id(n));
            if calendar.clear(entries[n as usize]) {
                calendar.tidy(entries[n as usize], |id| !ended.contains(id));
            }
        }
        assert_eq!(calendar.len(), 1000);
        assert_eq!(calendar.pop_due(at(999)), None);
        let mut due = HashSet::new();
        while let Some((id, _)) = calendar.pop_due(at(2000)) {
            if !ended.contains(&id) {
                assert!(due.insert(id));
            }
        }
        assert_eq!((due.len(), calendar.next()), (1000, None));
    }

    #[test]
    fn what_has_ended_takes_no_room() {
        let mut calendar = Deadlines::default();
        let live: HashSet<_> = (0..10).map(id).collect();
        let entries: Vec<_> = (0..10_000).map(|n| calendar.set(id(n), at(80_000_000), at(0))).collect();
        for (n, entry) in entries.into_iter().enumerate().skip(10) {
            if calendar.clear(entry) {
                calendar.tidy(entry, |id| live.contains(id) || id.0.as_u128() > n as u128);
            }
        }
        let (lists, kept) = calendar.size();
        assert!(kept <= 40 && lists == 1, "{kept} in {lists} lists");
    }
}
