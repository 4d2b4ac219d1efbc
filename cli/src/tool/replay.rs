//! `pvf replay`: runs what is in a bundle again, and compares.

use super::{
    args::Global,
    bundles::{self, args::Replay, records, time_text},
    failure::{Exit, Failure},
    output,
    target::Target,
    text,
    usage::time,
};
use pvf_shared::{
    bundle::{Bundle, JobNote},
    job::JobUsage,
    units::human_bytes,
    usage::cpu_limit,
    verdict::{Blame, Outcome},
};
use serde_json::json;
use std::time::Duration;

/// The store of an embedded replay, unless another one is given: nothing that was prepared before decides.
const EMPTY_STORE: &str = "memory://";
/// Longest recorded value that has its new value beside it, characters.
const COLUMN: usize = 44;

/// Runs the bundle on the embedded host or a fleet.
pub(crate) async fn replay(global: &Global, args: &Replay) -> Result<Exit, Failure> {
    let recorded = bundles::read(&args.bundle)?;
    let target = match (&global.bus, &global.store) {
        (None, None) => Target::embedded(global, EMPTY_STORE.into()).await?,
        _ => Target::open(global).await?,
    };
    let now = run(&target, &recorded).await;
    target.close().await;
    let now = now?;
    let differences = recorded.differences(&now.outcome);
    let name = args.bundle.display().to_string();
    if global.json {
        let object = json!({
            "bundle": name,
            "id": recorded.id().to_string(),
            "same": differences.is_empty(),
            "differences": differences,
            "recorded": bundles::answer_json(&name, &recorded),
            "now": bundles::answer_json(&name, &now),
        });
        outln!("{object}");
    } else {
        show(&recorded, &now, &differences);
    }
    Ok(exit(&differences, &now.outcome))
}

/// The bundle of another run.
async fn run(target: &Target, recorded: &Bundle) -> Result<Bundle, Failure> {
    let (pvf, request) = (recorded.pvf(), recorded.request());
    let answer = match request.clone() {
        Some(request) => target.host.execute_pvf(pvf.clone(), request).await,
        None => target.host.precheck_pvf(pvf.clone()).await,
    };
    Ok(target.host.bundle(&pvf, request.as_ref(), &answer?).await)
}

/// No result is no difference: another run may have one.
fn exit(differences: &[&str], now: &Outcome) -> Exit {
    match (differences, now.blame(), now) {
        ([], ..) => Exit::Success,
        (_, Blame::Ours, _) | (_, _, Outcome::Expired) => Exit::NoResult,
        (_, Blame::NoParty | Blame::Candidate | Blame::Ambiguous | Blame::Code, _) => Exit::Negative,
    }
}

fn show(recorded: &Bundle, now: &Bundle, differences: &[&str]) {
    outln!("{}", bundles::asked(recorded));
    outln!("{:<16}{:<COLUMN$}now", "", "recorded");
    let times = [recorded, now].map(|bundle| time_text(Duration::from_millis(bundle.notes.recorded_ms)));
    outln!("{}", row("time", times));
    let [recorded_rows, now_rows] = [recorded, now].map(values);
    for ((label, before), (_, after)) in recorded_rows.into_iter().zip(now_rows) {
        if !(before.is_empty() && after.is_empty()) {
            outln!("{}", row(label, [before, after]));
        }
    }
    let [before, after] = [recorded, now].map(records::deciding);
    for (what, lines) in [("recorded", &before), ("now", &after)] {
        if !lines.is_empty() && (what == "now" || before != after) {
            outln!("{what}:");
            lines.iter().for_each(|line| outln!("{line}"));
        }
    }
    match differences {
        [] => outln!("same outcome"),
        differences => outln!("other outcome: {} differs", differences.join(", ")),
    }
}

/// What is compared, with its label. Empty is not known.
fn values(bundle: &Bundle) -> Vec<(&'static str, String)> {
    let answer = bundle.answer();
    let result = match &answer.outcome {
        Outcome::Valid(result) => format!("head {}", output::short_hex(&result.head_data)),
        _ => String::new(),
    };
    let job = bundle.deciding_job();
    let record = job.and_then(|job| job.record.as_ref());
    let usage = job.and_then(|job| usage_of(bundle, job)).unwrap_or_default();
    let preparation = answer.usage.preparation.map(|of| cpu(&of.usage)).unwrap_or_default();
    let some = |known: bool, text: String| if known { text } else { String::new() };
    let pages = usage.memory_pages.zip(usage.memory_pages_limit);
    vec![
        ("verdict", answer.outcome.name().replace('_', " ")),
        ("reason", answer.outcome.reason().map(|why| text::escaped(&why)).unwrap_or_default()),
        ("result", result),
        ("engine", record.map(|of| of.engine.to_string()).unwrap_or_default()),
        ("host", record.map(|of| text::escaped(&of.host)).unwrap_or_default()),
        ("worker version", record.map(|of| text::escaped(&of.version)).unwrap_or_default()),
        ("worker", answer.worker.map(|worker| worker.to_string()).unwrap_or_default()),
        ("attempts", some(answer.attempts > 0, answer.attempts.to_string())),
        ("prepare CPU", preparation),
        ("CPU", some(job.is_some_and(|job| job.attempt.is_some()), cpu(&usage))),
        ("wall clock", some(!usage.wall.is_zero(), time(usage.wall))),
        ("memory", some(usage.max_rss_kib > 0, human_bytes(usage.max_rss_kib.saturating_mul(1024)))),
        ("guest pages", pages.map(|(pages, limit)| format!("{pages} of {limit}")).unwrap_or_default()),
        ("PoV for guest", usage.pov_decompressed.map(human_bytes).unwrap_or_default()),
    ]
}

/// The usage of a job.
fn usage_of(bundle: &Bundle, job: &JobNote) -> Option<JobUsage> {
    let usage = &bundle.notes.usage;
    match job.attempt {
        Some(attempt) => usage.executions.iter().find(|of| of.attempt == attempt).map(|of| of.usage),
        None => usage.preparation.map(|of| of.usage),
    }
}

fn cpu(usage: &JobUsage) -> String {
    match cpu_limit(usage) {
        Some(limit) => format!("{} of {}", time(usage.cpu), time(limit)),
        None => time(usage.cpu),
    }
}

/// A value and its new value: beside each other if the first one is short, else below each other.
fn row(label: &str, [recorded, now]: [String; 2]) -> String {
    let [recorded, now] = [recorded, now].map(|value| if value.is_empty() { "-".to_owned() } else { value });
    let now = if recorded == now { "same".to_owned() } else { now };
    match recorded.chars().count() < COLUMN {
        true => format!("{label:<16}{recorded:<COLUMN$}{now}"),
        false => format!("{label:<16}{recorded}\n{:<16}{:<COLUMN$}{now}", "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::verdict::{InternalError, InvalidReason};

    #[test]
    fn no_result_is_not_another_outcome() {
        let internal = Outcome::Internal(InternalError::Kernel("no memory".into()));
        assert_eq!(exit(&[], &internal), Exit::Success);
        assert_eq!(exit(&["verdict"], &internal), Exit::NoResult);
        assert_eq!(exit(&["verdict"], &Outcome::Expired), Exit::NoResult);
        assert_eq!(exit(&["reason"], &Outcome::Invalid(InvalidReason::PovDecompression)), Exit::Negative);
        assert_eq!(exit(&["verdict"], &Outcome::PrecheckOk), Exit::Negative);
    }

    #[test]
    fn values_are_side_by_side_if_there_is_room() {
        let label = format!("{:<16}", "host");
        assert_eq!(row("host", ["a".into(), "b".into()]), format!("{label}{:<COLUMN$}b", "a"));
        assert_eq!(row("host", ["a".into(), "a".into()]), format!("{label}{:<COLUMN$}same", "a"));
        assert_eq!(row("host", [String::new(), "a".into()]), format!("{label}{:<COLUMN$}a", "-"));
        let long = "x".repeat(COLUMN);
        assert_eq!(row("host", [long.clone(), "b".into()]), format!("{label}{long}\n{:<60}b", ""));
    }
}
