//! What an embedding application can read of its host: counters with the names that dashboards already know.

use pvf_coordinator::Counters;
use std::sync::Arc;

/// The host's counters. Clone it, hand one to [`crate::start`], read the other.
#[derive(Debug, Clone, Default)]
pub struct Metrics(pub(crate) Arc<Counters>);

impl Metrics {
    /// The counters in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}
