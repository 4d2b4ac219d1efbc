//! What an embedding application can read of its host: counters with the names that dashboards already know.

use pvf_coordinator::Counters;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The host's counters. Clone it, hand one to [`crate::start`], read the other.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) counters: Arc<Counters>,
    /// Mechanisms of the sandbox that jobs have to do without.
    pub(crate) sandbox_missing: Arc<AtomicU64>,
}

impl Metrics {
    /// The counters in Prometheus' text format, and how many mechanisms of the sandbox are missing: 0 is secure.
    pub fn render(&self) -> String {
        let (name, missing) = ("pvf_sandbox_mechanisms_missing", self.sandbox_missing.load(Ordering::Relaxed));
        let help = "Mechanisms of the sandbox that jobs have to do without";
        self.counters.render() + &format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {missing}\n")
    }
}
