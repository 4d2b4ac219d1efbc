//! Preparations under way: queued, waiting for another attempt, or at a worker.

use crate::{
    collections::ShardedMap,
    keys::{ArtifactKey, ExcludedWorkers, LostAttempts, PrepareSpot},
    tables::lifecycle::IllegalTransition,
    time::Timestamp,
};
use pvf_proto::{
    identity::WorkerId,
    ids::{Attempt, JobId},
};

/// Where a preparation is in its life. When it is concluded it leaves the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PreparationState {
    /// It waits for a slot.
    Queued(PrepareSpot),
    /// An attempt came back without having begun; the next one waits until then.
    BackingOff(Timestamp),
    /// A worker has it, dispatched then.
    Dispatched { attempt: Attempt, worker: WorkerId, at: Timestamp },
}

/// What can happen to a preparation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PreparationEvent {
    /// It changed its place in the queue.
    Moved(PrepareSpot),
    /// It was dispatched.
    Dispatched { worker: WorkerId, at: Timestamp },
    /// Its attempt is over and it is queued again.
    Requeued(PrepareSpot),
    /// Its attempt is over and the next one has to wait until then.
    Delayed(Timestamp),
}

/// One preparation.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) artifact: ArtifactKey,
    /// When it was queued first: it keeps this place when it comes back.
    pub(crate) enqueued: Timestamp,
    pub(crate) excluded: ExcludedWorkers,
    pub(crate) lost: LostAttempts,
    pub(crate) infra_failures: u32,
    /// Attempts that failed in a way that may be the machine's doing or the code's.
    pub(crate) ambiguous_failures: u32,
    /// Workers that were lost while they had it.
    pub(crate) deaths: u32,
    /// Attempts that were refused, not sent, had no worker, or were given back.
    pub(crate) not_begun_failures: u32,
    last_attempt: Attempt,
    state: PreparationState,
}

impl Preparation {
    pub(crate) fn new(artifact: ArtifactKey, spot: PrepareSpot, now: Timestamp) -> Self {
        Self::in_state(artifact, PreparationState::Queued(spot), 0, now)
    }

    /// One whose attempt an earlier coordinator dispatched, and a worker has.
    pub(crate) fn adopted(artifact: ArtifactKey, (worker, attempt): (WorkerId, Attempt), now: Timestamp) -> Self {
        Self::in_state(artifact, PreparationState::Dispatched { attempt, worker, at: now }, attempt, now)
    }

    fn in_state(artifact: ArtifactKey, state: PreparationState, last_attempt: Attempt, now: Timestamp) -> Self {
        Self {
            artifact,
            enqueued: now,
            excluded: Vec::new(),
            lost: Vec::new(),
            infra_failures: 0,
            ambiguous_failures: 0,
            deaths: 0,
            not_begun_failures: 0,
            last_attempt,
            state,
        }
    }

    pub(crate) fn state(&self) -> &PreparationState {
        &self.state
    }

    /// The only place where a preparation changes its state. Returns the state before.
    pub(crate) fn transition(&mut self, event: PreparationEvent) -> Result<PreparationState, IllegalTransition> {
        use PreparationEvent as E;
        use PreparationState as S;
        let next = match (&self.state, event) {
            (S::Queued(_), E::Moved(spot)) | (S::Dispatched { .. } | S::BackingOff(_), E::Requeued(spot)) => {
                S::Queued(spot)
            }
            (S::Queued(_), E::Dispatched { worker, at }) => {
                self.last_attempt += 1;
                S::Dispatched { attempt: self.last_attempt, worker, at }
            }
            (S::Dispatched { .. }, E::Delayed(until)) => S::BackingOff(until),
            (state, event) => return Err(IllegalTransition::new("preparation", state, &event)),
        };
        Ok(std::mem::replace(&mut self.state, next))
    }

    /// Whether this is the attempt that a worker has now.
    pub(crate) fn is_current(&self, attempt: Attempt) -> bool {
        matches!(self.state, PreparationState::Dispatched { attempt: current, .. } if current == attempt)
    }

    /// The attempt that was dispatched last.
    pub(crate) fn last_attempt(&self) -> Attempt {
        self.last_attempt
    }

    /// When the attempt that a worker has now was dispatched.
    pub(crate) fn dispatched(&self) -> Option<Timestamp> {
        match self.state {
            PreparationState::Dispatched { at, .. } => Some(at),
            PreparationState::Queued(_) | PreparationState::BackingOff(_) => None,
        }
    }
}

/// The preparations, by job.
pub(crate) type Preparations = ShardedMap<JobId, Preparation>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::lifecycle::assert_lifecycle;
    use pvf_proto::identity::{UserName, WorkerKind};
    use pvf_proto::priority::PreparePriority;

    #[test]
    fn the_lifecycle_has_these_transitions_and_no_others() {
        use PreparationEvent as E;
        use PreparationState as S;
        let (worker, at) = (
            WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::nil() },
            Timestamp::default(),
        );
        let spot = |job| PrepareSpot { priority: PreparePriority::Normal, place: (at, JobId(job)) };
        let states =
            [S::Queued(spot(1)), S::Queued(spot(2)), S::BackingOff(at), S::Dispatched { attempt: 1, worker, at }];
        let events = [E::Moved(spot(2)), E::Dispatched { worker, at }, E::Requeued(spot(1)), E::Delayed(at)];
        let legal = [
            (S::Queued(spot(1)), E::Moved(spot(2)), S::Queued(spot(2))),
            (S::Queued(spot(1)), E::Dispatched { worker, at }, S::Dispatched { attempt: 1, worker, at }),
            (S::Queued(spot(2)), E::Moved(spot(2)), S::Queued(spot(2))),
            (S::Queued(spot(2)), E::Dispatched { worker, at }, S::Dispatched { attempt: 1, worker, at }),
            (S::BackingOff(at), E::Requeued(spot(1)), S::Queued(spot(1))),
            (S::Dispatched { attempt: 1, worker, at }, E::Requeued(spot(1)), S::Queued(spot(1))),
            (S::Dispatched { attempt: 1, worker, at }, E::Delayed(at), S::BackingOff(at)),
        ];
        assert_lifecycle((&states, &events), &legal, |state, event| {
            let mut task = Preparation::new(ArtifactKey::default(), spot(1), at);
            task.state = state;
            (task.transition(event), task.state)
        });
    }

    #[test]
    fn attempts_are_numbered_and_only_the_last_one_counts() {
        let (worker, at) = (
            WorkerId { kind: WorkerKind::Execute, user: UserName::default(), session: uuid::Uuid::nil() },
            Timestamp::default(),
        );
        let spot = PrepareSpot { priority: PreparePriority::Normal, place: (at, JobId(1)) };
        let mut task = Preparation::new(ArtifactKey::default(), spot, at);
        for attempt in 1..=3 {
            assert!(!task.is_current(attempt));
            task.transition(PreparationEvent::Dispatched { worker, at }).unwrap();
            assert!(task.is_current(attempt) && !task.is_current(attempt - 1));
            assert_eq!((task.last_attempt(), task.dispatched()), (attempt, Some(at)));
            task.transition(PreparationEvent::Requeued(spot)).unwrap();
            assert_eq!((task.is_current(attempt), task.dispatched()), (false, None));
        }
    }
}
