//! Validations that were running when workers were lost: after a few losses they are answered, not tried on another
//! worker.

use crate::time::Timestamp;
use lru::LruCache;
use pvf_proto::ids::ValidationKey;
use std::{num::NonZeroUsize, time::Duration};

/// Validations that are remembered; the one whose last loss is the longest ago goes first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long losses are remembered after the last one.
const MEMORY: Duration = Duration::from_secs(3600);

/// Losses of workers, by the validation that they ran.
#[derive(Debug)]
pub(crate) struct Quarantine(LruCache<ValidationKey, (u32, Timestamp)>);

impl Default for Quarantine {
    fn default() -> Self {
        Self(LruCache::new(CAPACITY))
    }
}

impl Quarantine {
    /// A worker was lost while it had this validation.
    pub(crate) fn note_death(&mut self, identity: ValidationKey, now: Timestamp) {
        let (deaths, last) = self.0.get_or_insert_mut(identity, || (0, now));
        if now.since(*last) > MEMORY {
            *deaths = 0;
        }
        (*deaths, *last) = (*deaths + 1, now);
    }

    /// Whether this validation has lost as many workers as it may.
    pub(crate) fn holds(&self, identity: &ValidationKey, max_deaths: u32, now: Timestamp) -> bool {
        self.0.peek(identity).is_some_and(|(deaths, last)| *deaths >= max_deaths && now.since(*last) <= MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_after_the_allowed_deaths_and_for_an_hour() {
        let mut quarantine = Quarantine::default();
        let (bad, other) = (ValidationKey([1; 32]), ValidationKey([2; 32]));
        let at = |s| Timestamp::at(Duration::from_secs(s));
        for n in 0..3 {
            assert!(!quarantine.holds(&bad, 3, at(n)));
            quarantine.note_death(bad, at(n));
        }
        assert!(quarantine.holds(&bad, 3, at(3)) && !quarantine.holds(&other, 3, at(3)));
        assert!(!quarantine.holds(&bad, 3, at(3 + 3600)), "old losses do not count");
        for n in 0..10_000_u32 {
            let mut key = [9; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            quarantine.note_death(ValidationKey(key), at(4));
        }
        assert_eq!(quarantine.0.len(), CAPACITY.get());
    }
}
