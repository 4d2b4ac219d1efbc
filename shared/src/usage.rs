//! What the jobs behind a verdict used, as JSON: the same in the output of `pvf --json` and in the events for observers.
//! `docs/integrate/verdicts.md` lists the fields.

use crate::{
    job::JobUsage,
    wire::{AttemptUsage, PreparationUsage, VerdictUsage},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A duration for JSON, milliseconds with three digits behind the point.
pub fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

/// The usage as JSON. Every name ends with its unit, except that of a number of pages, which are of 64 KiB.
pub fn to_json(usage: &VerdictUsage) -> Value {
    let preparation = |of: &PreparationUsage| {
        let JobUsage { heap, heap_limit, .. } = of.usage;
        let mut object = common_json(of.worker.to_string(), &of.usage);
        object["heap_bytes"] = json!(heap);
        object["heap_limit_bytes"] = json!(heap_limit);
        object
    };
    let execution = |of: &AttemptUsage| {
        let JobUsage { memory_pages, memory_pages_limit, pov, pov_decompressed, pov_limit, .. } = of.usage;
        let mut object = common_json(of.worker.to_string(), &of.usage);
        object["attempt"] = json!(of.attempt);
        object["outcome"] = json!(of.end.name());
        object["memory_pages"] = json!(memory_pages);
        object["memory_pages_limit"] = json!(memory_pages_limit);
        object["pov_bytes"] = json!(pov);
        object["pov_decompressed_bytes"] = json!(pov_decompressed);
        object["pov_limit_bytes"] = json!(pov_limit);
        object
    };
    json!({
        "preparation": usage.preparation.as_ref().map(preparation),
        "executions": usage.executions.iter().map(execution).collect::<Vec<_>>(),
    })
}

fn common_json(worker: String, usage: &JobUsage) -> Value {
    json!({
        "worker": worker,
        "cpu_ms": ms(usage.cpu),
        "cpu_limit_ms": cpu_limit(usage).map(ms),
        "wall_ms": ms(usage.wall),
        "io_ms": ms(usage.io),
        "max_rss_bytes": usage.max_rss_kib.saturating_mul(1024),
    })
}

/// The limit of a job's CPU time; `None` if the job was not handed to a process.
pub fn cpu_limit(usage: &JobUsage) -> Option<Duration> {
    Some(usage.cpu_limit).filter(|limit| !limit.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::WorkerId, job::AttemptEnd};

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
