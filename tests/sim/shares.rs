//! The shares of the kinds of execution, over windows in which every kind has work waiting all the time.

use super::world::World;
use pvf_shared::priority::ExecuteKind;

impl World {
    pub(super) fn check_shares(&mut self) {
        let (waiting, counts) = (self.scheduler.waiting_in_turn(), self.scheduler.counts());
        let (before, last) = std::mem::replace(&mut self.seen, (waiting, counts));
        let got: Vec<_> =
            ExecuteKind::ALL.map(|k| counts.execute_selected[k as usize] - last.execute_selected[k as usize]).into();
        let dispatched: u64 = got.iter().sum();
        // More than one, because some may be retries that have to wait for another worker.
        let backlogged = before.iter().chain(&waiting).all(|n| *n >= 3);
        let shares = self.policy.shares;
        // A dispatch that came back without having begun is not counted as a share.
        // Where users have a limit of jobs, a kind may be queued of which no user may have one more.
        let judged = self.engines.len() == 1
            && !shares.restart
            && self.policy.per_user.jobs == u32::MAX
            && counts.came_back == last.came_back;
        if !judged || !backlogged || dispatched > 1 {
            self.history.clear();
            return;
        }
        let Some(kind) = ExecuteKind::ALL.into_iter().find(|k| got[*k as usize] == 1) else { return };
        self.history.push(kind);
        // The window of the scheduler was filled under the same conditions before this one is judged.
        let Some(from) = self.history.len().checked_sub(12).filter(|from| *from >= 12) else { return };
        self.summary.windows += 1;
        let window = &self.history[from..];
        let got = ExecuteKind::ALL.map(|k| window.iter().filter(|kind| **kind == k).count());
        // 70 % of 12; 80 % of the rest; all of what is left, but for one now and then.
        for (got, (least, most)) in got.into_iter().zip([(8, 9), (2, 4), (0, 2), (0, 1)]) {
            assert!((least..=most).contains(&got), "shares are not kept: {:?}", self.history);
        }
    }
}
