//! All metrics of the node service: name, unit, help and labels. This is the only file that names one. As elsewhere,
//! counters have no `_total` suffix, and an id is never a label.

use crate::protocol::{ExecuteAnswer, JobResponse, PrepareAnswer, WorkerError};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};
use std::time::Duration;

/// Buckets of the times of answers, seconds: to the longest that a node waits for an approval and less.
const BUCKETS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 12.0, 48.0];

/// The metrics of a node service. Clones share the values.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    executions: IntCounterVec,
    preparations: IntCounterVec,
    times: HistogramVec,
    fallbacks: IntCounter,
    dropped: IntCounter,
    callers: IntGauge,
    codes_brought: IntCounter,
    code_bytes: IntGauge,
    bus_connected: IntGauge,
}

impl NodeMetrics {
    /// All values zero.
    ///
    /// # Errors
    /// A declaration below is wrong; a test creates them all.
    pub fn new() -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["answer"]);
        Ok(Self {
            executions: counters("pvf_node_executions_total", "Answers to executions of the node, by answer")?,
            preparations: counters("pvf_node_preparations_total", "Answers to preparations of the node, by answer")?,
            times: HistogramVec::new(
                HistogramOpts::new("pvf_node_answer_seconds", "Time from a call to its answer, by kind, seconds")
                    .buckets(BUCKETS.to_vec()),
                &["kind"],
            )?,
            fallbacks: IntCounter::new(
                "pvf_node_fallbacks_total",
                "Executions that began on the host of this machine, because the fleet had no answer",
            )?,
            dropped: IntCounter::new(
                "pvf_node_calls_dropped_total",
                "Calls whose worker executable went before the answer: it gave up, or the node ended it",
            )?,
            callers: IntGauge::new("pvf_node_callers", "Worker executables that are connected")?,
            codes_brought: IntCounter::new(
                "pvf_node_codes_brought_total",
                "Codes that a worker executable had to bring, because the service did not have them",
            )?,
            code_bytes: IntGauge::new("pvf_node_code_bytes", "Codes that the service keeps, bytes")?,
            bus_connected: IntGauge::new("pvf_node_bus_connected", "Whether the connection to the bus is up")?,
        })
    }

    /// Has the registry show them.
    ///
    /// # Errors
    /// One of this name is there already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let Self {
            executions,
            preparations,
            times,
            fallbacks,
            dropped,
            callers,
            codes_brought,
            code_bytes,
            bus_connected,
        } = self;
        let all: [&dyn ClonedCollector; 9] =
            [executions, preparations, times, fallbacks, dropped, callers, codes_brought, code_bytes, bus_connected];
        all.into_iter().try_for_each(|metric| registry.register(metric.boxed()))
    }

    fn time(&self, kind: &str) -> Histogram {
        self.times.with_label_values(&[kind])
    }

    /// An execution has an answer after this time.
    pub(crate) fn executed(&self, answer: &ExecuteAnswer, took: Duration) {
        let name = match answer {
            Ok(executed) => match executed.response {
                JobResponse::Valid(_) => "valid",
                JobResponse::InvalidCandidate(_) | JobResponse::PovDecompression => "invalid",
                JobResponse::RuntimeConstruction(_) | JobResponse::CorruptedArtifact => "possibly_invalid",
            },
            Err(WorkerError::JobTimedOut) => "invalid",
            Err(WorkerError::JobDied { .. } | WorkerError::JobError(_)) => "possibly_invalid",
            Err(WorkerError::Internal(_)) => "internal",
        };
        self.executions.with_label_values(&[name]).inc();
        self.time("execute").observe(took.as_secs_f64());
    }

    /// A preparation has an answer after this time.
    pub(crate) fn prepared(&self, answer: &PrepareAnswer, took: Duration) {
        let name = match answer {
            Ok(_) => "prepared",
            Err(error) if error.is_held_against_the_code() => "failed",
            Err(_) => "not_decided",
        };
        self.preparations.with_label_values(&[name]).inc();
        self.time("prepare").observe(took.as_secs_f64());
    }

    /// An execution began on the host of this machine.
    pub(crate) fn fell_back(&self) {
        self.fallbacks.inc();
    }

    /// The worker executable of a call has gone.
    pub(crate) fn dropped(&self) {
        self.dropped.inc();
    }

    /// So many worker executables are connected.
    pub(crate) fn set_callers(&self, callers: usize) {
        self.callers.set(callers.try_into().unwrap_or(i64::MAX));
    }

    /// A code was brought, and the service keeps so many bytes.
    pub(crate) fn code_brought(&self, kept: u64) {
        self.codes_brought.inc();
        self.code_bytes.set(kept.try_into().unwrap_or(i64::MAX));
    }

    /// Whether the connection to the bus is up.
    pub fn set_connected(&self, connected: bool) {
        self.bus_connected.set(connected.into());
    }
}

/// A metric of any kind, which a registry takes as a box.
trait ClonedCollector {
    fn boxed(&self) -> Box<dyn Collector>;
}

impl<C: Collector + Clone + 'static> ClonedCollector for C {
    fn boxed(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PrepareError;

    #[test]
    fn answers_are_counted_by_whom_the_node_blames() {
        let (metrics, registry) = (NodeMetrics::new().unwrap(), Registry::new());
        metrics.register(&registry).unwrap();
        metrics.executed(&Err(WorkerError::internal("x")), Duration::from_millis(3));
        metrics.executed(&Err(WorkerError::JobTimedOut), Duration::from_secs(2));
        metrics.prepared(&Err(PrepareError::OutOfMemory), Duration::from_secs(1));
        metrics.prepared(&Err(PrepareError::Io("x".into())), Duration::from_secs(1));
        metrics.set_connected(true);
        metrics.set_callers(2);
        metrics.code_brought(7);
        metrics.fell_back();
        metrics.dropped();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"pvf_node_executions_total{answer="internal"} 1"#,
            r#"pvf_node_executions_total{answer="invalid"} 1"#,
            r#"pvf_node_preparations_total{answer="failed"} 1"#,
            r#"pvf_node_preparations_total{answer="not_decided"} 1"#,
            r#"pvf_node_answer_seconds_count{kind="execute"} 2"#,
            "pvf_node_bus_connected 1",
            "pvf_node_callers 2",
            "pvf_node_codes_brought_total 1",
            "pvf_node_code_bytes 7",
            "pvf_node_fallbacks_total 1",
            "pvf_node_calls_dropped_total 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}
