//! `pvf status`: the state of a fleet, and the health check of a role.

use super::{
    args::{Global, Role, Status},
    failure::{Exit, Failure},
    target::bus_of,
    text::escaped,
};
use pvf_shared::{
    client::{ClientConfig, fleet_status},
    fleet_json,
    keys::listed,
    units::human_bytes,
    wire::{FleetStatus, WorkerKind},
};
use pvf_worker::agent::WorkerConfig;
use serde_json::json;

/// Whether this role is present; a worker on this machine. The coordinator is: its status was just received.
fn is_present(status: &FleetStatus, role: Role, host: &str) -> bool {
    let has = |kind| status.workers.iter().any(|w| w.kind == kind && w.host == host);
    match role {
        Role::Coordinator => true,
        Role::PrepareWorker => has(WorkerKind::Prepare),
        Role::ExecuteWorker => has(WorkerKind::Execute),
    }
}

/// Exit code 3 if the fleet has no workers, or the role of `--health` is not present.
pub(crate) async fn status(global: &Global, args: &Status) -> Result<Exit, Failure> {
    let bus = bus_of(global, "status").await?;
    let config = ClientConfig { fleet: global.fleet.clone(), ..ClientConfig::default() };
    let is_well = match args.health {
        Some(role) => {
            // The name that the workers of this machine register with.
            let host = std::env::var("PVF_HOST").unwrap_or_else(|_| WorkerConfig::new(WorkerKind::Execute, 1).host);
            let is_present = is_present(&fleet_status(bus, &config, Some(&host)).await?, role, &host);
            let unhealthy = "unhealthy: no such worker on this machine is registered with the coordinator";
            match global.json {
                true => outln!("{}", json!({"healthy": is_present, "host": host})),
                false => outln!("{}", if is_present { "healthy" } else { unhealthy }),
            }
            is_present
        }
        None => {
            let status = fleet_status(bus, &config, None).await?;
            show(global, &status);
            !status.workers.is_empty()
        }
    };
    Ok(if is_well { Exit::Success } else { Exit::NoResult })
}

fn show(global: &Global, status: &FleetStatus) {
    if global.json { outln!("{}", fleet_json::status(status)) } else { print(status) }
}

fn print(status: &FleetStatus) {
    let [background, normal, critical] = status.prepare_queue;
    let [dispute, approval, system, backing] = status.execute_queue;
    let (prepare, execute) = (status.prepare, status.execute);
    outln!("coordinator    version {}, fencing token {}", escaped(&status.version), status.token.0);
    outln!(
        "requests       {} of {} clients, {} in memory",
        status.requests,
        status.clients,
        human_bytes(status.request_bytes)
    );
    outln!("artifacts      {}, {}", status.artifacts, human_bytes(status.artifact_bytes));
    outln!("trusted keys   {}", listed(&status.trusted_keys));
    outln!("prepare queue  {critical} critical, {normal} normal, {background} background");
    outln!("execute queue  {dispute} dispute, {approval} approval, {system} backing-system, {backing} backing");
    outln!(
        "since start    {} preparations, {} executions, {} requests coalesced, {} refused as overloaded",
        status.prepared,
        status.executed,
        status.coalesced,
        status.overloaded
    );
    if status.inconsistencies > 0 {
        outln!("defects        {} inconsistencies in the coordinator's state: see its log", status.inconsistencies);
    }
    for engine in &status.not_compiled_for {
        outln!("engines        no prepare worker compiles for engine {engine}, which execute workers have");
    }
    outln!(
        "workers        {} prepare workers with {} slots, {} execute workers with {} slots",
        prepare.workers,
        prepare.slots,
        execute.workers,
        execute.slots
    );
    for w in &status.workers {
        let draining = if w.draining { ", draining" } else { "" };
        outln!(
            "{} worker {} on {}: {} of {} slots in use, engine {}{draining}",
            w.kind,
            w.id,
            escaped(&w.host),
            w.running,
            w.slots,
            w.engine
        );
        if let Some(trouble) = &w.trouble {
            outln!("  trouble: {}", escaped(trouble));
        }
        match w.signs_with {
            Some(key) => outln!("  signs artifacts with key {key}"),
            None => outln!("  trusts artifacts of keys {}", listed(&w.trusts)),
        }
        match w.security.missing.as_slice() {
            [] if w.security.secure => outln!("  sandbox: complete"),
            [] => outln!("  sandbox: not reported"),
            missing if w.security.secure => outln!("  sandbox: secure, without: {}", escaped(&missing.join("; "))),
            missing => outln!("  sandbox: INSECURE, missing: {}", escaped(&missing.join("; "))),
        }
    }
}
