//! What the jobs behind a verdict used, as text.

use pvf_shared::{
    job::{AttemptEnd, JobUsage},
    units::human_bytes,
    usage::cpu_limit,
    wire::{ArtifactSummary, VerdictUsage},
};
use std::time::Duration;

/// From this part of a limit on, percent, it is pointed out how close that is.
const CLOSE: f64 = 80.0;

/// The usage as text, a line for each job. The preparation is left out if the request did not wait for it.
pub(super) fn lines(usage: &VerdictUsage, artifact: Option<&ArtifactSummary>) -> Vec<String> {
    let waited = artifact.is_none_or(|artifact| !artifact.cached);
    let preparation = usage.preparation.iter().filter(|_| waited).map(|of| format!("prepare {}", job(&of.usage)));
    // One that decided at once needs no number and no worker: the verdict has them.
    let alone = matches!(&usage.executions[..], [only] if matches!(only.end, AttemptEnd::Valid | AttemptEnd::Invalid));
    let executions = usage.executions.iter().map(|of| match alone {
        true => format!("execute {}", job(&of.usage)),
        false => format!("execute, attempt {} ({}, {}): {}", of.attempt, of.end.name(), of.worker, job(&of.usage)),
    });
    preparation.chain(executions).collect()
}

/// One job: `1.21 s of 2 s CPU, 12.3 MiB of memory, 34 of 2080 guest pages, PoV 1.2 MiB`.
fn job(usage: &JobUsage) -> String {
    let mut parts = vec![match cpu_limit(usage) {
        Some(limit) => {
            let close = close(usage.cpu.as_secs_f64(), limit.as_secs_f64());
            format!("{} of {} CPU{close}", time(usage.cpu), time(limit))
        }
        None => format!("{} CPU", time(usage.cpu)),
    }];
    if usage.max_rss_kib > 0 {
        parts.push(format!("{} of memory", human_bytes(usage.max_rss_kib.saturating_mul(1024))));
    }
    if let (Some(heap), Some(limit)) = (usage.heap, usage.heap_limit) {
        parts.push(format!("heap {}", bytes_of(heap, limit)));
    }
    if let (Some(pages), Some(limit)) = (usage.memory_pages, usage.memory_pages_limit) {
        parts.push(format!("{pages} of {limit} guest pages{}", close(pages.into(), limit.into())));
    }
    match (usage.pov, usage.pov_decompressed, usage.pov_limit) {
        (Some(pov), Some(decompressed), Some(limit)) => {
            parts.push(format!("PoV {}, decompressed {}", human_bytes(pov), bytes_of(decompressed, limit)));
        }
        (Some(pov), _, _) => parts.push(format!("PoV {}", human_bytes(pov))),
        (None, Some(decompressed), _) => parts.push(format!("decompressed PoV {}", human_bytes(decompressed))),
        (None, None, _) => {}
    }
    parts.join(", ")
}

fn bytes_of(used: u64, limit: u64) -> String {
    format!("{} of {}{}", human_bytes(used), human_bytes(limit), close(used as f64, limit as f64))
}

/// ` (93 %)` if a limit is close, or was exceeded.
fn close(used: f64, limit: f64) -> String {
    let percent = used / limit * 100.0;
    if percent > CLOSE { format!(" ({percent:.0} %)") } else { String::new() }
}

/// `1.21 s`, `12.3 ms`, and without digits that are zero: `2 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if (0.0..0.000_05).contains(&seconds) && !time.is_zero() {
        return "< 0.1 ms".into();
    }
    let (number, unit) =
        if seconds < 1.0 { (format!("{:.1}", seconds * 1e3), "ms") } else { (format!("{seconds:.2}"), "s") };
    format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{
        identity::WorkerId,
        ids::{ArtifactId, CodeHash, EngineId, PrepHash},
        wire::{AttemptUsage, PreparationUsage},
    };

    const MIB: u64 = 1024 * 1024;

    fn usage() -> JobUsage {
        JobUsage {
            cpu: Duration::from_millis(1210),
            cpu_limit: Duration::from_secs(2),
            max_rss_kib: 12_595,
            memory_pages: Some(34),
            memory_pages_limit: Some(2080),
            pov: Some(MIB),
            pov_decompressed: Some(3 * MIB),
            pov_limit: Some(40 * MIB),
            ..JobUsage::default()
        }
    }

    fn worker() -> WorkerId {
        format!("execute.a.{}", "1".repeat(32)).parse().unwrap()
    }

    fn attempt(attempt: u32, end: AttemptEnd) -> AttemptUsage {
        AttemptUsage { attempt, worker: worker(), end, usage: usage() }
    }

    #[test]
    fn a_job_is_one_line_with_its_limits() {
        let expected = "1.21 s of 2 s CPU, 12.3 MiB of memory, 34 of 2080 guest pages, PoV 1.0 MiB, decompressed 3.0 MiB of 40.0 MiB";
        assert_eq!(job(&usage()), expected);
        let preparation = JobUsage {
            cpu: Duration::from_millis(3200),
            cpu_limit: Duration::from_secs(60),
            max_rss_kib: 210 * 1024,
            heap: Some(9 * MIB),
            heap_limit: Some(10 * MIB),
            ..JobUsage::default()
        };
        assert_eq!(job(&preparation), "3.2 s of 60 s CPU, 210.0 MiB of memory, heap 9.0 MiB of 10.0 MiB (90 %)");
        assert_eq!(job(&JobUsage::default()), "0 ms CPU");
    }

    #[test]
    fn what_is_close_to_its_limit_or_over_it_is_pointed_out() {
        let cpu = |ms| job(&JobUsage { cpu: Duration::from_millis(ms), max_rss_kib: 0, ..usage() });
        assert!(cpu(1600).starts_with("1.6 s of 2 s CPU, "), "{}", cpu(1600));
        assert!(cpu(1900).starts_with("1.9 s of 2 s CPU (95 %), "), "{}", cpu(1900));
        assert!(cpu(2004).starts_with("2 s of 2 s CPU (100 %), "), "{}", cpu(2004));
        let pages = job(&JobUsage { memory_pages: Some(2080), ..usage() });
        assert!(pages.contains("2080 of 2080 guest pages (100 %)"), "{pages}");
    }

    #[test]
    fn times_have_no_digits_without_a_meaning() {
        let text = [0, 2, 10, 999, 1000, 1500, 60_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(text, ["0 ms", "2 ms", "10 ms", "999 ms", "1 s", "1.5 s", "60 s"]);
        assert_eq!(time(Duration::from_micros(12_340)), "12.3 ms");
        assert_eq!(time(Duration::from_micros(49)), "< 0.1 ms");
    }

    #[test]
    fn attempts_are_told_apart_if_there_are_several_or_the_only_one_failed() {
        let artifact = |cached| {
            let engine = EngineId::parse("e").unwrap();
            let id = ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine };
            ArtifactSummary { id, bytes: 1, cached }
        };
        let preparation = Some(PreparationUsage { worker: worker(), usage: usage() });
        let both = VerdictUsage { preparation, executions: vec![attempt(1, AttemptEnd::Valid)] };
        let starts = |usage: &VerdictUsage, cached| -> Vec<String> {
            let lines = lines(usage, Some(&artifact(cached)));
            lines.iter().map(|line| line.split(" 1.21 s").next().unwrap().to_owned()).collect()
        };
        assert_eq!(starts(&both, false), ["prepare", "execute"]);
        assert_eq!(starts(&both, true), ["execute"]);
        let retried = vec![attempt(1, AttemptEnd::Ambiguous), attempt(3, AttemptEnd::Valid)];
        let retried = VerdictUsage { preparation: None, executions: retried };
        let id = worker();
        let expected = [format!("execute, attempt 1 (ambiguous, {id}):"), format!("execute, attempt 3 (valid, {id}):")];
        assert_eq!(starts(&retried, true), expected);
    }
}
