//! The fleet's status, for people.

use crate::{
    core::{Core, Out},
    counts::{Counts, Gauges},
    effect::Answer,
    tables::{Pool, Worker, WorkerState},
    time::Timestamp,
};
use pvf_proto::{
    priority::ExecuteKind,
    subjects::Subject,
    wire::{
        FleetStatus, MAX_SANDBOX_ENTRIES, MAX_WORKERS_LISTED, MissingMechanism, SandboxSummary, WorkerKind,
        WorkerStatus,
    },
};
use std::time::Duration;

/// Answers a status request, with the workers of one machine or of all.
pub(crate) fn on_status(core: &Core, out: &mut Out, host: Option<&str>, reply: Option<Subject>, now: Timestamp) {
    let status = fleet(core, &out.counts, workers(core, host, now));
    out.reply(reply, Answer::Status(Box::new(status)));
}

/// The state of the fleet, with these workers.
pub(crate) fn fleet(core: &Core, counts: &Counts, workers: Vec<WorkerStatus>) -> FleetStatus {
    FleetStatus {
        token: core.config.token,
        version: core.config.version.clone(),
        workers,
        prepare: core.workers.totals(WorkerKind::Prepare).into(),
        execute: core.workers.totals(WorkerKind::Execute).into(),
        requests: core.requests.len() as u64,
        request_bytes: core.clients.bytes(),
        clients: core.clients.len() as u64,
        prepare_queue: core.prepare_queue.depths(),
        execute_queue: core.execute_queue.depths(),
        artifacts: core.artifacts.len() as u64,
        artifact_bytes: core.artifacts.bytes(),
        prepared: counts.prepare_dispatched,
        executed: counts.execute_dispatched + counts.execute_adopted - counts.came_back,
        coalesced: counts.coalesced,
        overloaded: counts.overloaded,
        inconsistencies: counts.inconsistencies,
        not_compiled_for: core.workers.not_compiled_for().map(|key| core.workers.engine(key).clone()).collect(),
        trusted_keys: core.config.trusted_keys.clone(),
        sandboxes: Some(sandboxes(core)),
    }
}

/// What is here now.
pub(crate) fn gauges(core: &Core, now: Timestamp) -> Gauges {
    let of_kind = |kind| {
        let (workers, slots) = core.workers.totals(kind);
        (workers, slots, core.workers.pools(kind).map(Pool::busy).sum())
    };
    let staged = |kind| core.workers.pools(kind).map(|pool| pool.staged_len() as u64).sum();
    let mut gauges = Gauges {
        prepare_queue: core.prepare_queue.depths(),
        execute_queue: core.execute_queue.depths(),
        prepare_oldest: core.prepare_queue.oldest().map(|queued| queued.map_or(Duration::ZERO, |at| now.since(at))),
        execute_oldest: ExecuteKind::ALL.map(|kind| oldest(core, kind, now)),
        workers: KINDS.map(of_kind),
        staged: KINDS.map(staged),
        requests: core.requests.len() as u64,
        request_bytes: core.clients.bytes(),
        clients: core.clients.len() as u64,
        artifacts: core.artifacts.len() as u64,
        artifact_bytes: core.artifacts.bytes(),
        engines: core.workers.engines().filter(|engine| core.workers.has_workers(*engine)).count() as u64,
        engines_not_compiled_for: core.workers.not_compiled_for().count() as u64,
        ..Gauges::default()
    };
    for worker in core.workers.iter() {
        gauges.workers_by_condition[worker.kind as usize][worker.condition() as usize] += 1;
        gauges.insecure_workers += u64::from(!worker.hello.security.secure);
        gauges.credits[worker.kind as usize] += u64::from(worker.credit(core.workers.staged_per_slot()));
        gauges.attempts += worker.jobs.len() as u64;
    }
    gauges
}

/// How long ago the request for the oldest queued execution of a kind arrived.
fn oldest(core: &Core, kind: ExecuteKind, now: Timestamp) -> Duration {
    let oldest = core.execute_queue.oldest(kind).and_then(|job| core.executions.get(job));
    let request = oldest.and_then(|execution| core.requests.get(execution.waiters.first()?));
    request.map_or(Duration::ZERO, |request| now.since(request.arrived))
}

const KINDS: [WorkerKind; 2] = [WorkerKind::Prepare, WorkerKind::Execute];

fn all_workers(core: &Core) -> impl Iterator<Item = &Worker> {
    let pools = core.workers.engines().flat_map(|engine| KINDS.map(|kind| core.workers.pool(kind, engine)));
    pools.flat_map(Pool::members).filter_map(|id| core.workers.get(id))
}

/// What the sandboxes of all workers miss.
fn sandboxes(core: &Core) -> SandboxSummary {
    let mut summary = SandboxSummary::default();
    let SandboxSummary { missing, insecure } = &mut summary;
    for hello in all_workers(core).map(|worker| &worker.hello) {
        if !hello.security.secure && insecure.len() < MAX_SANDBOX_ENTRIES && !insecure.contains(&hello.host) {
            insecure.push(hello.host.clone());
        }
        for mechanism in &hello.security.missing {
            let known = missing.iter().any(|entry| entry.mechanism == *mechanism);
            if missing.len() < MAX_SANDBOX_ENTRIES && !known {
                missing.push(MissingMechanism { mechanism: mechanism.clone(), host: hello.host.clone() });
            }
        }
    }
    summary
}

fn workers(core: &Core, host: Option<&str>, now: Timestamp) -> Vec<WorkerStatus> {
    all_workers(core)
        .filter(|worker| host.is_none_or(|host| worker.hello.host == host))
        .take(MAX_WORKERS_LISTED)
        .map(|worker| status(worker, now))
        .collect()
}

/// The state of one worker.
pub(crate) fn status(worker: &Worker, now: Timestamp) -> WorkerStatus {
    let hello = &worker.hello;
    WorkerStatus {
        id: worker.id,
        kind: worker.kind,
        slots: hello.slots,
        running: worker.running(),
        engine: hello.engine.clone(),
        host: hello.host.clone(),
        version: hello.version.clone(),
        security: hello.security.clone(),
        signs_with: hello.signs_with,
        trusts: hello.trusts.clone(),
        trouble: match worker.state() {
            WorkerState::Suspect { .. } => {
                Some("refused a job, or did not answer: gets no jobs until heard from".into())
            }
            WorkerState::Available | WorkerState::Draining => worker.health().trouble(now),
        },
        draining: worker.is_told_to_drain() || worker.is_draining(),
    }
}
