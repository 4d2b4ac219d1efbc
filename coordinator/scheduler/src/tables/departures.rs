//! What has become of workers that were told to drain and are not registered any more, for the operators who wait for
//! it. It is bounded: the oldest is forgotten first.

use pvf_proto::identity::WorkerId;
use std::collections::{HashMap, VecDeque};

/// Workers that are remembered.
const REMEMBERED: usize = 4096;

/// Why a worker was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It was silent for too long.
    Lost,
    /// It deregistered.
    Deregistered,
}

/// Workers that were told to drain and are gone.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    how: HashMap<WorkerId, Gone>,
    /// Each of `how` once, the oldest first.
    order: VecDeque<WorkerId>,
}

impl Departures {
    /// A worker that was told to drain is gone.
    pub(crate) fn note(&mut self, worker: WorkerId, gone: Gone) {
        if self.how.insert(worker, gone).is_none() {
            self.order.push_back(worker);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.how.remove(&oldest);
        }
    }

    /// How a worker that was told to drain is gone.
    pub(crate) fn get(&self, worker: &WorkerId) -> Option<Gone> {
        self.how.get(worker).copied()
    }

    /// A worker registers: whether it was told to drain before it was removed.
    pub(crate) fn is_back(&mut self, worker: &WorkerId) -> bool {
        let was_told = self.how.remove(worker).is_some();
        if was_told {
            self.order.retain(|other| other != worker);
        }
        was_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::{identity::UserName, wire::WorkerKind};
    use uuid::Uuid;

    fn worker(n: u64) -> WorkerId {
        WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: Uuid::from_u128(n.into()) }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut departures = Departures::default();
        let last = REMEMBERED as u64;
        for n in 0..=last {
            departures.note(worker(n), Gone::Deregistered);
        }
        assert_eq!([0, 1, last].map(|n| departures.get(&worker(n)).is_some()), [false, true, true]);
        departures.note(worker(1), Gone::Lost);
        assert_eq!(departures.get(&worker(1)), Some(Gone::Lost));
        assert!(departures.is_back(&worker(1)) && !departures.is_back(&worker(1)) && !departures.is_back(&worker(0)));
        assert_eq!(departures.order.len(), departures.how.len());
    }
}
