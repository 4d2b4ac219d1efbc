//! All metrics of a worker: name, unit, help and labels. This is the only file that names one.
//!
//! Counters end with `_total`. The Polkadot node's PVF host has no metric for what is counted
//! here; the metrics that it does have (`polkadot_pvf_*`) are the coordinator's. Each metric has the label `kind`
//! (`prepare`, `execute`); an id is never a label.

use crate::supervise::Footprint;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector};
use pvf_shared::{
    bus::BusStats,
    job::JobOutcome,
    wire::{CommandRefusal, SecurityStatus, WorkerKind},
};
use pvf_worker_core::{Agent, Notice};

/// The metrics of one worker. Clones share the values.
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    slots: IntGauge,
    jobs: IntGaugeVec,
    jobs_taken: IntCounter,
    jobs_finished: IntCounterVec,
    jobs_displaced: IntCounter,
    commands_refused: IntCounterVec,
    reports_repeated: IntCounter,
    reports_refused: IntCounter,
    cache_hits: IntCounter,
    cache_misses: IntCounter,
    cache_evictions: IntCounter,
    result_bytes: IntGauge,
    registered: IntGauge,
    draining: IntGauge,
    bus_connected: IntGauge,
    inconsistencies: IntCounter,
    artifacts_refused: IntCounterVec,
    pulls: IntCounterVec,
    pull_bytes: IntCounter,
    secure: IntGauge,
    mechanisms_missing: IntGauge,
    templates: IntGauge,
    templates_limit: IntGauge,
    spares: IntGauge,
    template_bytes: IntGauge,
    template_bytes_limit: IntGauge,
    cache_bytes: IntGauge,
    cache_bytes_limit: IntGauge,
    cache_free_bytes: IntGauge,
    bus_reconnects: IntCounter,
    bus_slow_consumer: IntCounter,
}

/// What the copies of artifacts take up, and may take up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheFootprint {
    pub(crate) bytes: u64,
    pub(crate) bytes_limit: u64,
    /// Free space of the file system.
    pub(crate) free: u64,
}

/// Why an artifact of the store was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The store does not have it.
    Missing,
    /// It is not signed with a trusted key, is damaged, or is too large.
    Signature,
    /// It is another version than the one that was prepared last.
    OtherVersion,
    /// The store failed.
    Store,
}

impl Refused {
    const ALL: [Self; 4] = [Self::Missing, Self::Signature, Self::OtherVersion, Self::Store];

    fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Signature => "signature",
            Self::OtherVersion => "other-version",
            Self::Store => "store",
        }
    }
}

impl WorkerMetrics {
    /// All values zero, but for the number of slots.
    ///
    /// # Errors
    /// A declaration below is wrong; a test creates them all.
    pub fn new(kind: WorkerKind, slots: u32) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("kind", kind.to_string());
        let counter = |name: &str, help: &str| IntCounter::with_opts(opts(name, help));
        let counters = |name: &str, help: &str, label: &str| IntCounterVec::new(opts(name, help), &[label]);
        let gauge = |name: &str, help: &str| IntGauge::with_opts(opts(name, help));
        let metrics = Self {
            slots: gauge("pvf_worker_slots", "Jobs that the worker runs at once")?,
            jobs: IntGaugeVec::new(
                opts("pvf_worker_jobs", "Jobs that the worker has, by state (running: jobs that hold a slot)"),
                &["state"],
            )?,
            jobs_taken: counter("pvf_worker_jobs_taken_total", "Dispatches accepted as new jobs")?,
            jobs_finished: counters("pvf_worker_jobs_finished_total", "Jobs that ended, by outcome", "outcome")?,
            jobs_displaced: counter(
                "pvf_worker_jobs_displaced_total",
                "Staged jobs that gave way to a more urgent one before they began",
            )?,
            commands_refused: counters(
                "pvf_worker_commands_refused_total",
                "Commands of the coordinator that were refused, by reason",
                "reason",
            )?,
            reports_repeated: counter(
                "pvf_worker_reports_repeated_total",
                "Reports that were sent again because no acknowledgement came",
            )?,
            reports_refused: counter("pvf_worker_reports_refused_total", "Reports that the coordinator refused")?,
            cache_hits: counter("pvf_worker_artifact_cache_hits_total", "Artifacts that were on the worker's disk")?,
            cache_misses: counter(
                "pvf_worker_artifact_cache_misses_total",
                "Artifacts that were fetched from the store: absent, damaged or outdated on the worker's disk",
            )?,
            cache_evictions: counter(
                "pvf_worker_artifact_cache_evictions_total",
                "Artifacts that gave way to more recently used ones",
            )?,
            result_bytes: gauge("pvf_worker_result_bytes", "Bytes of large results that are kept for clients to pull")?,
            registered: gauge("pvf_worker_registered", "1 while the worker is registered with a coordinator")?,
            draining: gauge("pvf_worker_draining", "1 while the worker takes no new jobs because it ends")?,
            bus_connected: gauge("pvf_worker_bus_connected", "1 while the connection to the bus is up")?,
            inconsistencies: counter(
                "pvf_worker_inconsistencies_total",
                "Contradictions in the worker's state: each is a bug",
            )?,
            artifacts_refused: counters(
                "pvf_worker_artifacts_refused_total",
                "Artifacts of the store that were not used, by reason",
                "reason",
            )?,
            pulls: counters("pvf_worker_pulls_total", "Inputs that were pulled from clients, by result", "result")?,
            pull_bytes: counter("pvf_worker_pull_bytes_total", "Bytes of inputs that were pulled from clients")?,
            secure: gauge("pvf_worker_secure", "1 if the sandbox enforces each of its properties")?,
            mechanisms_missing: gauge(
                "pvf_worker_sandbox_mechanisms_missing",
                "Mechanisms of the sandbox that this machine does not have",
            )?,
            templates: gauge("pvf_worker_templates", "Artifacts that are mapped and linked, ready to be forked")?,
            templates_limit: gauge(
                "pvf_worker_templates_limit",
                "The most templates within the limits of open files and processes",
            )?,
            spares: gauge("pvf_worker_spares", "Forks that were made ahead of time")?,
            template_bytes: gauge("pvf_worker_template_bytes", "Memory of templates and spares")?,
            template_bytes_limit: gauge("pvf_worker_template_bytes_limit", "The most memory of these")?,
            cache_bytes: gauge("pvf_worker_cache_bytes", "Bytes of copies of artifacts")?,
            cache_bytes_limit: gauge("pvf_worker_cache_bytes_limit", "The most bytes of these (--cache-bytes)")?,
            cache_free_bytes: gauge("pvf_worker_cache_free_bytes", "Free space of the file system of the copies")?,
            bus_reconnects: counter("pvf_bus_reconnects_total", "The connection to the bus was made again (times)")?,
            bus_slow_consumer: counter(
                "pvf_bus_slow_consumer_total",
                "Messages were lost because this process read too slowly (times)",
            )?,
        };
        for refused in Refused::ALL {
            metrics.artifacts_refused.with_label_values(&[refused.name()]);
        }
        for why in REFUSALS {
            metrics.commands_refused.with_label_values(&[why]);
        }
        for result in ["ok", "failed"] {
            metrics.pulls.with_label_values(&[result]);
        }
        metrics.slots.set(slots.into());
        Ok(metrics)
    }

    fn collectors(&self) -> [Box<dyn Collector>; 31] {
        [
            Box::new(self.slots.clone()),
            Box::new(self.jobs.clone()),
            Box::new(self.jobs_taken.clone()),
            Box::new(self.jobs_finished.clone()),
            Box::new(self.jobs_displaced.clone()),
            Box::new(self.commands_refused.clone()),
            Box::new(self.reports_repeated.clone()),
            Box::new(self.reports_refused.clone()),
            Box::new(self.cache_hits.clone()),
            Box::new(self.cache_misses.clone()),
            Box::new(self.cache_evictions.clone()),
            Box::new(self.result_bytes.clone()),
            Box::new(self.registered.clone()),
            Box::new(self.draining.clone()),
            Box::new(self.bus_connected.clone()),
            Box::new(self.inconsistencies.clone()),
            Box::new(self.artifacts_refused.clone()),
            Box::new(self.pulls.clone()),
            Box::new(self.pull_bytes.clone()),
            Box::new(self.secure.clone()),
            Box::new(self.mechanisms_missing.clone()),
            Box::new(self.templates.clone()),
            Box::new(self.templates_limit.clone()),
            Box::new(self.spares.clone()),
            Box::new(self.template_bytes.clone()),
            Box::new(self.template_bytes_limit.clone()),
            Box::new(self.cache_bytes.clone()),
            Box::new(self.cache_bytes_limit.clone()),
            Box::new(self.cache_free_bytes.clone()),
            Box::new(self.bus_reconnects.clone()),
            Box::new(self.bus_slow_consumer.clone()),
        ]
    }

    /// Exports the metrics.
    ///
    /// # Errors
    /// The registry has the metrics of a worker of this kind already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        self.collectors().into_iter().try_for_each(|collector| registry.register(collector))
    }

    /// Counts a decision of the core.
    pub(crate) fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::JobTaken { .. } => self.jobs_taken.inc(),
            Notice::CommandRefused { why } => self.commands_refused.with_label_values(&[reason(why)]).inc(),
            Notice::JobDisplaced { .. } => self.jobs_displaced.inc(),
            Notice::ReportUnacknowledged { .. } => self.reports_repeated.inc(),
            Notice::ReportRefused { .. } => self.reports_refused.inc(),
            Notice::Inconsistent { .. } => self.inconsistencies.inc(),
            Notice::Registered { .. }
            | Notice::CoordinatorReplaced { .. }
            | Notice::RegistrationLost
            | Notice::RegistrationRefused { .. }
            | Notice::CoordinatorSilent { .. }
            | Notice::Draining { .. } => {}
        }
    }

    /// Counts a job that ended.
    pub(crate) fn job_finished(&self, outcome: &JobOutcome) {
        self.jobs_finished.with_label_values(&[outcome.name()]).inc();
    }

    /// Counts a request for an artifact; whether the cache had it.
    pub(crate) fn artifact_requested(&self, hit: bool) {
        if hit { self.cache_hits.inc() } else { self.cache_misses.inc() }
    }

    /// Counts an eviction from the artifact cache.
    pub(crate) fn artifact_evicted(&self) {
        self.cache_evictions.inc();
    }

    /// Counts an artifact of the store that was not used.
    pub(crate) fn artifact_refused(&self, why: Refused) {
        self.artifacts_refused.with_label_values(&[why.name()]).inc();
    }

    /// Counts an input that was pulled; `None` if that failed.
    pub(crate) fn pulled(&self, bytes: Option<u64>) {
        self.pulls.with_label_values(&[if bytes.is_some() { "ok" } else { "failed" }]).inc();
        self.pull_bytes.inc_by(bytes.unwrap_or_default());
    }

    /// Sets what the sandbox has.
    pub(crate) fn sandbox(&self, status: &SecurityStatus) {
        self.secure.set(status.secure.into());
        self.mechanisms_missing.set(status.missing.len() as i64);
    }

    /// Sets what templates and copies take up, and what happened to the connection.
    pub(crate) fn footprint(&self, templates: Footprint, cache: CacheFootprint, bus: BusStats) {
        for (gauge, value) in [
            (&self.templates, templates.templates),
            (&self.templates_limit, templates.templates_limit),
            (&self.spares, templates.spares),
            (&self.template_bytes, templates.bytes),
            (&self.template_bytes_limit, templates.bytes_limit),
            (&self.cache_bytes, cache.bytes),
            (&self.cache_bytes_limit, cache.bytes_limit),
            (&self.cache_free_bytes, cache.free),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (counter, value) in [(&self.bus_reconnects, bus.reconnects), (&self.bus_slow_consumer, bus.slow_consumer)] {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
    }

    /// Sets the size of the results that are kept.
    pub(crate) fn result_bytes(&self, bytes: u64) {
        self.result_bytes.set(bytes as i64);
    }

    /// Sets the gauges.
    pub(crate) fn show(&self, agent: &Agent, bus_connected: bool) {
        let counts = agent.counts();
        for (state, n) in [
            ("fetching", counts.fetching),
            ("queued", counts.queued),
            ("staged", counts.staged),
            ("running", counts.running),
            ("finishing", counts.finishing),
            ("unacknowledged", counts.unacknowledged),
        ] {
            self.jobs.with_label_values(&[state]).set(n as i64);
        }
        self.registered.set(agent.is_registered().into());
        self.draining.set(agent.is_draining().into());
        self.bus_connected.set(bus_connected.into());
    }

    /// The metrics as text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let registry = Registry::new();
        self.register(&registry).unwrap();
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }
}

/// The labels of refusals.
const REFUSALS: [&str; 8] =
    ["stale-token", "wrong-kind", "wrong-engine", "no-free-slot", "draining", "not-staged", "not-understood", "other"];

/// Label of a refusal: its code on the wire.
fn reason(why: &CommandRefusal) -> &'static str {
    match why {
        CommandRefusal::StaleToken { .. } => "stale-token",
        CommandRefusal::WrongKind(_) => "wrong-kind",
        CommandRefusal::WrongEngine(_) => "wrong-engine",
        CommandRefusal::NoFreeSlot => "no-free-slot",
        CommandRefusal::Draining => "draining",
        CommandRefusal::NotStaged => "not-staged",
        CommandRefusal::NotUnderstood(_) => "not-understood",
        CommandRefusal::Other(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{blob::BlobRef, job::ExecuteOutcome, verdict::InternalError};

    #[test]
    fn every_metric_is_exported_with_its_labels() {
        let metrics = WorkerMetrics::new(WorkerKind::Execute, 3).unwrap();
        metrics.noticed(&Notice::CommandRefused { why: CommandRefusal::NoFreeSlot });
        metrics.noticed(&Notice::Inconsistent { what: "test".into() });
        metrics.job_finished(&JobOutcome::Execute(ExecuteOutcome::Valid(BlobRef::Inline(Default::default()))));
        metrics.job_finished(&JobOutcome::Execute(ExecuteOutcome::Internal(InternalError::Store("down".into()))));
        metrics.artifact_requested(true);
        let text = metrics.text();
        for line in [
            r#"pvf_worker_slots{kind="execute"} 3"#,
            r#"pvf_worker_commands_refused_total{kind="execute",reason="no-free-slot"} 1"#,
            r#"pvf_worker_inconsistencies_total{kind="execute"} 1"#,
            r#"pvf_worker_jobs_finished_total{kind="execute",outcome="valid"} 1"#,
            r#"pvf_worker_jobs_finished_total{kind="execute",outcome="internal"} 1"#,
            r#"pvf_worker_artifact_cache_hits_total{kind="execute"} 1"#,
            r#"pvf_worker_jobs_taken_total{kind="execute"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let help = text.lines().filter(|line| line.starts_with("# HELP")).count();
        // The gauge of jobs has no values before the loop shows them.
        assert_eq!(help, metrics.collectors().len() - 1);
    }
}
