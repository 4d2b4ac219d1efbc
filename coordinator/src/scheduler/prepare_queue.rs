//! Preparations that wait for a slot: critical before normal before background, then first come, first served.
//! What has waited for long counts as more urgent (aging), so that nothing is starved for ever.

use super::{fleet::EngineKey, timers::Moment};
use pvf_shared::{ids::JobId, priority::PreparePriority};
use std::{collections::BTreeSet, time::Duration};

const PRIORITIES: [PreparePriority; 3] =
    [PreparePriority::Background, PreparePriority::Normal, PreparePriority::Critical];

/// A job's place within its priority: when it came into the queue first.
pub(super) type Place = (Moment, JobId);

/// A preparation's turn, as aging sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) priority: PreparePriority,
    pub(super) place: Place,
}

/// Preparations that wait for a slot.
#[derive(Debug, Default)]
pub(super) struct PrepareQueue(Vec<[BTreeSet<Place>; 3]>);

impl PrepareQueue {
    pub(super) fn push(&mut self, engine: EngineKey, turn: Turn) {
        let at = engine.0 as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Default::default);
        }
        self.0[at][turn.priority as usize].insert(turn.place);
    }

    /// Takes a job out; whether it was there.
    pub(super) fn remove(&mut self, engine: EngineKey, turn: Turn) -> bool {
        self.0.get_mut(engine.0 as usize).is_some_and(|e| e[turn.priority as usize].remove(&turn.place))
    }

    /// The first jobs of each priority, in the order in which they should be dispatched; `aging` is how long a
    /// job waits until it counts as one priority higher.
    pub(super) fn first(&self, engine: EngineKey, each: usize, now: Moment, aging: Option<Duration>) -> Vec<Turn> {
        let Some(queues) = self.0.get(engine.0 as usize) else { return Vec::new() };
        let mut turns: Vec<_> = PRIORITIES
            .into_iter()
            .flat_map(|priority| {
                queues[priority as usize].iter().take(each).map(move |place| Turn { priority, place: *place })
            })
            .collect();
        let urgency = |turn: &Turn| {
            let waited = now.since(turn.place.0).as_nanos();
            let raised = aging.map_or(0, |aging| waited / aging.as_nanos().max(1));
            (turn.priority as u128 + raised).min(PreparePriority::Critical as u128)
        };
        turns.sort_by_key(|turn| (std::cmp::Reverse(urgency(turn)), turn.place));
        turns
    }

    /// Whether anything waits for an engine.
    pub(super) fn is_empty(&self, engine: EngineKey) -> bool {
        self.0.get(engine.0 as usize).is_none_or(|e| e.iter().all(BTreeSet::is_empty))
    }

    /// How many wait, by priority: background, normal, critical.
    pub(super) fn depths(&self) -> [u64; 3] {
        PRIORITIES.map(|priority| self.0.iter().map(|e| e[priority as usize].len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PreparePriority::*;

    const ENGINE: EngineKey = EngineKey(0);

    fn turn(priority: PreparePriority, at: u64, job: u64) -> Turn {
        Turn { priority, place: (Moment::at(Duration::from_secs(at)), JobId(job)) }
    }

    fn order(queue: &PrepareQueue, now: u64, aging: Option<u64>) -> Vec<u64> {
        let now = Moment::at(Duration::from_secs(now));
        queue.first(ENGINE, 16, now, aging.map(Duration::from_secs)).iter().map(|t| t.place.1.0).collect()
    }

    #[test]
    fn priority_then_arrival() {
        let mut queue = PrepareQueue::default();
        for t in [turn(Background, 1, 1), turn(Normal, 2, 2), turn(Critical, 3, 3), turn(Normal, 2, 4)] {
            queue.push(ENGINE, t);
        }
        assert_eq!(order(&queue, 1000, None), [3, 2, 4, 1], "without aging, however long they wait");
        assert!(queue.remove(ENGINE, turn(Normal, 2, 2)) && !queue.remove(ENGINE, turn(Normal, 2, 2)));
        assert_eq!(queue.depths(), [1, 1, 1]);
    }

    #[test]
    fn whoever_waits_long_enough_is_raised() {
        let mut queue = PrepareQueue::default();
        for t in [turn(Background, 0, 1), turn(Normal, 15, 2), turn(Critical, 19, 3)] {
            queue.push(ENGINE, t);
        }
        assert_eq!(order(&queue, 20, Some(100)), [3, 2, 1]);
        assert_eq!(order(&queue, 20, Some(20)), [3, 1, 2], "as normal, and it came first");
        assert_eq!(order(&queue, 20, Some(10)), [1, 3, 2], "as critical, and it came first");
    }
}
