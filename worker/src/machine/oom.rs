//! Whether the kernel killed processes for lack of memory. A job is within its own limits at every moment (`sandbox`
//! enforces them), so such a kill is the machine's doing: it has less memory than its workers were given jobs.

use std::{
    fs,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// The kernel counts a kill before it sends the signal, and jobs that it kills at the same time are looked at one after
/// the other.
const LATELY: Duration = Duration::from_secs(10);

/// What was seen of the kernel's counter.
#[derive(Debug)]
struct Watch {
    kills: u64,
    /// When the counter had grown.
    grown: Option<Instant>,
}

impl Watch {
    /// Whether the counter has grown since the last look, or lately.
    fn look(&mut self, kills: u64, now: Instant) -> bool {
        if kills > self.kills {
            (self.kills, self.grown) = (kills, Some(now));
        }
        self.grown.is_some_and(|at| now.duration_since(at) < LATELY)
    }
}

static WATCH: OnceLock<Mutex<Watch>> = OnceLock::new();

/// Kills for lack of memory on this machine since it started, those of cgroups included (`oom_kill` of `/proc/vmstat`,
/// since Linux 4.13).
fn kills() -> Option<u64> {
    let stat = fs::read_to_string("/proc/vmstat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

/// From now on kills are noticed.
pub(crate) fn watch_oom_kills() {
    WATCH.get_or_init(|| Mutex::new(Watch { kills: kills().unwrap_or(0), grown: None }));
}

/// Whether the kernel has killed a process for lack of memory since the last call, or in the last seconds.
pub(crate) fn oom_killed_lately() -> bool {
    let (Some(watch), Some(kills)) = (WATCH.get(), kills()) else { return false };
    watch.lock().unwrap_or_else(PoisonError::into_inner).look(kills, Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_counts_for_every_job_that_is_looked_at_within_seconds() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch { kills: 7, grown: None };
        assert!(!watch.look(7, after(1)), "kills before the worker started do not count");
        assert!(watch.look(8, after(2)) && watch.look(8, after(3)) && watch.look(8, after(11)));
        assert!(!watch.look(8, after(12)));
        assert!(watch.look(9, after(100)));
    }

    #[test]
    fn this_kernel_counts_kills() {
        assert!(kills().is_some());
    }
}
