//! The order of waiting jobs, shared by the prepare and the execute queue: most urgent class first, then first
//! come, first served, for each engine by itself.

use pvf_shared::ids::{EngineId, JobId};
use std::collections::{BTreeSet, HashMap};

/// Place of a job in its queue: urgency (the smaller, the sooner), then arrival.
pub(super) type Place<P> = (P, u64, JobId);

/// Waiting jobs.
#[derive(Debug)]
pub(super) struct Queue<P> {
    by_engine: HashMap<EngineId, BTreeSet<Place<P>>>,
    places: HashMap<JobId, (EngineId, Place<P>)>,
    arrivals: u64,
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self { by_engine: HashMap::new(), places: HashMap::new(), arrivals: 0 }
    }
}

impl<P: Ord + Copy> Queue<P> {
    /// Adds a job at the end of its class.
    pub(super) fn push(&mut self, engine: &EngineId, urgency: P, job: JobId) {
        self.arrivals += 1;
        self.insert(engine.clone(), (urgency, self.arrivals, job));
    }

    /// Adds a job at the front of its class: one that was dispatched before and came back.
    pub(super) fn push_front(&mut self, engine: &EngineId, urgency: P, job: JobId) {
        self.insert(engine.clone(), (urgency, 0, job));
    }

    fn insert(&mut self, engine: EngineId, place: Place<P>) {
        self.by_engine.entry(engine.clone()).or_default().insert(place);
        self.places.insert(place.2, (engine, place));
    }

    /// Makes a waiting job more urgent; it keeps its arrival. Never makes one less urgent.
    pub(super) fn raise(&mut self, job: JobId, urgency: P) {
        let Some((engine, place)) = self.places.get(&job).cloned() else { return };
        if urgency < place.0 {
            self.remove(job);
            self.insert(engine, (urgency, place.1, job));
        }
    }

    /// Takes a job out; whether it was there.
    pub(super) fn remove(&mut self, job: JobId) -> bool {
        let Some((engine, place)) = self.places.remove(&job) else { return false };
        if let Some(jobs) = self.by_engine.get_mut(&engine) {
            jobs.remove(&place);
            if jobs.is_empty() {
                self.by_engine.remove(&engine);
            }
        }
        true
    }

    /// Engines that have waiting jobs.
    pub(super) fn engines(&self) -> Vec<EngineId> {
        let mut engines: Vec<_> = self.by_engine.keys().cloned().collect();
        engines.sort_unstable();
        engines
    }

    /// The waiting jobs of an engine, most urgent first.
    pub(super) fn in_order(&self, engine: &EngineId) -> impl Iterator<Item = JobId> + '_ {
        self.by_engine.get(engine).into_iter().flatten().map(|place| place.2)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether this job waits.
    pub(super) fn contains(&self, job: JobId) -> bool {
        self.places.contains_key(&job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_then_arrival_and_only_upwards() {
        let engine = EngineId::parse("e").unwrap();
        let mut queue = Queue::<u8>::default();
        for (job, urgency) in [(1, 2), (2, 1), (3, 2), (4, 1)] {
            queue.push(&engine, urgency, JobId(job));
        }
        let order = |q: &Queue<u8>| q.in_order(&engine).map(|j| j.0).collect::<Vec<_>>();
        assert_eq!(order(&queue), [2, 4, 1, 3]);
        queue.raise(JobId(3), 0);
        queue.raise(JobId(2), 2);
        assert_eq!(order(&queue), [3, 2, 4, 1]);
        queue.raise(JobId(1), 1);
        assert_eq!(order(&queue), [3, 1, 2, 4], "a raised job keeps its arrival");
        assert!(queue.remove(JobId(3)) && !queue.remove(JobId(3)));
        queue.push_front(&engine, 2, JobId(9));
        assert_eq!(order(&queue), [1, 2, 4, 9]);
        assert_eq!(queue.len(), 4);
    }
}
