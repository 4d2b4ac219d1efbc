//! All metrics of the coordinator, declared in one table: name, unit, help, labels, and where the values come from.
//!
//! A name that the Polkadot node's PVF host exports keeps that meaning, those labels and those buckets, so that its
//! dashboards work; its counters have no `_total` suffix, ours do. Labels have few values; an id is never a label.

mod export;
mod table;
mod values;

pub use export::Counters;

use pvf_scheduler::{Counts, Gauges};
use pvf_shared::bus::BusStats;
use std::time::Duration;
use table::TABLE;
use values::{Ages, Labels, Values};

/// One metric family.
struct Family {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    source: Source,
}

/// Where the values of a family come from.
enum Source {
    /// A counter of the scheduler, read at a scrape.
    Count(fn(&Counts) -> Values),
    /// A size, read at a scrape.
    Gauge(fn(&Sizes) -> Values),
    /// A time, read at a scrape.
    Age(fn(&Sizes) -> Ages),
    /// A counter of the driver, read at a scrape.
    Tally(fn(&Sizes) -> Ages),
    /// A counter that notices increment, and the label values that are exported from the start.
    Event(Event, fn() -> Vec<Labels>),
    /// A histogram that notices add to, and the upper bounds of its buckets.
    Sample(Sample, &'static [f64]),
}

/// Sizes that gauges show.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) scheduler: Gauges,
    pub(crate) bus_connected: bool,
    /// Whether this coordinator has the lease, or needs none.
    pub(crate) active: bool,
    /// Its fencing token.
    pub(crate) token: u64,
    pub(crate) bus: BusStats,
    /// How long it heard nothing, in all.
    pub(crate) deaf: Duration,
}

/// What is counted as notices and verdicts come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Recovered,
    Retries,
    PreparationsFailed,
    ArtifactsDropped,
    ClientsGone,
    EnginesSeen,
    WorkersSpawning,
    WorkersSpawned,
    WorkersRetired,
    Verdicts,
    Attempts,
    ArtifactRequests,
    Standstills,
}

/// What is measured about each job that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sample {
    PreparationTime,
    ExecutionTime,
    ExecutionQueuedTime,
    PreparationMaxRss,
    ScheduleToStart,
    CpuTime,
    IoTime,
    MaxRss,
    WallTime,
    LimitRatio,
    PreparationHeap,
    /// Of the node's host, whose allocator reports it; the one here does not.
    PreparationMaxResident,
    /// Likewise.
    PreparationMaxAllocated,
    PovSize,
    CodeSize,
    RequestTime,
    BusRoundTrip,
}

const fn count(name: &'static str, unit: &'static str, help: &'static str, value: fn(&Counts) -> Values) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Count(value) }
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str, value: fn(&Sizes) -> Values) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Gauge(value) }
}

const fn age(name: &'static str, unit: &'static str, help: &'static str, value: fn(&Sizes) -> Ages) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Age(value) }
}

const fn tally(name: &'static str, unit: &'static str, help: &'static str, value: fn(&Sizes) -> Ages) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Tally(value) }
}

const fn event(name: &'static str, unit: &'static str, help: &'static str, event: Event) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Event(event, || vec![Vec::new()]) }
}

const fn sample(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    sample: Sample,
    buckets: &'static [f64],
) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Sample(sample, buckets) }
}

impl Family {
    const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// Labels of an event, and the values that are exported before the first such event, so that rates are right.
    const fn starting_with(mut self, labels: &'static [&'static str], values: fn() -> Vec<Labels>) -> Self {
        self.labels = labels;
        if let Source::Event(_, start) = &mut self.source {
            *start = values;
        }
        self
    }
}
