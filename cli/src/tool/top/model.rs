//! The parts of answers that only the pages show. Fields that an answer does not have are empty.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The state of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) at_ms: f64,
    pub(super) started_ms: Option<f64>,
    pub(super) version: String,
    pub(super) token: u64,
    pub(super) prepare_workers: u64,
    pub(super) prepare_slots: u64,
    pub(super) prepare_busy: u64,
    pub(super) execute_workers: u64,
    pub(super) execute_slots: u64,
    pub(super) execute_busy: u64,
    pub(super) requests: u64,
    pub(super) request_bytes: u64,
    pub(super) clients: u64,
    pub(super) prepare_queue: BTreeMap<String, u64>,
    pub(super) prepare_oldest_ms: BTreeMap<String, Option<f64>>,
    pub(super) execute_queue: BTreeMap<String, u64>,
    pub(super) execute_oldest_ms: BTreeMap<String, Option<f64>>,
    pub(super) execute_selected: BTreeMap<String, u64>,
    pub(super) shares: Shares,
    pub(super) artifacts: u64,
    pub(super) artifact_bytes: u64,
    pub(super) prepared: u64,
    pub(super) executed: u64,
    pub(super) coalesced: u64,
    pub(super) overloaded: u64,
    pub(super) inconsistencies: u64,
    pub(super) not_compiled_for: Vec<String>,
}

/// How slots are shared among the kinds of executions.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Shares {
    pub(super) percent: BTreeMap<String, u64>,
}

/// What happened in one interval.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Sample {
    pub(super) verdicts: BTreeMap<String, u64>,
    pub(super) total_ms: Quantiles,
    pub(super) queued_ms: Quantiles,
    pub(super) cpu_ms: f64,
}

impl Sample {
    pub(super) fn all_verdicts(&self) -> u64 {
        self.verdicts.values().sum()
    }

    /// `None` if no request ended: the API says 0 then.
    pub(super) fn p99_ms(&self) -> Option<f64> {
        self.total_ms.p99.filter(|_| self.all_verdicts() > 0)
    }
}

/// Quantiles of times, milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Quantiles {
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_of_another_version_decodes() {
        assert_eq!(serde_json::from_value::<Status>(json!({})).unwrap(), Status::default());
        let sample = json!({"verdicts": {"valid": 2, "of_a_later_version": 1}, "total_ms": {"p99": null}});
        assert_eq!(serde_json::from_value::<Sample>(sample).unwrap().all_verdicts(), 3);
    }
}
