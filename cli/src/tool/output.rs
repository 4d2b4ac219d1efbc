//! Verdicts as text, as JSON and as exit codes.

use super::{failure::Exit, text::escaped, usage::lines};
use pvf_shared::{
    candidate::ValidationResult,
    client::Answer,
    opinions,
    units::human_bytes,
    usage::{self, ms},
    verdict::{Blame, Outcome},
    wire::{OpinionResult, SecondOpinion},
};
use serde_json::{Value, json};

/// The exit code of a verdict.
pub(crate) fn exit(outcome: &Outcome) -> Exit {
    match (outcome.blame(), outcome) {
        (_, Outcome::Expired) | (Blame::Ours, _) => Exit::NoResult,
        (Blame::NoParty, _) => Exit::Success,
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

/// What came of asking a second machine, as JSON.
fn second_opinion_json(record: &SecondOpinion) -> Value {
    let why = if let OpinionResult::Missing(why) = &record.result { Some(why) } else { None };
    let all: Vec<_> = record.opinions.iter().map(opinions::to_json).collect();
    json!({"result": record.result.name(), "why": why, "opinions": all})
}

/// The same as text, a line; nothing if two machines agree.
fn second_opinion_line(record: &SecondOpinion) -> Option<String> {
    match &record.result {
        OpinionResult::Agreed => None,
        OpinionResult::Disagreed => {
            let opinions: Vec<_> = record.opinions.iter().map(ToString::to_string).collect();
            Some(format!("machines disagree: {}", escaped(&opinions.join("; "))))
        }
        OpinionResult::Missing(why) => Some(format!("no second opinion: {}", escaped(why))),
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
        "second_opinion": answer.second_opinion.as_deref().map(second_opinion_json),
    })
}

/// A request without an answer as JSON, with the same fields.
pub(crate) fn json_unanswered(input: &str, verdict: &str, error: &str) -> Value {
    json!({
        "input": input, "request": null, "verdict": verdict, "reason": error, "heads_up": null, "result": null,
        "code_hash": null, "artifact": null, "timings_ms": null, "worker": null, "attempts": 0, "usage": null,
        "second_opinion": null,
    })
}

/// A verdict as text: one line, and one more, indented, for each job behind it and for a second opinion that is
/// missing or differs.
pub(crate) fn text(input: &str, answer: &Answer) -> String {
    let jobs = lines(&answer.usage, answer.artifact.as_ref());
    let second_opinion = answer.second_opinion.as_deref().and_then(second_opinion_line);
    jobs.into_iter().chain(second_opinion).fold(line(input, answer), |text, job| text + "\n    " + &job)
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

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{
        identity::{UserName, WorkerId, WorkerKind},
        ids::EngineId,
        job::AttemptEnd,
        wire::Opinion,
    };

    fn opinion(host: &str, end: AttemptEnd, reason: Option<&str>) -> Opinion {
        Opinion {
            attempt: 1,
            worker: WorkerId::new(WorkerKind::Execute, UserName::default()),
            host: host.into(),
            engine: EngineId::parse("e").unwrap(),
            host_functions: "f".into(),
            version: "v".into(),
            end,
            reason: reason.map(str::to_owned),
            result: None,
        }
    }

    #[test]
    fn a_second_opinion_is_told_if_it_differs_or_is_missing() {
        let valid = opinion("a", AttemptEnd::Valid, None);
        let invalid = opinion("b", AttemptEnd::Invalid, Some("\u{1b}[2Jtrap"));
        let of = |result| SecondOpinion { result, opinions: vec![valid.clone(), invalid.clone()] };
        assert_eq!(second_opinion_line(&of(OpinionResult::Agreed)), None);
        let differs = second_opinion_line(&of(OpinionResult::Disagreed)).unwrap();
        assert!(differs.starts_with("machines disagree: valid at a") && differs.contains("at b"), "{differs}");
        assert!(!differs.contains('\u{1b}'), "a bundle of anybody is shown: {differs}");
        let missing = of(OpinionResult::Missing("none came".into()));
        assert_eq!(second_opinion_line(&missing).as_deref(), Some("no second opinion: none came"));
        let json = second_opinion_json(&missing);
        assert_eq!((&json["result"], &json["why"]), (&"missing".into(), &"none came".into()));
        assert_eq!((&json["opinions"][1]["verdict"], &json["opinions"][1]["host"]), (&"invalid".into(), &"b".into()));
    }
}
