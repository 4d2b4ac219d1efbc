//! The table of the coordinator's metrics.

use super::{
    Event::*,
    Family,
    Sample::*,
    age, count, event, gauge, sample, tally,
    values::{
        artifact_results, attempt_ends, by_kind, credits, drop_reasons, flavors, one, opinions, queue_depth,
        queue_oldest, retry_reasons, slots, verdicts, workers, workers_by_state,
    },
};

/// The version of this build, and that of the protocol.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const WIRE: &str = "4";

pub(super) const TABLE: &[Family] = &[
    // What the scheduler counts.
    count("polkadot_pvf_prepare_enqueued", "preparations", "Preparations queued", |c| one(c.prepare_enqueued)),
    count("polkadot_pvf_prepare_concluded", "preparations", "Preparations that ended", |c| one(c.prepare_concluded)),
    count("polkadot_pvf_execute_enqueued", "executions", "Executions queued", |c| one(c.execute_enqueued)),
    count("polkadot_pvf_execute_finished", "executions", "Executions that ended", |c| one(c.execute_finished)),
    count("pvf_prepare_dispatched_total", "attempts", "Preparations sent to a worker", |c| one(c.prepare_dispatched)),
    count("pvf_execute_dispatched_total", "attempts", "Executions sent to a worker", |c| one(c.execute_dispatched)),
    count("pvf_execute_selected_total", "attempts", "Executions sent to a worker, by kind", |c| {
        by_kind(c.execute_selected)
    })
    .by(&["kind"]),
    count("pvf_coalesced_total", "requests", "Requests answered by the execution of another one", |c| one(c.coalesced)),
    count("pvf_retried_total", "executions", "Executions tried again after a failure", |c| one(c.retried)),
    count("pvf_taken_up_total", "attempts", "Attempts of an earlier coordinator that workers had", |c| one(c.taken_up)),
    count("pvf_execute_adopted_total", "attempts", "Of these, executions that went on", |c| one(c.execute_adopted)),
    count("pvf_prepare_adopted_total", "attempts", "Of these, preparations that went on", |c| one(c.prepare_adopted)),
    count("pvf_not_adopted_total", "attempts", "Of these, attempts that no client requested", |c| one(c.not_adopted)),
    count("pvf_came_back_total", "attempts", "Executions that workers gave back unbegun", |c| one(c.came_back)),
    count("pvf_leases_over_total", "attempts", "Attempts that a worker had for too long", |c| one(c.leases_over)),
    count("pvf_late_reports_total", "reports", "Reports of attempts given up before that decided the job", |c| {
        one(c.late_reports)
    }),
    count(
        "pvf_recalled_total",
        "attempts",
        "Recalls of jobs that have not begun: staged ones, and at a draining worker those being fetched",
        |c| one(c.recalled),
    ),
    count("pvf_quarantined_total", "jobs", "Jobs given up because they lost too many workers", |c| one(c.quarantined)),
    count("pvf_cross_checks_total", "executions", "Second opinions that were wanted, by what came of it", opinions)
        .by(&["result"]),
    count("pvf_overloaded_total", "requests", "Requests shed because a limit was reached", |c| one(c.overloaded)),
    count("pvf_artifacts_pruned_total", "artifacts", "Artifacts dropped because unused", |c| one(c.artifacts_pruned)),
    count("pvf_workers_joined_total", "workers", "Workers that registered", |c| one(c.workers_joined)),
    count("pvf_workers_left_total", "workers", "Workers that deregistered", |c| one(c.workers_left)),
    count("pvf_workers_lost_total", "workers", "Workers removed because they were silent", |c| one(c.workers_lost)),
    count("pvf_workers_suspect_total", "times", "A worker got no more jobs until heard from", |c| one(c.suspected)),
    count("pvf_workers_paused_total", "times", "A worker got no jobs for a while because jobs failed there", |c| {
        one(c.workers_paused)
    }),
    count("pvf_scheduler_inconsistencies_total", "times", "The scheduler contradicted itself: a bug", |c| {
        one(c.inconsistencies)
    }),
    // Sizes.
    gauge("pvf_build_info", "boolean", "1, with the version of this build", |_| vec![(vec![VERSION, WIRE], 1)])
        .by(&["version", "wire"]),
    gauge("pvf_queue_depth", "jobs", "Jobs waiting for a slot", queue_depth).by(&["queue", "kind"]),
    age("pvf_queue_oldest_seconds", "s", "How long the oldest job has waited for a slot", queue_oldest)
        .by(&["queue", "kind"]),
    gauge("pvf_workers", "workers", "Registered workers", workers).by(&["kind"]),
    gauge("pvf_workers_by_state", "workers", "Registered workers, by whether they get jobs", workers_by_state)
        .by(&["kind", "state"]),
    gauge("pvf_workers_insecure", "workers", "Workers that do not enforce every property of the sandbox", |s| {
        one(s.scheduler.insecure_workers)
    }),
    gauge("pvf_slots", "slots", "Slots of the registered workers, and jobs that wait there for one", slots)
        .by(&["kind", "state"]),
    gauge("pvf_credits", "jobs", "Jobs that the registered workers may have at once", credits).by(&["kind"]),
    gauge("pvf_leases", "attempts", "Attempts that workers have", |s| one(s.scheduler.attempts)),
    gauge("pvf_engines", "engines", "Engines of registered workers", |s| one(s.scheduler.engines)),
    gauge("pvf_engines_not_compiled_for", "engines", "Of these, engines that no prepare worker compiles for", |s| {
        one(s.scheduler.engines_not_compiled_for)
    }),
    gauge("pvf_requests", "requests", "Requests without a verdict", |s| one(s.scheduler.requests)),
    gauge("pvf_request_bytes", "bytes", "Memory that open requests hold", |s| one(s.scheduler.request_bytes)),
    gauge("pvf_clients", "clients", "Clients heard from lately", |s| one(s.scheduler.clients)),
    gauge("pvf_artifacts", "artifacts", "Known artifacts and kept failures", |s| one(s.scheduler.artifacts)),
    gauge("pvf_artifact_bytes", "bytes", "Size of known artifacts in the store", |s| one(s.scheduler.artifact_bytes)),
    gauge("pvf_bus_connected", "boolean", "1 while messages pass over the bus", |s| one(s.bus_connected.into())),
    gauge("pvf_coordinator_active", "boolean", "1 for the active coordinator, 0 for a standby", |s| {
        one(s.active.into())
    }),
    gauge("pvf_coordinator_token", "number", "Fencing token of the active coordinator, 0 for a standby", |s| {
        one(s.token)
    }),
    tally(
        "pvf_coordinator_deaf_seconds_total",
        "s",
        "Time for which the active coordinator heard nothing, in all",
        |s| vec![(Vec::new(), s.deaf.as_secs_f64())],
    ),
    tally("pvf_bus_reconnects_total", "times", "The connection to the bus was made again", |s| {
        vec![(Vec::new(), s.bus.reconnects as f64)]
    }),
    tally("pvf_bus_slow_consumer_total", "times", "Messages were lost because this process read too slowly", |s| {
        vec![(Vec::new(), s.bus.slow_consumer as f64)]
    }),
    // What notices and verdicts count.
    event("polkadot_pvf_worker_spawning", "processes", "Jobs that were sent to a worker", WorkersSpawning)
        .starting_with(&["flavor"], flavors),
    event("polkadot_pvf_worker_spawned", "processes", "Job processes that were begun", WorkersSpawned)
        .starting_with(&["flavor"], flavors),
    event("polkadot_pvf_worker_retired", "processes", "Job processes that ended: each has one job", WorkersRetired)
        .starting_with(&["flavor"], flavors),
    event("pvf_verdicts_total", "requests", "Requests that ended, by what was asked for and how they ended", Verdicts)
        .starting_with(&["work", "kind", "verdict", "blame"], verdicts),
    event("pvf_attempts_total", "attempts", "Attempts that were reported, or tried again without a report", Attempts)
        .starting_with(&["kind", "end"], attempt_ends),
    event(
        "pvf_artifact_requests_total",
        "requests",
        "Requests that ended, by where their artifact came from",
        ArtifactRequests,
    )
    .starting_with(&["result"], artifact_results),
    event("pvf_coordinator_standstills_total", "times", "The coordinator's loop stood still", Standstills),
    event("pvf_workers_recovered_total", "times", "A suspect worker was heard from again", Recovered),
    event("pvf_retries_total", "attempts", "Attempts that were followed by another one", Retries)
        .starting_with(&["kind", "reason"], retry_reasons),
    event(
        "pvf_preparations_failed_total",
        "preparations",
        "Preparations that failed because of the code",
        PreparationsFailed,
    ),
    event("pvf_artifacts_dropped_total", "artifacts", "Artifacts removed from the store", ArtifactsDropped)
        .starting_with(&["reason"], drop_reasons),
    event("pvf_clients_gone_total", "clients", "Clients that were silent for too long", ClientsGone),
    event("pvf_engines_seen_total", "engines", "Different engines since the start", EnginesSeen),
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
    sample(
        "polkadot_pvf_preparation_max_resident",
        "KiB",
        "Most memory that the allocator held in preparations; not known of this allocator",
        PreparationMaxResident,
        RSS_KIB,
    ),
    sample(
        "polkadot_pvf_preparation_max_allocated",
        "KiB",
        "Most memory that the allocator gave out in preparations; not known of this allocator",
        PreparationMaxAllocated,
        RSS_KIB,
    ),
    sample(
        "polkadot_pvf_preparation_peak_tracked_allocation",
        "KiB",
        "Most memory that preparations had allocated, where the executor parameters limit it",
        PreparationHeap,
        RSS_KIB,
    ),
    sample("polkadot_parachain_candidate_validation_pov_size", "bytes", "Size of PoVs", PovSize, POV_BYTES)
        .by(&["compressed"]),
    sample(
        "polkadot_parachain_candidate_validation_code_size",
        "bytes",
        "Size of decompressed codes that were prepared",
        CodeSize,
        POV_BYTES,
    ),
    sample("pvf_request_seconds", "s", "Requests, in all and by where they were", RequestTime, JOB_SECONDS)
        .by(&["work", "stage"]),
    sample("pvf_schedule_to_start_seconds", "s", "Jobs, queueing to dispatch", ScheduleToStart, JOB_SECONDS)
        .by(&["queue", "kind"]),
    sample("pvf_job_cpu_seconds", "s", "CPU time of job processes", CpuTime, JOB_SECONDS).by(&["kind"]),
    sample("pvf_job_wall_seconds", "s", "Wall-clock time of job processes", WallTime, JOB_SECONDS).by(&["kind"]),
    sample("pvf_job_limit_ratio", "part", "CPU time of job processes as a part of its limit", LimitRatio, RATIOS)
        .by(&["kind"]),
    sample("pvf_job_io_seconds", "s", "Time for fetching and storing blobs", IoTime, JOB_SECONDS).by(&["kind"]),
    sample("pvf_job_max_rss_bytes", "bytes", "Largest resident set of job processes", MaxRss, RSS_BYTES).by(&["kind"]),
    sample("pvf_bus_round_trip_seconds", "s", "Messages of the coordinator to itself", BusRoundTrip, JOB_SECONDS),
];

/// Buckets of the node's histograms.
const PREPARATION_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 360.0, 480.0];
const EXECUTION_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0];
const QUEUED_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 12.0, 24.0, 48.0];
const RSS_KIB: &[f64] = &powers_of_two(8192.0);
const POV_BYTES: &[f64] = &powers_of_two(16384.0);

/// Buckets of the other histograms: jobs take between a millisecond and the longest preparation.
const JOB_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 20.0, 30.0,
    60.0, 120.0, 240.0, 360.0, 480.0,
];
const RATIOS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 1.0];
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
