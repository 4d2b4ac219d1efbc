//! Which kind of execution goes next: the share window.
//!
//! A kind yields to the less urgent ones once it has had its share of what it and they got within the last
//! dispatches; the share of an idle kind goes to the others. Rule and numbers are the existing host's; the window
//! slides unless it is to start again as there.

use pvf_shared::priority::ExecuteKind;
use std::collections::VecDeque;

/// Who goes when every kind that waits has had its share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// The most urgent one, as in the existing host: backing beside disputes gets one dispatch in twelve.
    #[default]
    MostUrgent,
    /// The least urgent one, which has nobody to yield to: backing beside disputes gets the 30 % that they leave.
    LeastUrgent,
}

/// The share window's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// How many dispatches are looked at, 1 to 1000.
    pub window: u32,
    /// Percent that a dispute, an approval, backing of a system parachain and other backing may have of what it
    /// and the less urgent kinds got, each 1 to 100. The last one has nobody to yield to.
    pub percent: [u8; 4],
    /// `true`: the window starts again from nothing when it is full, as in the existing host. `false`: it
    /// slides, so that a dispute that comes after much backing goes ahead until it has had its share.
    pub restart: bool,
    /// Who goes when every kind that waits has had its share.
    pub beyond: Beyond,
}

impl Default for Shares {
    fn default() -> Self {
        Self { window: 12, percent: [70, 80, 100, 100], restart: false, beyond: Beyond::MostUrgent }
    }
}

/// What was dispatched lately, by kind.
#[derive(Debug, Default)]
pub(super) struct Window {
    recent: VecDeque<ExecuteKind>,
    counts: [u32; 4],
}

impl Window {
    /// The kinds that have something `waiting`, in the order in which they should be tried: first those that do
    /// not yield, the most urgent first.
    pub(super) fn order(&self, waiting: [bool; 4], shares: &Shares) -> impl Iterator<Item = ExecuteKind> + use<> {
        let never_yields = match shares.beyond {
            Beyond::MostUrgent => None,
            Beyond::LeastUrgent => ExecuteKind::ALL.into_iter().rfind(|kind| waiting[*kind as usize]),
        };
        let yields = ExecuteKind::ALL.map(|kind| Some(kind) != never_yields && self.had_share(kind, shares));
        let those = move |yielding: bool| {
            let kinds = ExecuteKind::ALL.into_iter();
            kinds.filter(move |kind| waiting[*kind as usize] && yields[*kind as usize] == yielding)
        };
        those(false).chain(those(true))
    }

    fn had_share(&self, kind: ExecuteKind, shares: &Shares) -> bool {
        let below: u32 = self.counts[kind as usize..].iter().sum();
        let had = u64::from(self.counts[kind as usize]);
        below > 0 && had * 100 >= u64::from(shares.percent[kind as usize]) * u64::from(below)
    }

    /// One of this kind was dispatched.
    pub(super) fn took(&mut self, kind: ExecuteKind, shares: &Shares) {
        self.recent.push_back(kind);
        self.counts[kind as usize] += 1;
        if self.recent.len() >= shares.window as usize {
            if shares.restart {
                *self = Self::default();
            } else if self.recent.len() > shares.window as usize
                && let Some(oldest) = self.recent.pop_front()
            {
                self.counts[oldest as usize] -= 1;
            }
        }
    }

    /// The last one of this kind came back without having begun.
    pub(super) fn came_back(&mut self, kind: ExecuteKind) {
        if let Some(at) = self.recent.iter().rposition(|k| *k == kind) {
            self.recent.remove(at);
            self.counts[kind as usize] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecuteKind::*;

    fn run(shares: &Shares, waiting: &[ExecuteKind], n: usize) -> Vec<ExecuteKind> {
        let mut window = Window::default();
        let mut out = Vec::new();
        for _ in 0..n {
            let kind = window.order(ExecuteKind::ALL.map(|k| waiting.contains(&k)), shares).next().unwrap();
            window.took(kind, shares);
            out.push(kind);
        }
        out
    }

    fn count(run: &[ExecuteKind], kind: ExecuteKind) -> usize {
        run.iter().filter(|k| **k == kind).count()
    }

    /// The existing host's test of its shares: all kinds waiting, a full window.
    #[test]
    fn restarting_window_of_the_existing_host() {
        let shares = Shares { restart: true, ..Shares::default() };
        let all = run(&shares, &ExecuteKind::ALL, 12);
        assert_eq!(ExecuteKind::ALL.map(|k| count(&all, k)), [8, 3, 1, 0]);
        let again = run(&shares, &ExecuteKind::ALL, 24);
        assert_eq!(again[12..], again[..12], "the window starts again");
        let two = run(&shares, &[Dispute, Backing], 12);
        assert_eq!(two[..2], [Dispute, Backing]);
        assert_eq!(count(&two, Dispute), 11);
        let low = run(&shares, &[BackingSystem, Backing], 12);
        assert_eq!(count(&low, BackingSystem), 11, "at 100 % it yields when it had everything so far");
    }

    #[test]
    fn beyond_their_shares_the_least_urgent_may_go() {
        let shares = Shares { restart: true, beyond: Beyond::LeastUrgent, ..Shares::default() };
        let two = run(&shares, &[Dispute, Backing], 12);
        assert_eq!(two[..6], [Dispute, Backing, Dispute, Dispute, Backing, Dispute]);
        assert_eq!(count(&two, Dispute), 8);
    }

    #[test]
    fn an_idle_kinds_share_goes_to_the_others() {
        for restart in [true, false] {
            let shares = Shares { restart, ..Shares::default() };
            assert_eq!(count(&run(&shares, &[Approval], 30), Approval), 30);
            assert_eq!(count(&run(&shares, &[Backing], 30), Backing), 30);
        }
    }

    #[test]
    fn sliding_window_makes_up_for_a_late_dispute_and_then_holds_the_share() {
        for (beyond, disputes) in [(Beyond::MostUrgent, 11..=12), (Beyond::LeastUrgent, 8..=9)] {
            let shares = Shares { beyond, ..Shares::default() };
            let mut window = Window::default();
            for _ in 0..100 {
                window.took(Backing, &shares);
            }
            let mut run = Vec::new();
            for _ in 0..60 {
                let kind = window.order([true, false, false, true], &shares).next().unwrap();
                window.took(kind, &shares);
                run.push(kind);
            }
            assert_eq!(count(&run[..9], Dispute), 9, "{run:?}");
            for twelve in run[12..].windows(12) {
                assert!(disputes.contains(&count(twelve, Dispute)), "{beyond:?}: {twelve:?}");
            }
            assert!(count(&run, Backing) >= 4, "{run:?}");
        }
    }

    #[test]
    fn what_came_back_does_not_count() {
        let shares = Shares::default();
        let mut window = Window::default();
        window.took(Dispute, &shares);
        window.came_back(Dispute);
        window.came_back(Dispute);
        assert_eq!(window.counts, [0; 4]);
    }
}
