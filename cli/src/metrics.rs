//! The metrics of an embedded host, under the names that dashboards of the existing host use.

use pvf_coordinator::Counters;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The metrics of one embedded host. Clones share their values: give one to [`crate::start`] and render another.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) counters: Arc<Counters>,
    /// Sandbox mechanisms that this machine does not have.
    pub(crate) sandbox_missing: Arc<AtomicU64>,
}

impl Metrics {
    /// The metrics in the Prometheus text format. `pvf_sandbox_mechanisms_missing` is 0 if the sandbox is complete.
    pub fn render(&self) -> String {
        let (name, missing) = ("pvf_sandbox_mechanisms_missing", self.sandbox_missing.load(Ordering::Relaxed));
        let help = "Sandbox mechanisms that are missing on this machine";
        self.counters.render() + &format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {missing}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_render_the_same_values() {
        let metrics = Metrics::default();
        metrics.clone().sandbox_missing.store(3, Ordering::Relaxed);
        let text = metrics.render();
        for line in ["# TYPE pvf_sandbox_mechanisms_missing gauge", "pvf_sandbox_mechanisms_missing 3"] {
            assert!(text.lines().any(|l| l == line), "{text}");
        }
        // Dashboards of the existing host read these names.
        for name in ["prepare_enqueued", "prepare_concluded", "execute_enqueued", "execute_finished"] {
            assert!(text.lines().any(|l| l == format!("polkadot_pvf_{name} 0")), "{text}");
        }
    }
}
