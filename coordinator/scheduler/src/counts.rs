//! Counters and gauges of the scheduler.

use std::time::Duration;

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Preparations put into the queue.
    pub prepare_enqueued: u64,
    /// Preparations dispatched, each attempt.
    pub prepare_dispatched: u64,
    /// Preparations that ended with a report.
    pub prepare_concluded: u64,
    /// Executions put into the queue.
    pub execute_enqueued: u64,
    /// Executions dispatched, each attempt.
    pub execute_dispatched: u64,
    /// The same by kind: dispute, approval, backing of a system parachain, other backing.
    pub execute_selected: [u64; 4],
    /// Executions that ended with a report.
    pub execute_finished: u64,
    /// Requests that joined an execution that was under way.
    pub coalesced: u64,
    /// Executions tried once more after a failure.
    pub retried: u64,
    /// Attempts that a worker had for longer than any job takes.
    pub leases_over: u64,
    /// Reports of attempts that had been given up, and that decided the job nevertheless.
    pub late_reports: u64,
    /// Attempts of an earlier coordinator that workers have described.
    pub taken_up: u64,
    /// Executions that adopted such an attempt.
    pub execute_adopted: u64,
    /// Preparations that adopted such an attempt.
    pub prepare_adopted: u64,
    /// Such attempts that were cancelled: no client requested them, or another attempt runs the same validation.
    pub not_adopted: u64,
    /// Executions that came back without having begun.
    pub came_back: u64,
    /// Staged jobs that were recalled.
    pub recalled: u64,
    /// Preparations and executions that are not tried (again) because workers were lost with them.
    pub quarantined: u64,
    /// Executions that were decided, and that another machine was asked about.
    pub cross_checks: u64,
    /// Of these, how many had a second opinion that agreed with the first one.
    pub opinions_agreed: u64,
    /// Of these, how many had a second opinion that did not.
    pub opinions_disagreed: u64,
    /// Of these, how many had none: the first one stood.
    pub opinions_missing: u64,
    /// Requests refused because of a limit.
    pub overloaded: u64,
    /// Artifacts dropped because they were unused.
    pub artifacts_pruned: u64,
    /// Workers that registered.
    pub workers_joined: u64,
    /// Workers that deregistered.
    pub workers_left: u64,
    /// Workers that were lost.
    pub workers_lost: u64,
    /// Workers that became suspect.
    pub suspected: u64,
    /// Times that a worker got no jobs for a while because jobs failed there.
    pub workers_paused: u64,
    /// Contradictions between parts of the scheduler: bugs.
    pub inconsistencies: u64,
}

/// What is here now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Queued preparations: background, normal, critical.
    pub prepare_queue: [u64; 3],
    /// Queued executions: dispute, approval, backing of a system parachain, other backing.
    pub execute_queue: [u64; 4],
    /// How long the oldest preparation has waited, by priority as above; zero if none is queued.
    pub prepare_oldest: [Duration; 3],
    /// How long ago the request for the oldest queued execution arrived, by kind as above; zero if none is queued.
    pub execute_oldest: [Duration; 4],
    /// Workers, slots and taken slots of each kind, by `WorkerKind as usize`.
    pub workers: [(u64, u64, u64); 2],
    /// Jobs that wait at workers for a slot, by kind of worker.
    pub staged: [u64; 2],
    /// Jobs that workers may have at once, by kind of worker.
    pub credits: [u64; 2],
    /// Workers by kind and by condition, in the order of [`WorkerCondition::ALL`](crate::WorkerCondition::ALL).
    pub workers_by_condition: [[u64; 4]; 2],
    /// Workers that do not enforce every property of the sandbox.
    pub insecure_workers: u64,
    /// Attempts that workers have.
    pub attempts: u64,
    /// Engines of registered workers.
    pub engines: u64,
    /// Of these, engines of execute workers that no prepare worker compiles for.
    pub engines_not_compiled_for: u64,
    /// Requests without a verdict.
    pub requests: u64,
    /// Bytes that they hold in memory.
    pub request_bytes: u64,
    /// Clients.
    pub clients: u64,
    /// Artifacts, failures included.
    pub artifacts: u64,
    /// Their size in the store, bytes.
    pub artifact_bytes: u64,
}
