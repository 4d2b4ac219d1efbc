//! What this process itself takes of the time that a node waits: how long it writes an answer, and how much later than
//! asked for its timers fire, which a busy machine makes seconds.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

/// Interval of the measurements.
const INTERVAL: Duration = Duration::from_millis(200);
/// A measured time is forgotten to this part with each interval: after three seconds it is less than a half.
const KEPT: f64 = 0.95;
/// What is left for the answer at least.
const LEAST: Duration = Duration::from_millis(10);

/// The measured overhead.
pub(super) struct Overhead {
    measured: Arc<Mutex<Duration>>,
    timer: AbortHandle,
}

impl Drop for Overhead {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

fn lock(measured: &Mutex<Duration>) -> MutexGuard<'_, Duration> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Overhead {
    /// Measures from now on. Must be called within a tokio runtime.
    pub(super) fn measure() -> Self {
        let measured = Arc::<Mutex<Duration>>::default();
        let of_task = measured.clone();
        let timer = tokio::spawn(async move {
            loop {
                let due = Instant::now() + INTERVAL;
                sleep(INTERVAL).await;
                let late = due.elapsed();
                let mut measured = lock(&of_task);
                *measured = measured.mul_f64(KEPT).max(late);
            }
        });
        Self { measured, timer: timer.abort_handle() }
    }

    /// An answer took so long to write.
    pub(super) fn note(&self, took: Duration) {
        let mut measured = lock(&self.measured);
        *measured = measured.max(took);
    }

    /// How much earlier an answer must be begun.
    pub(super) fn expected(&self) -> Duration {
        *lock(&self.measured) + LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_measured_is_subtracted_and_forgotten() {
        let overhead = Overhead::measure();
        overhead.note(Duration::from_secs(1));
        overhead.note(Duration::from_millis(1));
        assert_eq!(overhead.expected(), Duration::from_secs(1) + LEAST);
        sleep(Duration::from_secs(4)).await;
        let later = overhead.expected();
        assert!(later < Duration::from_millis(500) && later >= LEAST, "{later:?}");
    }
}
