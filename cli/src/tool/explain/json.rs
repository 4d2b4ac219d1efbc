//! An explanation as JSON.

use pvf_shared::{params::ExecutorParams, usage::ms};
use pvf_worker::supervise::Explained;
use serde_json::{Value, json};

/// The explanation as JSON; names end with their unit.
pub(crate) fn to_json(explained: &Explained, params: &ExecutorParams) -> Value {
    match explained {
        Explained::NotPrepared(error) => json!({"ended": "not_prepared", "reason": error}),
        Explained::Ended { why, log } => json!({"ended": "no_result", "reason": why, "log_end": log}),
        Explained::Called(of) => json!({
            "ended": if of.outcome.is_ok() { "returned" } else { "failed" },
            "reason": of.outcome.as_ref().err(),
            "log": of.log,
            "log_dropped": of.log_dropped,
            "backtrace": of.frames.iter().map(|frame| json!({
                "function": frame.function,
                "offset": frame.offset,
                "name": frame.name.as_deref().map(super::text::demangled),
            })).collect::<Vec<_>>(),
            "backtrace_frames": of.frames_total,
            "host_calls": of.host_calls.iter()
                .map(|of| json!({"name": of.name, "count": of.count, "time_ms": ms(of.time)})).collect::<Vec<_>>(),
            "memory": of.memory.iter()
                .map(|step| json!({"after_ms": ms(step.after), "pages": step.pages})).collect::<Vec<_>>(),
            "memory_pages": of.memory_pages,
            "memory_pages_limit": params.memory_page_limit(),
            "stack_height_at_least": of.stack_height,
            "stack_limit": params.stack_logical_max(),
            "cpu_ms": ms(of.cpu),
            "block_data_bytes": of.block_data,
        }),
    }
}
