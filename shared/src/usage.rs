//! What the jobs behind a verdict used, as JSON: the same in the output of `pvf --json` and in the events for
//! observers. `docs/integrate/verdicts.md` lists the fields.

use crate::{
    identity::WorkerId,
    job::JobUsage,
    wire::{AttemptUsage, PreparationUsage, VerdictUsage},
};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// A duration for JSON, milliseconds with three digits behind the point.
pub fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

/// The usage as it is in JSON. Every name ends with its unit, except that of a number of pages, which are of 64 KiB.
#[derive(Debug, Serialize)]
pub struct UsageJson<'a> {
    preparation: Option<PreparationJson<'a>>,
    executions: Vec<ExecutionJson<'a>>,
}

/// What a job of either kind has.
#[derive(Debug, Serialize)]
struct JobJson<'a> {
    worker: &'a WorkerId,
    cpu_ms: f64,
    cpu_limit_ms: Option<f64>,
    wall_ms: f64,
    io_ms: f64,
    max_rss_bytes: u64,
}

#[derive(Debug, Serialize)]
struct PreparationJson<'a> {
    #[serde(flatten)]
    job: JobJson<'a>,
    heap_bytes: Option<u64>,
    heap_limit_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ExecutionJson<'a> {
    #[serde(flatten)]
    job: JobJson<'a>,
    attempt: u32,
    outcome: &'static str,
    memory_pages: Option<u32>,
    memory_pages_limit: Option<u32>,
    pov_bytes: Option<u64>,
    pov_decompressed_bytes: Option<u64>,
    pov_limit_bytes: Option<u64>,
}

impl<'a> From<&'a VerdictUsage> for UsageJson<'a> {
    fn from(usage: &'a VerdictUsage) -> Self {
        let preparation = |of: &'a PreparationUsage| PreparationJson {
            job: JobJson::of(&of.worker, &of.usage),
            heap_bytes: of.usage.heap,
            heap_limit_bytes: of.usage.heap_limit,
        };
        let execution = |of: &'a AttemptUsage| ExecutionJson {
            job: JobJson::of(&of.worker, &of.usage),
            attempt: of.attempt,
            outcome: of.end.name(),
            memory_pages: of.usage.memory_pages,
            memory_pages_limit: of.usage.memory_pages_limit,
            pov_bytes: of.usage.pov,
            pov_decompressed_bytes: of.usage.pov_decompressed,
            pov_limit_bytes: of.usage.pov_limit,
        };
        Self {
            preparation: usage.preparation.as_ref().map(preparation),
            executions: usage.executions.iter().map(execution).collect(),
        }
    }
}

impl<'a> JobJson<'a> {
    fn of(worker: &'a WorkerId, usage: &JobUsage) -> Self {
        Self {
            worker,
            cpu_ms: ms(usage.cpu),
            cpu_limit_ms: cpu_limit(usage).map(ms),
            wall_ms: ms(usage.wall),
            io_ms: ms(usage.io),
            max_rss_bytes: usage.max_rss_kib.saturating_mul(1024),
        }
    }
}

/// The usage as JSON.
pub fn to_json(usage: &VerdictUsage) -> Value {
    // Names are texts and numbers are finite: nothing of it can fail.
    serde_json::to_value(UsageJson::from(usage)).unwrap_or_default()
}

/// The limit of a job's CPU time; `None` if the job was not handed to a process.
pub fn cpu_limit(usage: &JobUsage) -> Option<Duration> {
    Some(usage.cpu_limit).filter(|limit| !limit.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::AttemptEnd;
    use serde_json::json;

    fn worker() -> WorkerId {
        format!("execute.a.{}", "1".repeat(32)).parse().unwrap()
    }

    #[test]
    fn json_has_every_field_of_a_job_also_if_it_is_not_known() {
        let usage = JobUsage {
            cpu: Duration::from_millis(1210),
            cpu_limit: Duration::from_secs(2),
            max_rss_kib: 12_595,
            ..JobUsage::default()
        };
        let executions = vec![AttemptUsage { attempt: 1, worker: worker(), end: AttemptEnd::Invalid, usage }];
        let json = to_json(&VerdictUsage { preparation: None, executions });
        assert_eq!(json["preparation"], Value::Null);
        let execution = &json["executions"][0];
        assert_eq!((&execution["cpu_ms"], &execution["cpu_limit_ms"]), (&json!(1210.0), &json!(2000.0)));
        assert_eq!(execution["max_rss_bytes"], 12_595 * 1024);
        let unknown = PreparationUsage { worker: worker(), usage: JobUsage::default() };
        let json = to_json(&VerdictUsage { preparation: Some(unknown), executions: vec![] });
        assert_eq!(
            (&json["preparation"]["heap_bytes"], &json["preparation"]["cpu_limit_ms"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(json["executions"], json!([]));
    }
}
