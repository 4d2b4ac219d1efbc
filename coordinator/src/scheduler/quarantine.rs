//! Validations that killed workers: after a few deaths they are answered, not tried on yet another worker.

use super::timers::Moment;
use hashbrown::HashMap;
use pvf_shared::ids::ValidationKey;
use std::{collections::VecDeque, time::Duration};

const MAX_REMEMBERED: usize = 4096;
/// How long deaths are remembered.
const MEMORY: Duration = Duration::from_secs(3600);

/// Deaths of workers, by what they executed.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    deaths: HashMap<ValidationKey, (u32, Moment)>,
    order: VecDeque<ValidationKey>,
}

impl Quarantine {
    /// A worker died while it executed this.
    pub(super) fn note_death(&mut self, identity: ValidationKey, now: Moment) {
        let entry = self.deaths.entry(identity).or_insert_with(|| {
            self.order.push_back(identity);
            (0, now)
        });
        if now.since(entry.1) > MEMORY {
            entry.0 = 0;
        }
        *entry = (entry.0 + 1, now);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.deaths.remove(&oldest);
        }
    }

    /// Whether this has killed as many workers as it may.
    pub(super) fn holds(&self, identity: &ValidationKey, max_deaths: u32, now: Moment) -> bool {
        self.deaths.get(identity).is_some_and(|(n, at)| *n >= max_deaths && now.since(*at) <= MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_after_the_deaths_allowed_and_for_a_while() {
        let mut quarantine = Quarantine::default();
        let (bad, other) = (ValidationKey([1; 32]), ValidationKey([2; 32]));
        let at = |s| Moment::at(Duration::from_secs(s));
        for n in 0..3 {
            assert!(!quarantine.holds(&bad, 3, at(n)));
            quarantine.note_death(bad, at(n));
        }
        assert!(quarantine.holds(&bad, 3, at(3)) && !quarantine.holds(&other, 3, at(3)));
        assert!(!quarantine.holds(&bad, 3, at(3 + 3600)), "a cause that passed does not count for ever");
        for n in 0..10_000_u32 {
            let mut key = [9; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            quarantine.note_death(ValidationKey(key), at(4));
        }
        assert_eq!(quarantine.deaths.len(), MAX_REMEMBERED);
    }
}
