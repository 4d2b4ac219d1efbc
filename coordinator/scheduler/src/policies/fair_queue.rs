//! The queued executions of one kind: jobs that were dispatched before first, then fair between users, and by
//! deadline within one.
//!
//! Fairness is start-time fair queueing: every dispatch moves its user's virtual time on by one, the user with the
//! smallest virtual time is served next, and a user that had nothing queued starts at the present. Between equal
//! virtual times the earliest deadline decides, so that users that ask for no more than their share are served by
//! deadline.

use crate::keys::{DeadlineOrder, Spot, UserKey};
use pvf_proto::ids::JobId;
use slotmap::SecondaryMap;
use std::collections::BTreeSet;

#[derive(Debug)]
struct User {
    jobs: BTreeSet<DeadlineOrder>,
    virtual_time: u64,
}

/// The queued executions of one kind.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    retries: BTreeSet<DeadlineOrder>,
    /// A later user with the slot of one here would replace it: a user is not forgotten while
    /// [`FairQueue::remembers`] it.
    users: SecondaryMap<UserKey, User>,
    /// Every user that has jobs here, by virtual time, with its first job.
    turns: BTreeSet<(u64, DeadlineOrder, UserKey)>,
    /// Users without jobs whose virtual time is ahead of the present: returning does not reset it.
    idle: BTreeSet<(u64, UserKey)>,
    present: u64,
    /// Every job that is queued here: they are numbered as they arrive.
    arrivals: BTreeSet<JobId>,
}

/// Removes an element that mostly is the first one, which needs no search.
fn remove<T: Ord>(set: &mut BTreeSet<T>, one: &T) -> bool {
    if set.first() == Some(one) { set.pop_first().is_some() } else { set.remove(one) }
}

impl FairQueue {
    pub(crate) fn push(&mut self, spot: Spot) {
        self.arrivals.insert(spot.place.1);
        let Some(id) = spot.user else {
            self.retries.insert(spot.place);
            return;
        };
        let present = self.present;
        if !self.users.contains_key(id) {
            self.users.insert(id, User { jobs: BTreeSet::new(), virtual_time: present });
        }
        let Some(user) = self.users.get_mut(id) else { return };
        let first = user.jobs.first().copied();
        if first.is_none() {
            self.idle.remove(&(user.virtual_time, id));
        }
        user.jobs.insert(spot.place);
        if first.is_none_or(|first| spot.place < first) {
            if let Some(first) = first {
                self.turns.remove(&(user.virtual_time, first, id));
            }
            self.turns.insert((user.virtual_time, spot.place, id));
        }
    }

    /// Removes a job that is not dispatched: its user keeps its virtual time.
    pub(crate) fn remove(&mut self, spot: Spot) -> bool {
        let there = match spot.user {
            None => self.retries.remove(&spot.place),
            Some(id) => self.take(id, spot.place, 0),
        };
        if there {
            remove(&mut self.arrivals, &spot.place.1);
        }
        there
    }

    /// Removes a job that is dispatched: its user's virtual time moves on.
    pub(crate) fn dispatch(&mut self, spot: Spot) {
        let there = match spot.user {
            None => self.retries.remove(&spot.place),
            Some(id) => self.take(id, spot.place, 1),
        };
        if there {
            remove(&mut self.arrivals, &spot.place.1);
        }
    }

    fn take(&mut self, id: UserKey, place: DeadlineOrder, cost: u64) -> bool {
        let Some(user) = self.users.get_mut(id) else { return false };
        let Some(first) = user.jobs.first().copied() else { return false };
        if !remove(&mut user.jobs, &place) {
            return false;
        }
        if place != first && cost == 0 {
            return true;
        }
        remove(&mut self.turns, &(user.virtual_time, first, id));
        if cost > 0 {
            self.present = self.present.max(user.virtual_time);
            user.virtual_time += cost;
        }
        match user.jobs.first() {
            Some(next) => self.turns.insert((user.virtual_time, *next, id)),
            None => self.idle.insert((user.virtual_time, id)),
        };
        self.forget_idle();
        true
    }

    /// Forgets users without jobs that the present has caught up with, or all of them if nothing is queued.
    fn forget_idle(&mut self) {
        while let Some((virtual_time, id)) = self.idle.first().copied() {
            if virtual_time > self.present && !self.turns.is_empty() {
                break;
            }
            self.idle.pop_first();
            self.users.remove(id);
        }
    }

    /// Whether a user has jobs here or a virtual time ahead of the present.
    pub(crate) fn remembers(&self, user: UserKey) -> bool {
        self.users.contains_key(user)
    }

    /// Jobs that were dispatched before, the earliest deadline first.
    pub(crate) fn retries(&self) -> impl Iterator<Item = Spot> + '_ {
        self.retries.iter().map(|place| Spot { place: *place, user: None })
    }

    /// The job that is next, apart from jobs that were dispatched before, of the users that may have one more.
    pub(crate) fn next(&self, may_have_more: impl Fn(UserKey) -> bool) -> Option<Spot> {
        let turn = self.turns.iter().find(|(_, _, user)| may_have_more(*user));
        turn.map(|(_, place, user)| Spot { place: *place, user: Some(*user) })
    }

    /// Any queued job.
    pub(crate) fn any(&self) -> Option<Spot> {
        self.retries().next().or_else(|| self.next(|_| true))
    }

    /// The job that arrived first.
    pub(crate) fn oldest(&self) -> Option<JobId> {
        self.arrivals.first().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// How many are queued that were not dispatched before.
    pub(crate) fn len_in_turn(&self) -> usize {
        self.len() - self.retries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use pvf_proto::ids::JobId;
    use std::time::Duration;

    fn spot(deadline: u64, job: u64, user: u32) -> Spot {
        let user = Some(slotmap::KeyData::from_ffi(u64::from(user) | 1 << 32).into());
        Spot { place: (Timestamp::at(Duration::from_secs(deadline)), JobId(job)), user }
    }

    /// Dispatches so many jobs. Returns them in their order.
    fn dispatch(queue: &mut FairQueue, n: usize) -> Vec<u64> {
        let next = || {
            let spot = queue.next(|_| true)?;
            queue.dispatch(spot);
            Some(spot.place.1.0)
        };
        std::iter::from_fn(next).take(n).collect()
    }

    fn drain(queue: &mut FairQueue) -> Vec<u64> {
        let order = dispatch(queue, usize::MAX);
        assert_eq!((queue.len(), queue.users.len()), (0, 0));
        order
    }

    #[test]
    fn one_user_is_served_by_deadline_then_arrival() {
        let mut queue = FairQueue::default();
        [spot(9, 1, 1), spot(5, 2, 1), spot(7, 3, 1), spot(5, 4, 1)].into_iter().for_each(|s| queue.push(s));
        assert_eq!(drain(&mut queue), [2, 4, 3, 1]);
    }

    #[test]
    fn a_user_with_many_jobs_does_not_starve_another() {
        let mut queue = FairQueue::default();
        (0..100).for_each(|n| queue.push(spot(1, n, 1)));
        assert_eq!(dispatch(&mut queue, 50).len(), 50);
        // The second user comes later with later deadlines, and still gets every other dispatch.
        (200..205).for_each(|n| queue.push(spot(9, n, 2)));
        let order = drain(&mut queue);
        let last = order.iter().position(|n| *n == 204).unwrap();
        assert!(last <= 10, "{order:?}");
    }

    #[test]
    fn a_user_that_sends_one_job_at_a_time_gets_no_more_than_its_share() {
        let mut queue = FairQueue::default();
        (0..10).for_each(|n| queue.push(spot(9, n, 1)));
        let mut order = Vec::new();
        for n in 100..108 {
            queue.push(spot(1, n, 2));
            order.extend(dispatch(&mut queue, 1));
        }
        assert!(order.iter().filter(|n| **n < 100).count() >= 3, "{order:?}");
    }

    #[test]
    fn users_with_one_job_each_are_served_by_deadline() {
        let mut queue = FairQueue::default();
        (0..10).for_each(|n| queue.push(spot(100 - n, n, n as u32)));
        assert_eq!(drain(&mut queue), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_removed_job_does_not_count_for_its_user() {
        let spots = [spot(1, 1, 1), spot(2, 2, 1), spot(3, 3, 1), spot(9, 4, 2)];
        let mut queue = FairQueue::default();
        spots.iter().for_each(|s| queue.push(*s));
        assert!(queue.remove(spots[1]) && !queue.remove(spots[1]) && queue.remove(spots[0]));
        assert_eq!(queue.len(), 2);
        assert_eq!(drain(&mut queue), [3, 4]);
    }

    #[test]
    fn users_that_may_not_have_more_are_passed_over() {
        let mut queue = FairQueue::default();
        [spot(1, 1, 1), spot(2, 2, 1), spot(9, 3, 2)].into_iter().for_each(|s| queue.push(s));
        let first = spot(1, 1, 1).user;
        let next = queue.next(|user| Some(user) != first).unwrap();
        assert_eq!(next, spot(9, 3, 2));
        queue.dispatch(next);
        assert_eq!(queue.next(|user| Some(user) != first), None);
        assert_eq!(drain(&mut queue), [1, 2]);
    }

    #[test]
    fn retries_come_before_first_attempts() {
        let mut queue = FairQueue::default();
        let retry = Spot { user: None, ..spot(3, 1, 1) };
        queue.push(retry);
        assert_eq!((queue.next(|_| true), queue.any(), queue.len()), (None, Some(retry), 1));
        assert_eq!(queue.retries().next(), Some(retry));
        queue.dispatch(retry);
        assert_eq!((queue.any(), queue.len()), (None, 0));
    }
}
