//! The state of a fleet as JSON: the same in `pvf status --json` and in the coordinator's read API.

use crate::{
    ids::EngineId,
    keys::KeyFingerprint,
    wire::{FleetStatus, WorkerStatus},
};
use serde_json::{Value, json};

/// A status. Names end with their unit; numbers of things have none.
pub fn status(status: &FleetStatus) -> Value {
    let [background, normal, critical] = status.prepare_queue;
    let [dispute, approval, system, backing] = status.execute_queue;
    json!({
        "version": status.version, "token": status.token.0,
        "workers": status.workers.iter().map(worker).collect::<Vec<_>>(),
        "prepare_workers": status.prepare.workers, "prepare_slots": status.prepare.slots,
        "execute_workers": status.execute.workers, "execute_slots": status.execute.slots,
        "requests": status.requests, "request_bytes": status.request_bytes, "clients": status.clients,
        "prepare_queue": {"background": background, "normal": normal, "critical": critical},
        "execute_queue": {"dispute": dispute, "approval": approval, "backing_system": system, "backing": backing},
        "artifacts": status.artifacts, "artifact_bytes": status.artifact_bytes,
        "prepared": status.prepared, "executed": status.executed,
        "coalesced": status.coalesced, "overloaded": status.overloaded, "inconsistencies": status.inconsistencies,
        "trusted_keys": texts(&status.trusted_keys),
        "not_compiled_for": status.not_compiled_for.iter().map(EngineId::as_str).collect::<Vec<_>>(),
    })
}

/// The state of one worker.
pub fn worker(worker: &WorkerStatus) -> Value {
    json!({
        "id": worker.id.to_string(), "kind": worker.kind.to_string(), "slots": worker.slots,
        "running": worker.running, "engine": worker.engine.as_str(), "host": worker.host,
        "version": worker.version, "draining": worker.draining, "secure": worker.security.secure,
        "missing_security": worker.security.missing, "trouble": worker.trouble,
        "signs_with": worker.signs_with.map(|key| key.to_string()), "trusts": texts(&worker.trusts),
    })
}

fn texts(keys: &[KeyFingerprint]) -> Vec<String> {
    keys.iter().map(KeyFingerprint::to_string).collect()
}
