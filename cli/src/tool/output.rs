//! Verdicts as text, as JSON and as exit codes.

use super::{failure::Exit, text::escaped, usage::lines};
use pvf_shared::{
    candidate::ValidationResult,
    client::Answer,
    units::human_bytes,
    usage::{self, ms},
    verdict::{Blame, Outcome},
};
use serde_json::{Value, json};

/// The exit code of a verdict.
pub(crate) fn exit(outcome: &Outcome) -> Exit {
    match (outcome.blame(), outcome) {
        (_, Outcome::Expired) | (Blame::Ours, _) => Exit::NoResult,
        (Blame::Nobody, _) => Exit::Success,
        (Blame::Candidate | Blame::Ambiguous | Blame::Code, _) => Exit::Negative,
    }
}

fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn result_json(result: &ValidationResult) -> Value {
    let horizontal =
        |m: &pvf_shared::candidate::HorizontalMessage| json!({"recipient": m.recipient, "data": hex0x(&m.data)});
    json!({
        "head_data": hex0x(&result.head_data),
        "new_validation_code": result.new_validation_code.as_ref().map(|c| hex0x(c)),
        "upward_messages": result.upward_messages.iter().map(|m| hex0x(m)).collect::<Vec<_>>(),
        "horizontal_messages": result.horizontal_messages.iter().map(horizontal).collect::<Vec<_>>(),
        "processed_downward_messages": result.processed_downward_messages,
        "hrmp_watermark": result.hrmp_watermark,
    })
}

/// What has become of a heads-up.
fn heads_up(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::HeadsUpTaken => Some("taken"),
        Outcome::HeadsUpPrepared => Some("prepared"),
        _ => None,
    }
}

/// A verdict as JSON.
pub(crate) fn json(input: &str, answer: &Answer) -> Value {
    let result = if let Outcome::Valid(result) = &answer.outcome { result_json(result) } else { Value::Null };
    let artifact =
        answer.artifact.as_ref().map(|a| json!({"id": a.id.to_string(), "bytes": a.bytes, "cached": a.cached}));
    let t = answer.timings;
    json!({
        "input": input,
        "request": answer.request.to_string(),
        "verdict": answer.outcome.name(),
        "reason": answer.outcome.reason(),
        "heads_up": heads_up(&answer.outcome),
        "result": result,
        "code_hash": format!("0x{}", answer.code_hash),
        "artifact": artifact,
        "timings_ms": {"queued": ms(t.queued), "prepare": ms(t.prepare), "execute": ms(t.execute), "total": ms(t.total)},
        "worker": answer.worker.map(|w| w.to_string()),
        "attempts": answer.attempts,
        "usage": usage::to_json(&answer.usage),
    })
}

/// A request without an answer as JSON, with the same fields.
pub(crate) fn json_unanswered(input: &str, verdict: &str, error: &str) -> Value {
    json!({
        "input": input, "request": null, "verdict": verdict, "reason": error, "heads_up": null, "result": null,
        "code_hash": null, "artifact": null, "timings_ms": null, "worker": null, "attempts": 0, "usage": null,
    })
}

/// A verdict as text: one line, and one more, indented, for each job behind it.
pub(crate) fn text(input: &str, answer: &Answer) -> String {
    let jobs = lines(&answer.usage, answer.artifact.as_ref());
    jobs.into_iter().fold(line(input, answer), |text, job| text + "\n    " + &job)
}

fn line(input: &str, answer: &Answer) -> String {
    let t = answer.timings;
    let mut out = format!("{input}: {}", answer.outcome.name().replace('_', " "));
    if let Some(stage) = heads_up(&answer.outcome) {
        out += &format!(" ({stage})");
    }
    if let Some(reason) = answer.outcome.reason() {
        // It may quote a guest, or a bundle of anybody.
        out += &format!(" ({})", escaped(&reason));
    }
    if let Outcome::Valid(result) = &answer.outcome {
        out += &format!(", head {}", short_hex(&result.head_data));
    }
    if let Some(artifact) = &answer.artifact
        && artifact.bytes > 0
    {
        let cached = if artifact.cached { ", cached" } else { "" };
        out += &format!(", artifact {}{cached}", human_bytes(artifact.bytes));
    }
    out + &format!(
        " [queued {:.1} ms, prepare {:.1} ms, execute {:.1} ms, total {:.1} ms]",
        ms(t.queued),
        ms(t.prepare),
        ms(t.execute),
        ms(t.total)
    )
}

/// The bytes in hex; more than 24 are shortened.
pub(crate) fn short_hex(bytes: &[u8]) -> String {
    if bytes.len() <= 24 { hex0x(bytes) } else { format!("{}… ({} bytes)", hex0x(&bytes[..20]), bytes.len()) }
}
