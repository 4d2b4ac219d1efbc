//! Queued preparations: critical before normal before background, then first come, first served. A preparation that
//! waited for long counts as more urgent (aging), so that none starves.

use crate::{
    keys::{ArrivalOrder, EngineKey, PrepareSpot},
    time::Timestamp,
};
use pvf_proto::priority::PreparePriority;
use std::{collections::BTreeSet, time::Duration};

/// The queued preparations of all engines.
#[derive(Debug, Default)]
pub(crate) struct PrepareQueue(Vec<[BTreeSet<ArrivalOrder>; 3]>);

impl PrepareQueue {
    pub(crate) fn push(&mut self, engine: EngineKey, spot: PrepareSpot) {
        let at = engine.0 as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Default::default);
        }
        self.0[at][spot.priority as usize].insert(spot.place);
    }

    /// Removes a job. Returns whether it was there.
    pub(crate) fn remove(&mut self, engine: EngineKey, spot: PrepareSpot) -> bool {
        self.0.get_mut(engine.0 as usize).is_some_and(|e| e[spot.priority as usize].remove(&spot.place))
    }

    /// The first jobs of each priority, in the order in which they should be dispatched; `aging` is how long a
    /// job waits until it counts as one priority higher.
    pub(crate) fn first(
        &self,
        engine: EngineKey,
        each: usize,
        now: Timestamp,
        aging: Option<Duration>,
    ) -> Vec<PrepareSpot> {
        let Some(queues) = self.0.get(engine.0 as usize) else { return Vec::new() };
        let mut spots: Vec<_> = PreparePriority::ALL
            .into_iter()
            .flat_map(|priority| {
                queues[priority as usize].iter().take(each).map(move |place| PrepareSpot { priority, place: *place })
            })
            .collect();
        let urgency = |spot: &PrepareSpot| {
            let waited = now.since(spot.place.0).as_nanos();
            let raised = aging.map_or(0, |aging| waited / aging.as_nanos().max(1));
            (spot.priority as u128 + raised).min(PreparePriority::Critical as u128)
        };
        spots.sort_by_key(|spot| (std::cmp::Reverse(urgency(spot)), spot.place));
        spots
    }

    /// Whether nothing is queued for an engine.
    pub(crate) fn is_empty(&self, engine: EngineKey) -> bool {
        self.0.get(engine.0 as usize).is_none_or(|e| e.iter().all(BTreeSet::is_empty))
    }

    /// When the oldest one was queued, by priority: background, normal, critical.
    pub(crate) fn oldest(&self) -> [Option<Timestamp>; 3] {
        PreparePriority::ALL.map(|priority| self.0.iter().filter_map(|e| Some(e[priority as usize].first()?.0)).min())
    }

    /// How many are queued, by priority: background, normal, critical.
    pub(crate) fn depths(&self) -> [u64; 3] {
        PreparePriority::ALL.map(|priority| self.0.iter().map(|e| e[priority as usize].len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PreparePriority::*;
    use pvf_proto::ids::JobId;

    const ENGINE: EngineKey = EngineKey(0);

    fn spot(priority: PreparePriority, at: u64, job: u64) -> PrepareSpot {
        PrepareSpot { priority, place: (Timestamp::at(Duration::from_secs(at)), JobId(job)) }
    }

    fn order(queue: &PrepareQueue, now: u64, aging: Option<u64>) -> Vec<u64> {
        let now = Timestamp::at(Duration::from_secs(now));
        queue.first(ENGINE, 16, now, aging.map(Duration::from_secs)).iter().map(|t| t.place.1.0).collect()
    }

    #[test]
    fn priority_then_arrival() {
        let mut queue = PrepareQueue::default();
        for t in [spot(Background, 1, 1), spot(Normal, 2, 2), spot(Critical, 3, 3), spot(Normal, 2, 4)] {
            queue.push(ENGINE, t);
        }
        assert_eq!(order(&queue, 1000, None), [3, 2, 4, 1], "without aging, however long they wait");
        assert!(queue.remove(ENGINE, spot(Normal, 2, 2)) && !queue.remove(ENGINE, spot(Normal, 2, 2)));
        assert_eq!(queue.depths(), [1, 1, 1]);
    }

    #[test]
    fn a_job_that_waited_for_long_is_raised() {
        let mut queue = PrepareQueue::default();
        for t in [spot(Background, 0, 1), spot(Normal, 15, 2), spot(Critical, 19, 3)] {
            queue.push(ENGINE, t);
        }
        assert_eq!(order(&queue, 20, Some(100)), [3, 2, 1]);
        assert_eq!(order(&queue, 20, Some(20)), [3, 1, 2], "as normal, and it came first");
        assert_eq!(order(&queue, 20, Some(10)), [1, 3, 2], "as critical, and it came first");
    }
}
