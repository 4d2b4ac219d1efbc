//! The forks of one template that were made ahead of time.

use super::fork::Fork;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Spare forks of one template. Ready and reserved ones together are never more than `wanted`.
pub(super) struct Spares {
    wanted: usize,
    ready: Mutex<Vec<Fork>>,
    /// Spares that are being made.
    reserved: AtomicUsize,
}

/// Room for a spare that is being made; dropping it frees the room.
pub(super) struct SpareReservation(Arc<Spares>);

impl Spares {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, ready: Mutex::default(), reserved: AtomicUsize::new(0) }
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Fork>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are ready.
    pub(super) fn len(&self) -> usize {
        self.ready().len()
    }

    /// A spare that has not exited.
    pub(super) fn take(&self) -> Option<Fork> {
        let mut ready = self.ready();
        std::iter::from_fn(|| ready.pop()).find(|fork| !fork.process().has_exited())
    }

    /// Room for one more spare, if there are fewer than wanted.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<SpareReservation> {
        let ready = self.ready();
        if ready.len() + self.reserved.load(Ordering::Acquire) >= self.wanted {
            return None;
        }
        self.reserved.fetch_add(1, Ordering::AcqRel);
        Some(SpareReservation(self.clone()))
    }

    /// Room for a spare if none is ready or being made.
    pub(super) fn reserve_first(self: &Arc<Self>) -> Option<SpareReservation> {
        let none = self.ready().is_empty() && self.reserved.load(Ordering::Acquire) == 0;
        if none { self.reserve() } else { None }
    }
}

impl SpareReservation {
    pub(super) fn fill(self, fork: Fork) {
        self.0.ready().push(fork);
    }
}

impl Drop for SpareReservation {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_spares_are_reserved_than_wanted() {
        let spares = Arc::new(Spares::new(2));
        let first = spares.reserve_first().unwrap();
        assert!(spares.reserve_first().is_none(), "one is being made");
        let second = spares.reserve().unwrap();
        assert!(spares.reserve().is_none());
        drop(first);
        assert!(spares.reserve().is_some());
        drop(second);
        assert!(spares.reserve_first().is_some());
        assert!(Arc::new(Spares::new(0)).reserve().is_none());
    }
}
