//! The waiting executions of one kind: retries first, then clients in turn, each client's by deadline.
//!
//! Fairness is start-time fair queueing: every dispatch moves its client's virtual time on by one, the client
//! with the smallest goes next, and one that had nothing waiting begins at the present. Between equals the
//! earliest deadline decides, so that clients that ask no more than their share are served by deadline alone.

use super::{clients::ClientKey, timers::Moment};
use hashbrown::HashMap;
use pvf_shared::ids::JobId;
use std::collections::BTreeSet;

/// A job's place among those of its client: earliest deadline, then arrival (jobs are numbered in that order).
pub(super) type Place = (Moment, JobId);

/// Where a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) place: Place,
    /// Whose turn it takes; a job that was dispatched before has had its turn.
    pub(super) client: Option<ClientKey>,
}

#[derive(Debug)]
struct Client {
    jobs: BTreeSet<Place>,
    virtual_time: u64,
}

/// The waiting executions of one kind.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    retries: BTreeSet<Place>,
    clients: HashMap<ClientKey, Client>,
    /// Every client that has jobs here, with its first.
    turns: BTreeSet<(u64, Place, ClientKey)>,
    /// Clients without jobs that are still ahead of the present: coming back does not give them another turn.
    idle: BTreeSet<(u64, ClientKey)>,
    present: u64,
    len: usize,
}

/// Takes one out that most of the time is the first, which is found without looking for it.
fn remove<T: Ord>(set: &mut BTreeSet<T>, one: &T) -> bool {
    if set.first() == Some(one) { set.pop_first().is_some() } else { set.remove(one) }
}

impl FairQueue {
    pub(super) fn push(&mut self, spot: Spot) {
        self.len += 1;
        let Some(id) = spot.client else {
            self.retries.insert(spot.place);
            return;
        };
        let present = self.present;
        let client = self.clients.entry(id).or_insert_with(|| Client { jobs: BTreeSet::new(), virtual_time: present });
        let first = client.jobs.first().copied();
        if first.is_none() {
            self.idle.remove(&(client.virtual_time, id));
        }
        client.jobs.insert(spot.place);
        if first.is_none_or(|first| spot.place < first) {
            if let Some(first) = first {
                self.turns.remove(&(client.virtual_time, first, id));
            }
            self.turns.insert((client.virtual_time, spot.place, id));
        }
    }

    /// Takes a job out without it having had its turn.
    pub(super) fn remove(&mut self, spot: Spot) -> bool {
        let there = match spot.client {
            None => self.retries.remove(&spot.place),
            Some(id) => self.take(id, spot.place, 0),
        };
        self.len -= usize::from(there);
        there
    }

    /// Takes a job out: it is dispatched.
    pub(super) fn dispatch(&mut self, spot: Spot) {
        let there = match spot.client {
            None => self.retries.remove(&spot.place),
            Some(id) => self.take(id, spot.place, 1),
        };
        self.len -= usize::from(there);
    }

    fn take(&mut self, id: ClientKey, place: Place, cost: u64) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let Some(first) = client.jobs.first().copied() else { return false };
        if !remove(&mut client.jobs, &place) {
            return false;
        }
        if place != first && cost == 0 {
            return true;
        }
        remove(&mut self.turns, &(client.virtual_time, first, id));
        if cost > 0 {
            self.present = self.present.max(client.virtual_time);
            client.virtual_time += cost;
        }
        match client.jobs.first() {
            Some(next) => drop(self.turns.insert((client.virtual_time, *next, id))),
            None => drop(self.idle.insert((client.virtual_time, id))),
        }
        self.forget_idle();
        true
    }

    /// Forgets clients without jobs that the present has caught up with, or all of them if nothing waits.
    fn forget_idle(&mut self) {
        while let Some((virtual_time, id)) = self.idle.first().copied() {
            if virtual_time > self.present && !self.turns.is_empty() {
                break;
            }
            self.idle.pop_first();
            self.clients.remove(&id);
        }
    }

    /// Whether a client has jobs here or is ahead of the present.
    pub(super) fn remembers(&self, client: ClientKey) -> bool {
        self.clients.contains_key(&client)
    }

    /// Jobs that were dispatched before, most urgent first.
    pub(super) fn retries(&self) -> impl Iterator<Item = Place> + '_ {
        self.retries.iter().copied()
    }

    /// The job whose turn it is.
    pub(super) fn next(&self) -> Option<JobId> {
        self.turns.first().map(|(_, (_, job), _)| *job)
    }

    /// The jobs that are next, up to so many, if each client had one. Looks at what taking them out will change.
    pub(super) fn heads(&self, n: usize) -> impl Iterator<Item = JobId> + '_ {
        self.turns.iter().take(n).map(|(_, (_, job), client)| {
            std::hint::black_box(self.clients.get(client).and_then(|client| client.jobs.iter().nth(1)));
            *job
        })
    }

    /// Any job.
    pub(super) fn any(&self) -> Option<JobId> {
        self.retries.first().map(|(_, job)| *job).or_else(|| self.next())
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many wait that were not dispatched before.
    pub(super) fn len_in_turn(&self) -> usize {
        self.len - self.retries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn spot(deadline: u64, job: u64, client: u32) -> Spot {
        let client = Some(ClientKey::of(client));
        Spot { place: (Moment::at(Duration::from_secs(deadline)), JobId(job)), client }
    }

    fn drain(queue: &mut FairQueue, spots: &[Spot]) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(job) = queue.next() {
            queue.dispatch(*spots.iter().find(|s| s.place.1 == job).unwrap());
            order.push(job.0);
        }
        assert_eq!((queue.len(), queue.clients.len()), (0, 0));
        order
    }

    #[test]
    fn one_client_is_served_by_deadline_then_arrival() {
        let spots = [spot(9, 1, 1), spot(5, 2, 1), spot(7, 3, 1), spot(5, 4, 1)];
        let mut queue = FairQueue::default();
        spots.iter().for_each(|s| queue.push(*s));
        assert_eq!(drain(&mut queue, &spots), [2, 4, 3, 1]);
    }

    #[test]
    fn a_noisy_client_does_not_starve_the_others() {
        let mut spots: Vec<_> = (0..100).map(|n| spot(1, n, 1)).collect();
        let mut queue = FairQueue::default();
        spots.iter().for_each(|s| queue.push(*s));
        for _ in 0..50 {
            let job = queue.next().unwrap();
            queue.dispatch(*spots.iter().find(|s| s.place.1 == job).unwrap());
        }
        // They come late and ask for later deadlines, and still every other dispatch is theirs.
        let late: Vec<_> = (200..205).map(|n| spot(9, n, 2)).collect();
        late.iter().for_each(|s| queue.push(*s));
        spots.extend(&late);
        let order = drain(&mut queue, &spots);
        let last = order.iter().position(|n| *n == 204).unwrap();
        assert!(last <= 10, "{order:?}");
    }

    #[test]
    fn asking_for_one_thing_at_a_time_gives_no_more_than_a_share() {
        let mut queue = FairQueue::default();
        (0..10).for_each(|n| queue.push(spot(9, n, 1)));
        let mut order = Vec::new();
        for n in 100..108 {
            queue.push(spot(1, n, 2));
            for _ in 0..1 {
                let job = queue.next().unwrap();
                let theirs = if job.0 < 100 { spot(9, job.0, 1) } else { spot(1, job.0, 2) };
                queue.dispatch(theirs);
                order.push(job.0);
            }
        }
        assert!(order.iter().filter(|n| **n < 100).count() >= 3, "{order:?}");
    }

    #[test]
    fn clients_that_ask_for_one_thing_each_are_served_by_deadline() {
        let spots: Vec<_> = (0..10).map(|n| spot(100 - n, n, n as u32)).collect();
        let mut queue = FairQueue::default();
        spots.iter().for_each(|s| queue.push(*s));
        assert_eq!(drain(&mut queue, &spots), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn what_is_taken_out_costs_no_turn() {
        let spots = [spot(1, 1, 1), spot(2, 2, 1), spot(3, 3, 1), spot(9, 4, 2)];
        let mut queue = FairQueue::default();
        spots.iter().for_each(|s| queue.push(*s));
        assert!(queue.remove(spots[1]) && !queue.remove(spots[1]) && queue.remove(spots[0]));
        assert_eq!(queue.len(), 2);
        assert_eq!(drain(&mut queue, &spots), [3, 4]);
    }

    #[test]
    fn retries_stand_apart() {
        let mut queue = FairQueue::default();
        let retry = Spot { client: None, ..spot(3, 1, 1) };
        queue.push(retry);
        assert_eq!((queue.next(), queue.any(), queue.len()), (None, Some(JobId(1)), 1));
        assert_eq!(queue.retries().next(), Some(retry.place));
        queue.dispatch(retry);
        assert_eq!((queue.any(), queue.len()), (None, 0));
    }
}
