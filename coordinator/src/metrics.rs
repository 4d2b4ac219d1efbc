//! What the coordinator counts: name, unit and help in one table. The names are those of the existing host, so
//! that dashboards go on working; they have no `_total`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the coordinator's start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Preparations that were put into the queue.
    pub prepare_enqueued: AtomicU64,
    /// Preparations that ended, well or not.
    pub prepare_concluded: AtomicU64,
    /// Executions that were put into the queue.
    pub execute_enqueued: AtomicU64,
    /// Executions that ended with a report.
    pub execute_finished: AtomicU64,
}

impl Counters {
    fn table(&self) -> [(&'static str, &'static str, &AtomicU64); 4] {
        [
            ("polkadot_pvf_prepare_enqueued", "Preparations put into the queue", &self.prepare_enqueued),
            ("polkadot_pvf_prepare_concluded", "Preparations that ended", &self.prepare_concluded),
            ("polkadot_pvf_execute_enqueued", "Executions put into the queue", &self.execute_enqueued),
            ("polkadot_pvf_execute_finished", "Executions that ended", &self.execute_finished),
        ]
    }

    /// Prometheus' text format.
    pub fn render(&self) -> String {
        let line = |(name, help, value): (&str, &str, &AtomicU64)| {
            let value = value.load(Ordering::Relaxed);
            format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
        };
        self.table().into_iter().map(line).collect()
    }

    /// Takes over what the scheduler has counted.
    pub(crate) fn set(&self, counts: crate::scheduler::Counts) {
        self.prepare_enqueued.store(counts.prepare_enqueued, Ordering::Relaxed);
        self.prepare_concluded.store(counts.prepare_concluded, Ordering::Relaxed);
        self.execute_enqueued.store(counts.execute_enqueued, Ordering::Relaxed);
        self.execute_finished.store(counts.execute_finished, Ordering::Relaxed);
    }
}
