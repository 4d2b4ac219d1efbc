//! The fleet's status, for people.

use crate::{
    core::{Core, Out},
    effect::Answer,
    tables::{Pool, Worker, WorkerState},
    time::Timestamp,
};
use pvf_proto::{
    subjects::Subject,
    wire::{
        FleetStatus, MAX_SANDBOX_ENTRIES, MAX_WORKERS_LISTED, MissingMechanism, SandboxSummary, WorkerKind,
        WorkerStatus,
    },
};

/// Answers a status request, with the workers of one machine or of all.
pub(crate) fn on_status(core: &Core, out: &mut Out, host: Option<&str>, reply: Option<Subject>, now: Timestamp) {
    let status = FleetStatus {
        token: core.config.token,
        version: core.config.version.clone(),
        workers: workers(core, host, now),
        prepare: core.workers.totals(WorkerKind::Prepare).into(),
        execute: core.workers.totals(WorkerKind::Execute).into(),
        requests: core.requests.len() as u64,
        request_bytes: core.clients.bytes(),
        clients: core.clients.len() as u64,
        prepare_queue: core.prepare_queue.depths(),
        execute_queue: core.execute_queue.depths(),
        artifacts: core.artifacts.len() as u64,
        artifact_bytes: core.artifacts.bytes(),
        prepared: out.counts.prepare_dispatched,
        executed: out.counts.execute_dispatched + out.counts.execute_adopted - out.counts.came_back,
        coalesced: out.counts.coalesced,
        overloaded: out.counts.overloaded,
        inconsistencies: out.counts.inconsistencies,
        not_compiled_for: core.workers.not_compiled_for().map(|key| core.workers.engine(key).clone()).collect(),
        trusted_keys: core.config.trusted_keys.clone(),
        sandboxes: Some(sandboxes(core)),
    };
    out.reply(reply, Answer::Status(Box::new(status)));
}

fn all_workers(core: &Core) -> impl Iterator<Item = &Worker> {
    let pools = core
        .workers
        .engines()
        .flat_map(|engine| [WorkerKind::Prepare, WorkerKind::Execute].map(|kind| core.workers.pool(kind, engine)));
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

fn status(worker: &Worker, now: Timestamp) -> WorkerStatus {
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
