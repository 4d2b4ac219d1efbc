//! What happens again and again is logged at most once in some time, with how often it was not logged since.

use std::time::Duration;
use tokio::time::Instant;

/// One thing that may happen again and again.
#[derive(Debug)]
pub struct Repeats {
    interval: Duration,
    /// When it was logged last.
    logged: Option<Instant>,
    /// How often it was not logged since.
    unlogged: u64,
}

impl Repeats {
    /// Is logged at most once in this time.
    pub fn of(interval: Duration) -> Self {
        Self { interval, logged: None, unlogged: 0 }
    }

    /// It happened: whether it is logged, and how often it was not before.
    pub fn happened(&mut self, now: Instant) -> Option<u64> {
        if self.logged.is_some_and(|logged| now.duration_since(logged) < self.interval) {
            self.unlogged += 1;
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }

    /// It is over: the next time is logged.
    pub fn end(&mut self) {
        *self = Self::of(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_logged_once_in_the_interval() {
        let (mut repeats, start) = (Repeats::of(Duration::from_secs(60)), Instant::now());
        let mut logged = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            seconds.filter_map(|second| repeats.happened(start + Duration::from_secs(second))).collect()
        };
        assert_eq!(logged(0..130), [0, 59, 59]);
        assert!(logged(130..170).is_empty());
        repeats.end();
        assert_eq!(repeats.happened(start + Duration::from_secs(170)), Some(0));
    }
}
