//! The share window: which kind of execution is next.
//!
//! A kind yields to the less urgent ones once it has had its share of what it and they got within the last dispatches;
//! the share of an idle kind goes to the others. Rule and numbers are the existing host's; there the window starts
//! again when it is full ([`Shares::restart`]), here it slides by default.

use crate::settings::{Beyond, Shares};
use pvf_proto::priority::ExecuteKind;
use std::collections::VecDeque;

/// The kinds that were dispatched lately.
#[derive(Debug, Default)]
pub(crate) struct ShareWindow {
    recent: VecDeque<ExecuteKind>,
    counts: [u32; 4],
}

impl ShareWindow {
    /// The kinds with something `waiting`, in the order in which they are tried: those that do not yield first, the
    /// most urgent one first among equals.
    pub(crate) fn order(&self, waiting: [bool; 4], shares: &Shares) -> impl Iterator<Item = ExecuteKind> + use<> {
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

    /// Counts a dispatch.
    pub(crate) fn count(&mut self, kind: ExecuteKind, shares: &Shares) {
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

    /// Reverses the last [`ShareWindow::count`] of a kind: the job came back without having begun.
    pub(crate) fn uncount(&mut self, kind: ExecuteKind) {
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
        let mut window = ShareWindow::default();
        let mut out = Vec::new();
        for _ in 0..n {
            let kind = window.order(ExecuteKind::ALL.map(|k| waiting.contains(&k)), shares).next().unwrap();
            window.count(kind, shares);
            out.push(kind);
        }
        out
    }

    fn dispatches(run: &[ExecuteKind], kind: ExecuteKind) -> usize {
        run.iter().filter(|k| **k == kind).count()
    }

    /// The existing host's test of its shares: all kinds waiting, a full window.
    #[test]
    fn the_restarting_window_is_that_of_the_existing_host() {
        let shares = Shares { restart: true, ..Shares::default() };
        let all = run(&shares, &ExecuteKind::ALL, 12);
        assert_eq!(ExecuteKind::ALL.map(|k| dispatches(&all, k)), [8, 3, 1, 0]);
        let again = run(&shares, &ExecuteKind::ALL, 24);
        assert_eq!(again[12..], again[..12], "the window starts again");
        let two = run(&shares, &[Dispute, Backing], 12);
        assert_eq!(two[..2], [Dispute, Backing]);
        assert_eq!(dispatches(&two, Dispute), 11);
        let low = run(&shares, &[BackingSystem, Backing], 12);
        assert_eq!(dispatches(&low, BackingSystem), 11, "at 100 % it yields when it had everything so far");
    }

    #[test]
    fn beyond_the_shares_the_least_urgent_kind_may_be_next() {
        let shares = Shares { restart: true, beyond: Beyond::LeastUrgent, ..Shares::default() };
        let two = run(&shares, &[Dispute, Backing], 12);
        assert_eq!(two[..6], [Dispute, Backing, Dispute, Dispute, Backing, Dispute]);
        assert_eq!(dispatches(&two, Dispute), 8);
    }

    #[test]
    fn the_share_of_an_idle_kind_goes_to_the_others() {
        for restart in [true, false] {
            let shares = Shares { restart, ..Shares::default() };
            assert_eq!(dispatches(&run(&shares, &[Approval], 30), Approval), 30);
            assert_eq!(dispatches(&run(&shares, &[Backing], 30), Backing), 30);
        }
    }

    #[test]
    fn the_sliding_window_serves_late_disputes_and_then_keeps_the_share() {
        for (beyond, disputes) in [(Beyond::MostUrgent, 11..=12), (Beyond::LeastUrgent, 8..=9)] {
            let shares = Shares { beyond, ..Shares::default() };
            let mut window = ShareWindow::default();
            for _ in 0..100 {
                window.count(Backing, &shares);
            }
            let mut run = Vec::new();
            for _ in 0..60 {
                let kind = window.order([true, false, false, true], &shares).next().unwrap();
                window.count(kind, &shares);
                run.push(kind);
            }
            assert_eq!(dispatches(&run[..9], Dispute), 9, "{run:?}");
            for twelve in run[12..].windows(12) {
                assert!(disputes.contains(&dispatches(twelve, Dispute)), "{beyond:?}: {twelve:?}");
            }
            assert!(dispatches(&run, Backing) >= 4, "{run:?}");
        }
    }

    #[test]
    fn a_job_that_came_back_is_not_counted() {
        let shares = Shares::default();
        let mut window = ShareWindow::default();
        window.count(Dispute, &shares);
        window.uncount(Dispute);
        window.uncount(Dispute);
        assert_eq!(window.counts, [0; 4]);
    }
}
