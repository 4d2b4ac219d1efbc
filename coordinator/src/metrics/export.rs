//! The registry that is scraped: built from the table, filled from the scheduler's counters, sizes and notices.

use super::{
    Ages, Event, Family, Sample, Sizes, Source, TABLE, Values,
    values::{blame, name_of},
};
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use pvf_scheduler::{Answered, Counts, Notice, RetryReason};
use pvf_shared::{
    job::JobUsage,
    priority::ExecuteKind,
    verdict::Outcome,
    wire::{Verdict, WorkerKind},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The coordinator's metrics.
pub struct Counters {
    registry: Registry,
    published: Arc<Mutex<Published>>,
    events: HashMap<Event, IntCounterVec>,
    samples: HashMap<Sample, HistogramVec>,
}

/// What the driver published last.
#[derive(Debug, Default)]
struct Published {
    counts: Counts,
    sizes: Sizes,
}

impl Default for Counters {
    fn default() -> Self {
        match Self::within(Registry::new()) {
            Ok(counters) => counters,
            Err(error) => unreachable!("the table of metrics is wrong: {error}"),
        }
    }
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

impl Counters {
    /// Metrics that this registry shows, with its labels.
    ///
    /// # Errors
    /// The registry has metrics of these names already.
    pub fn within(registry: Registry) -> prometheus::Result<Self> {
        let published = Arc::<Mutex<Published>>::default();
        let (mut events, mut samples) = (HashMap::new(), HashMap::new());
        for family in TABLE {
            match &family.source {
                Source::Count(read) => {
                    let counter = IntCounterVec::new(family.opts(), family.labels)?;
                    registry.register(Box::new(Pulled { vec: counter, read: *read, published: published.clone() }))?;
                }
                Source::Gauge(read) => {
                    let gauge = IntGaugeVec::new(family.opts(), family.labels)?;
                    registry.register(Box::new(Pulled { vec: gauge, read: *read, published: published.clone() }))?;
                }
                Source::Age(read) => {
                    let gauge = GaugeVec::new(family.opts(), family.labels)?;
                    registry.register(Box::new(Pulled { vec: gauge, read: *read, published: published.clone() }))?;
                }
                Source::Tally(read) => {
                    let counter = CounterVec::new(family.opts(), family.labels)?;
                    registry.register(Box::new(Pulled { vec: counter, read: *read, published: published.clone() }))?;
                }
                Source::Event(event, start) => {
                    let counter = IntCounterVec::new(family.opts(), family.labels)?;
                    for labels in start() {
                        counter.get_metric_with_label_values(&labels)?;
                    }
                    registry.register(Box::new(counter.clone()))?;
                    events.insert(*event, counter);
                }
                Source::Sample(sample, buckets) => {
                    let opts = HistogramOpts::from(family.opts()).buckets(buckets.to_vec());
                    let histogram = HistogramVec::new(opts, family.labels)?;
                    if family.labels.is_empty() {
                        // It is shown before its first value.
                        histogram.get_metric_with_label_values(&[] as &[&str])?;
                    }
                    registry.register(Box::new(histogram.clone()))?;
                    samples.insert(*sample, histogram);
                }
            }
        }
        Ok(Self { registry, published, events, samples })
    }

    /// All metrics in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => text,
            Err(error) => unreachable!("metrics cannot be encoded: {error}"),
        }
    }

    /// Publishes what the scheduler has counted.
    pub(crate) fn publish_counts(&self, counts: Counts) {
        lock(&self.published).counts = counts;
    }

    /// Publishes the current sizes.
    pub(crate) fn publish_sizes(&self, sizes: Sizes) {
        lock(&self.published).sizes = sizes;
    }

    /// Counts and measures a notice. What the scheduler's own counters have is not counted again.
    pub(crate) fn count(&self, notice: &Notice) {
        match notice {
            Notice::WorkerRecovered { .. } => self.add(Event::Recovered, &[]),
            Notice::JobRetried { kind, why, .. } => {
                self.add(Event::Retries, &[name_of(*kind), why.name()]);
                if let RetryReason::NotBegun(_) | RetryReason::WorkerLost = why {
                    self.add(Event::Attempts, &[name_of(*kind), why.name()]);
                }
            }
            Notice::JobReported { kind, end, queued, usage, .. } => self.measure((*kind, *end), *queued, usage),
            Notice::PreparationFailed { .. } => self.add(Event::PreparationsFailed, &[]),
            Notice::ArtifactDropped { why, .. } => self.add(Event::ArtifactsDropped, &[why.name()]),
            Notice::ClientGone { .. } => self.add(Event::ClientsGone, &[]),
            Notice::EngineSeen { .. } => self.add(Event::EnginesSeen, &[]),
            // These have counters of their own in `Counts`, and a worker resumes after each pause.
            Notice::JobAdopted { .. }
            | Notice::AttemptNotAdopted { .. }
            | Notice::WorkerJoined { .. }
            | Notice::WorkerLeft { .. }
            | Notice::WorkerLost { .. }
            | Notice::WorkerSuspect { .. }
            | Notice::WorkerPaused { .. }
            | Notice::WorkerResumed { .. }
            | Notice::ExecutionQuarantined { .. }
            | Notice::OpinionsDiffer { .. }
            | Notice::NoSecondOpinion { .. }
            | Notice::PreparationQuarantined { .. }
            | Notice::RequestShed { .. }
            | Notice::Inconsistent { .. } => {}
            // Logged, and shown in the status or in lists.
            Notice::WorkerToldToDrain { .. }
            | Notice::RequestCancelled { .. }
            | Notice::CodePinned { .. }
            | Notice::NoPrepareWorker { .. } => {}
        }
    }

    /// A job is sent to a worker.
    pub(crate) fn dispatched(&self, kind: WorkerKind) {
        self.add(Event::WorkersSpawning, &[name_of(kind)]);
    }

    /// The coordinator's loop stood still.
    pub(crate) fn stood_still(&self) {
        self.add(Event::Standstills, &[]);
    }

    /// A message of the coordinator to itself has arrived.
    pub(crate) fn heard_itself(&self, after: Duration) {
        self.observe(Sample::BusRoundTrip, &[], after.as_secs_f64());
    }

    /// A request has its verdict.
    pub(crate) fn answered(&self, verdict: &Verdict, about: Answered) {
        let (work, kind) = (about.work.name(), about.work.kind().map_or("", ExecuteKind::name));
        let outcome = &verdict.outcome;
        self.add(Event::Verdicts, &[work, kind, outcome.name(), blame(outcome.blame())]);
        let artifact = match &verdict.artifact {
            _ if matches!(outcome, Outcome::PreparationFailed(_)) => "failed",
            Some(artifact) if artifact.cached => "hit",
            Some(_) => "prepared",
            None => "none",
        };
        self.add(Event::ArtifactRequests, &[artifact]);
        let timings = &verdict.timings;
        for (stage, time) in [
            ("queued", timings.queued),
            ("prepare", timings.prepare),
            ("execute", timings.execute),
            ("total", timings.total),
        ] {
            self.observe(Sample::RequestTime, &[work, stage], time.as_secs_f64());
        }
    }

    /// A job that ended: an execution of this kind, or a preparation.
    fn measure(&self, (kind, end): (Option<ExecuteKind>, &str), queued: Duration, usage: &JobUsage) {
        let JobUsage { cpu, cpu_limit, wall, max_rss_kib, io, .. } = *usage;
        let flavor = match kind {
            None => {
                self.observe(Sample::PreparationTime, &[], wall.as_secs_f64());
                self.observe(Sample::PreparationMaxRss, &[], max_rss_kib as f64);
                if let Some(heap) = usage.heap {
                    self.observe(Sample::PreparationHeap, &[], heap as f64 / 1024.0);
                }
                if let Some(code) = usage.code_decompressed {
                    self.observe(Sample::CodeSize, &[], code as f64);
                }
                name_of(WorkerKind::Prepare)
            }
            Some(_) => {
                self.observe(Sample::ExecutionTime, &[], wall.as_secs_f64());
                self.observe(Sample::ExecutionQueuedTime, &[], queued.as_secs_f64());
                for (compressed, size) in [("true", usage.pov), ("false", usage.pov_decompressed)] {
                    if let Some(size) = size {
                        self.observe(Sample::PovSize, &[compressed], size as f64);
                    }
                }
                name_of(WorkerKind::Execute)
            }
        };
        self.observe(Sample::ScheduleToStart, &[flavor, kind.map_or("", ExecuteKind::name)], queued.as_secs_f64());
        self.add(Event::Attempts, &[flavor, end]);
        if !cpu_limit.is_zero() {
            self.add(Event::WorkersSpawned, &[flavor]);
            self.add(Event::WorkersRetired, &[flavor]);
            self.observe(Sample::LimitRatio, &[flavor], cpu.as_secs_f64() / cpu_limit.as_secs_f64());
        }
        self.observe(Sample::WallTime, &[flavor], wall.as_secs_f64());
        self.observe(Sample::CpuTime, &[flavor], cpu.as_secs_f64());
        self.observe(Sample::IoTime, &[flavor], io.as_secs_f64());
        self.observe(Sample::MaxRss, &[flavor], max_rss_kib as f64 * 1024.0);
    }

    fn add(&self, event: Event, labels: &[&str]) {
        self.events[&event].with_label_values(labels).inc();
    }

    fn observe(&self, sample: Sample, labels: &[&str], value: f64) {
        self.samples[&sample].with_label_values(labels).observe(value);
    }
}

impl Family {
    fn opts(&self) -> Opts {
        Opts::new(self.name, format!("{} ({})", self.help, self.unit))
    }
}

/// A family that reads what the driver published each time it is scraped.
struct Pulled<V, R> {
    vec: V,
    read: R,
    published: Arc<Mutex<Published>>,
}

impl Collector for Pulled<IntCounterVec, fn(&Counts) -> Values> {
    fn desc(&self) -> Vec<&Desc> {
        self.vec.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The lock is held so that two scrapes at once do not both add the difference.
        let published = lock(&self.published);
        for (labels, value) in (self.read)(&published.counts) {
            let counter = self.vec.with_label_values(&labels);
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.vec.collect()
    }
}

impl Collector for Pulled<IntGaugeVec, fn(&Sizes) -> Values> {
    fn desc(&self) -> Vec<&Desc> {
        self.vec.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (labels, value) in (self.read)(&lock(&self.published).sizes) {
            self.vec.with_label_values(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.vec.collect()
    }
}

impl Collector for Pulled<GaugeVec, fn(&Sizes) -> Ages> {
    fn desc(&self) -> Vec<&Desc> {
        self.vec.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (labels, value) in (self.read)(&lock(&self.published).sizes) {
            self.vec.with_label_values(&labels).set(value);
        }
        self.vec.collect()
    }
}

impl Collector for Pulled<CounterVec, fn(&Sizes) -> Ages> {
    fn desc(&self) -> Vec<&Desc> {
        self.vec.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let published = lock(&self.published);
        for (labels, value) in (self.read)(&published.sizes) {
            let counter = self.vec.with_label_values(&labels);
            counter.inc_by((value - counter.get()).max(0.0));
        }
        self.vec.collect()
    }
}

fn lock(published: &Mutex<Published>) -> MutexGuard<'_, Published> {
    published.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
