//! Validations that were running when workers were lost: after losses on a few machines they are answered, not tried on
//! another worker.

use crate::time::Timestamp;
use lru::LruCache;
use pvf_proto::ids::ValidationKey;
use smallvec::SmallVec;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// Validations that are remembered; the one whose last loss is the longest ago goes first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long losses are remembered after the last one.
const MEMORY: Duration = Duration::from_secs(3600);
/// Machines that are remembered of one validation: the most that `max_deaths` may be.
const MAX_HOSTS: usize = 100;

/// The losses of one validation.
#[derive(Debug)]
struct Losses {
    /// Machines on which a worker was lost while it ran it, each once: one broken machine says nothing about a validation.
    hosts: SmallVec<[Arc<str>; 2]>,
    last: Timestamp,
}

/// Losses of workers, by the validation that they ran.
#[derive(Debug)]
pub(crate) struct Quarantine(LruCache<ValidationKey, Losses>);

impl Default for Quarantine {
    fn default() -> Self {
        Self(LruCache::new(CAPACITY))
    }
}

impl Quarantine {
    /// A worker of this machine was lost while it ran this validation.
    pub(crate) fn note_death(&mut self, identity: ValidationKey, host: &Arc<str>, now: Timestamp) {
        let losses = self.0.get_or_insert_mut(identity, || Losses { hosts: SmallVec::new(), last: now });
        if now.since(losses.last) > MEMORY {
            losses.hosts.clear();
        }
        losses.last = now;
        if losses.hosts.len() < MAX_HOSTS && !losses.hosts.contains(host) {
            losses.hosts.push(host.clone());
        }
    }

    /// This validation ended by itself: the losses had another cause.
    pub(crate) fn clear(&mut self, identity: &ValidationKey) {
        if !self.0.is_empty() {
            self.0.pop(identity);
        }
    }

    /// The machines on which this validation lost workers, if it has lost as many as it may.
    pub(crate) fn holds(&self, identity: &ValidationKey, max_deaths: u32, now: Timestamp) -> Option<Vec<String>> {
        let Losses { hosts, last } = self.0.peek(identity)?;
        let full = hosts.len() as u64 >= u64::from(max_deaths) && now.since(*last) <= MEMORY;
        full.then(|| hosts.iter().map(|host| host.to_string()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u64) -> Arc<str> {
        format!("host{n}").into()
    }

    #[test]
    fn holds_after_deaths_on_as_many_machines_and_for_an_hour() {
        let mut quarantine = Quarantine::default();
        let (bad, other) = (ValidationKey([1; 32]), ValidationKey([2; 32]));
        let at = |s| Timestamp::at(Duration::from_secs(s));
        for n in 0..3 {
            assert_eq!(quarantine.holds(&bad, 3, at(n)), None);
            quarantine.note_death(bad, &host(n), at(n));
            quarantine.note_death(bad, &host(n), at(n));
        }
        let hosts: Vec<_> = (0..3).map(|n| host(n).to_string()).collect();
        assert_eq!((quarantine.holds(&bad, 3, at(3)), quarantine.holds(&other, 3, at(3))), (Some(hosts), None));
        assert_eq!(quarantine.holds(&bad, 3, at(3 + 3600)), None, "old losses do not count");
        quarantine.clear(&bad);
        assert_eq!(quarantine.holds(&bad, 3, at(3)), None);
        for n in 0..10_000_u32 {
            let mut key = [9; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            quarantine.note_death(ValidationKey(key), &host(1), at(4));
        }
        assert_eq!(quarantine.0.len(), CAPACITY.get());
    }
}
