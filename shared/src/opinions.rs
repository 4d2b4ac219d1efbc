//! What one machine said of a candidate, as JSON: the same in the output of `pvf --json` and in the events for
//! observers. `docs/integrate/verdicts.md` lists the fields.

use crate::wire::Opinion;
use serde_json::{Value, json};

/// An opinion as JSON.
pub fn to_json(opinion: &Opinion) -> Value {
    json!({
        "attempt": opinion.attempt, "worker": opinion.worker.to_string(), "host": opinion.host,
        "engine": opinion.engine.as_str(), "host_functions": opinion.host_functions, "version": opinion.version,
        "verdict": opinion.end.name(), "reason": opinion.reason,
        "result_hash": opinion.result.map(|hash| hash.to_string()),
    })
}
