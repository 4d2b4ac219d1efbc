//! All metrics of the coordinator, declared in one table: name, unit, help, labels, and where the values come from.
//!
//! A name that the Polkadot node's PVF host exports keeps that meaning, those labels and those buckets, so that its
//! dashboards work. As there, counters have no `_total` suffix. Labels have few values; an id is never a label.

mod export;

pub use export::Counters;

use Event::*;
use Sample::*;
use pvf_scheduler::{Counts, DropReason, Gauges, RetryReason};
use pvf_shared::{priority::ExecuteKind, wire::WorkerKind};

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
    /// A counter that notices increment, and the label values that are exported from the start.
    Event(Event, fn() -> Vec<Labels>),
    /// A histogram that notices add to, and the upper bounds of its buckets.
    Sample(Sample, &'static [f64]),
}

/// Label values in the order of the family's label names.
type Labels = Vec<&'static str>;
/// The values of one family.
type Values = Vec<(Labels, u64)>;

/// Sizes that gauges show.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sizes {
    pub(crate) scheduler: Gauges,
    pub(crate) bus_connected: bool,
    /// Whether this coordinator has the lease, or needs none.
    pub(crate) active: bool,
}

/// What is counted as notices come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Recovered,
    Retries,
    PreparationsFailed,
    ArtifactsDropped,
    ClientsGone,
    EnginesSeen,
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
}

const TABLE: &[Family] = &[
    // What the scheduler counts.
    count("polkadot_pvf_prepare_enqueued", "preparations", "Preparations queued", |c| one(c.prepare_enqueued)),
    count("polkadot_pvf_prepare_concluded", "preparations", "Preparations that ended", |c| one(c.prepare_concluded)),
    count("polkadot_pvf_execute_enqueued", "executions", "Executions queued", |c| one(c.execute_enqueued)),
    count("polkadot_pvf_execute_finished", "executions", "Executions that ended", |c| one(c.execute_finished)),
    count("pvf_prepare_dispatched", "attempts", "Preparations sent to a worker", |c| one(c.prepare_dispatched)),
    count("pvf_execute_dispatched", "attempts", "Executions sent to a worker", |c| one(c.execute_dispatched)),
    count("pvf_execute_selected", "attempts", "Executions sent to a worker, by kind", |c| by_kind(c.execute_selected))
        .by(&["kind"]),
    count("pvf_coalesced", "requests", "Requests answered by the execution of another one", |c| one(c.coalesced)),
    count("pvf_retried", "executions", "Executions tried again after a failure", |c| one(c.retried)),
    count("pvf_taken_up", "attempts", "Attempts of an earlier coordinator that workers had", |c| one(c.taken_up)),
    count("pvf_execute_adopted", "attempts", "Of these, executions that went on", |c| one(c.execute_adopted)),
    count("pvf_prepare_adopted", "attempts", "Of these, preparations that went on", |c| one(c.prepare_adopted)),
    count("pvf_not_adopted", "attempts", "Of these, attempts that no client requested", |c| one(c.not_adopted)),
    count("pvf_came_back", "attempts", "Executions that workers gave back unbegun", |c| one(c.came_back)),
    count("pvf_leases_over", "attempts", "Attempts that a worker had for too long", |c| one(c.leases_over)),
    count("pvf_late_reports", "reports", "Reports of attempts given up before that decided the job", |c| {
        one(c.late_reports)
    }),
    count(
        "pvf_recalled",
        "attempts",
        "Recalls of jobs that have not begun: staged ones, and at a draining worker those being fetched",
        |c| one(c.recalled),
    ),
    count("pvf_quarantined", "jobs", "Jobs given up because they lost too many workers", |c| one(c.quarantined)),
    count("pvf_cross_checks", "executions", "Second opinions that were wanted, by what came of it", opinions)
        .by(&["result"]),
    count("pvf_overloaded", "requests", "Requests shed because a limit was reached", |c| one(c.overloaded)),
    count("pvf_artifacts_pruned", "artifacts", "Artifacts dropped because unused", |c| one(c.artifacts_pruned)),
    count("pvf_workers_joined", "workers", "Workers that registered", |c| one(c.workers_joined)),
    count("pvf_workers_left", "workers", "Workers that deregistered", |c| one(c.workers_left)),
    count("pvf_workers_lost", "workers", "Workers removed because they were silent", |c| one(c.workers_lost)),
    count("pvf_workers_suspect", "times", "A worker got no more jobs until heard from", |c| one(c.suspected)),
    count("pvf_workers_paused", "times", "A worker got no jobs for a while because jobs failed there", |c| {
        one(c.workers_paused)
    }),
    count("pvf_scheduler_inconsistencies", "times", "The scheduler contradicted itself: a bug", |c| {
        one(c.inconsistencies)
    }),
    // Sizes.
    gauge("pvf_queue_depth", "jobs", "Jobs waiting for a slot", queue_depth).by(&["queue", "kind"]),
    gauge("pvf_workers", "workers", "Registered workers", workers).by(&["kind"]),
    gauge("pvf_slots", "slots", "Slots of the registered workers", slots).by(&["kind", "state"]),
    gauge("pvf_requests", "requests", "Requests without a verdict", |s| one(s.scheduler.requests)),
    gauge("pvf_request_bytes", "bytes", "Memory that open requests hold", |s| one(s.scheduler.request_bytes)),
    gauge("pvf_clients", "clients", "Clients heard from lately", |s| one(s.scheduler.clients)),
    gauge("pvf_artifacts", "artifacts", "Known artifacts and kept failures", |s| one(s.scheduler.artifacts)),
    gauge("pvf_artifact_bytes", "bytes", "Size of known artifacts in the store", |s| one(s.scheduler.artifact_bytes)),
    gauge("pvf_bus_connected", "boolean", "1 while messages pass over the bus", |s| one(s.bus_connected.into())),
    gauge("pvf_coordinator_active", "boolean", "1 for the active coordinator, 0 for a standby", |s| {
        one(s.active.into())
    }),
    // What notices count.
    event("pvf_workers_recovered", "times", "A suspect worker was heard from again", Recovered),
    event("pvf_retries", "attempts", "Attempts that were followed by another one", Retries)
        .starting_with(&["kind", "reason"], retry_reasons),
    event(
        "pvf_preparations_failed",
        "preparations",
        "Preparations that failed because of the code",
        PreparationsFailed,
    ),
    event("pvf_artifacts_dropped", "artifacts", "Artifacts removed from the store", ArtifactsDropped)
        .starting_with(&["reason"], drop_reasons),
    event("pvf_clients_gone", "clients", "Clients that were silent for too long", ClientsGone),
    event("pvf_engines_seen", "engines", "Different engines since the start", EnginesSeen),
    // What notices measure.
    sample(
        "polkadot_pvf_preparation_time",
        "s",
        "Wall-clock time of preparations",
        PreparationTime,
        PREPARATION_SECONDS,
    ),
    sample("polkadot_pvf_execution_time", "s", "Wall-clock time of executions", ExecutionTime, EXECUTION_SECONDS),
    sample(
        "polkadot_pvf_execution_queued_time",
        "s",
        "Executions, queueing to dispatch",
        ExecutionQueuedTime,
        QUEUED_SECONDS,
    ),
    sample(
        "polkadot_pvf_preparation_max_rss",
        "KiB",
        "Largest resident set of preparations",
        PreparationMaxRss,
        RSS_KIB,
    ),
    sample("pvf_schedule_to_start_seconds", "s", "Jobs, queueing to dispatch", ScheduleToStart, JOB_SECONDS)
        .by(&["queue", "kind"]),
    sample("pvf_job_cpu_seconds", "s", "CPU time of job processes", CpuTime, JOB_SECONDS).by(&["kind"]),
    sample("pvf_job_io_seconds", "s", "Time for fetching and storing blobs", IoTime, JOB_SECONDS).by(&["kind"]),
    sample("pvf_job_max_rss_bytes", "bytes", "Largest resident set of job processes", MaxRss, RSS_BYTES).by(&["kind"]),
];

/// Buckets of the node's histograms.
const PREPARATION_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 360.0, 480.0];
const EXECUTION_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0];
const QUEUED_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 12.0, 24.0, 48.0];
const RSS_KIB: &[f64] = &powers_of_two(8192.0);

/// Buckets of the other histograms: jobs take between a millisecond and the longest preparation.
const JOB_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 20.0, 30.0,
    60.0, 120.0, 240.0, 360.0, 480.0,
];
const RSS_BYTES: &[f64] = &powers_of_two(8192.0 * 1024.0);

/// `first` times 1, 2, 4, … 512.
const fn powers_of_two(first: f64) -> [f64; 10] {
    let mut buckets = [first; 10];
    let mut n = 1;
    while n < buckets.len() {
        buckets[n] = buckets[n - 1] * 2.0;
        n += 1;
    }
    buckets
}

const fn count(name: &'static str, unit: &'static str, help: &'static str, value: fn(&Counts) -> Values) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Count(value) }
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str, value: fn(&Sizes) -> Values) -> Family {
    Family { name, unit, help, labels: &[], source: Source::Gauge(value) }
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

fn one(value: u64) -> Values {
    vec![(Vec::new(), value)]
}

fn by_kind(values: [u64; 4]) -> Values {
    ExecuteKind::ALL.iter().zip(values).map(|(kind, value)| (vec![kind.name()], value)).collect()
}

fn opinions(counts: &Counts) -> Values {
    let Counts { opinions_agreed, opinions_disagreed, opinions_missing, .. } = *counts;
    let values = [("agreed", opinions_agreed), ("disagreed", opinions_disagreed), ("missing", opinions_missing)];
    values.into_iter().map(|(result, value)| (vec![result], value)).collect()
}

fn queue_depth(sizes: &Sizes) -> Values {
    let priorities = ["background", "normal", "critical"].into_iter().zip(sizes.scheduler.prepare_queue);
    let kinds = ExecuteKind::ALL.into_iter().map(ExecuteKind::name).zip(sizes.scheduler.execute_queue);
    let prepare = priorities.map(|(priority, depth)| (vec!["prepare", priority], depth));
    prepare.chain(kinds.map(|(kind, depth)| (vec!["execute", kind], depth))).collect()
}

fn workers(sizes: &Sizes) -> Values {
    KINDS.map(|kind| (vec![name_of(kind)], sizes.scheduler.workers[kind as usize].0)).into()
}

fn slots(sizes: &Sizes) -> Values {
    let of_kind = |kind: WorkerKind| {
        let (_, total, busy) = sizes.scheduler.workers[kind as usize];
        [(vec![name_of(kind), "total"], total), (vec![name_of(kind), "busy"], busy)]
    };
    KINDS.into_iter().flat_map(of_kind).collect()
}

const KINDS: [WorkerKind; 2] = [WorkerKind::Prepare, WorkerKind::Execute];

fn name_of(kind: WorkerKind) -> &'static str {
    match kind {
        WorkerKind::Prepare => "prepare",
        WorkerKind::Execute => "execute",
    }
}

fn retry_reasons() -> Vec<Labels> {
    let reasons = [
        RetryReason::NotBegun(String::new()),
        RetryReason::Ambiguous(String::new()),
        RetryReason::Internal(String::new()),
        RetryReason::WorkerLost,
    ];
    KINDS.iter().flat_map(|kind| reasons.each_ref().map(|reason| vec![name_of(*kind), reason.name()])).collect()
}

fn drop_reasons() -> Vec<Labels> {
    [DropReason::Damaged, DropReason::Unused].map(|reason| vec![reason.name()]).into()
}
