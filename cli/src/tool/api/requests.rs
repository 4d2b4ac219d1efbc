//! `pvf requests`: the requests of a fleet, open ones and those that ended last.

use super::{
    Api,
    args::RequestsLs,
    model::{Job, Request},
    part,
    prefix::Among,
};
use crate::tool::{
    ago::{self, short_hash},
    args::Global,
    failure::{Exit, Failure},
    table::Table,
    text::escaped,
};
use pvf_shared::{ids::RequestId, units::human_bytes};
use serde_json::{Value, json};

/// Requests among which the beginning of an id is looked for. More may not fit into one message.
const MOST: u32 = 400;

pub(crate) async fn ls(global: &Global, args: &RequestsLs) -> Result<Exit, Failure> {
    let answer = Api::connect(global, "requests").await?.ask("requests", parameters(args)).await?;
    if global.json {
        outln!("{answer}");
        return Ok(Exit::Success);
    }
    let requests: Vec<Request> = part(&answer["requests"])?;
    lines(&requests, answer["at_ms"].as_f64().unwrap_or_default()).iter().for_each(|line| outln!("{line}"));
    let listed = requests.len();
    match args.state.as_deref() {
        None | Some("open") => {
            outln!("{listed} listed; {} open requests match", answer["open_total"].as_u64().unwrap_or_default());
        }
        Some(_) => outln!("{listed} listed"),
    }
    Ok(Exit::Success)
}

fn parameters(args: &RequestsLs) -> Value {
    let RequestsLs { state, kind, code, client, limit } = args;
    let (kind, code) = (kind.map(|kind| kind.name()), code.map(|code| format!("0x{code}")));
    let client = client.map(|user| user.to_string());
    json!({"state": state, "kind": kind, "code": code, "client": client, "limit": limit})
}

fn lines(requests: &[Request], now: f64) -> Vec<String> {
    let columns = ["REQUEST", ">AGE", "ASKED", "STATE", ">TIME", ">ATTEMPTS", "CODE", "CLIENT", "HOST", "REASON"];
    let mut table = Table::new(&columns);
    for request in requests {
        let cells = [
            request.request.clone(),
            ago::between(request.ended_ms.or(request.arrived_ms), now),
            request.asked().to_owned(),
            request.stage(),
            ago::millis(request.taken_ms(now)),
            request.attempts.to_string(),
            short_hash(&request.code),
            request.client.clone(),
            request.host.clone().unwrap_or_default(),
            request.reason.clone().unwrap_or_default(),
        ];
        table.row(cells);
    }
    table.lines()
}

pub(crate) async fn show(global: &Global, id: &str) -> Result<Exit, Failure> {
    let api = Api::connect(global, "requests").await?;
    let answer = one(&api, id).await?;
    match global.json {
        true => outln!("{answer}"),
        false => {
            let now = answer["at_ms"].as_f64().unwrap_or_default();
            described(&part(&answer)?, now).iter().for_each(|line| outln!("{line}"));
        }
    }
    Ok(Exit::Success)
}

/// The request with this id, or with one that begins so.
pub(crate) async fn one(api: &Api, id: &str) -> Result<Value, Failure> {
    let id = whole(api, id).await?;
    api.ask("request", json!({ "id": id.to_string() })).await
}

/// The id that this is, or is the beginning of.
pub(crate) async fn whole(api: &Api, id: &str) -> Result<RequestId, Failure> {
    if let Ok(id) = id.parse() {
        return Ok(id);
    }
    let answer = api.ask("requests", json!({ "limit": MOST })).await?;
    let all: Vec<Request> = part(&answer["requests"])?;
    let among = Among { what: "request", command: "pvf requests", is_cut: all.len() >= MOST as usize, all: &all };
    let request = among.meant(id, |request| vec![request.request.clone()])?;
    request.request.parse().map_err(|error| Failure::no_result("answer of the coordinator", error))
}

/// All that is known of a request, in lines.
pub(crate) fn described(request: &Request, now: f64) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let facts = [
        ("request", request.request.clone()),
        ("client", request.client.clone()),
        ("asked", [request.work.as_str(), request.kind.as_deref().unwrap_or_default()].join(" ")),
        ("code", request.code.clone()),
        ("artifact", text(&request.artifact)),
        ("state", request.stage()),
        ("compiler", request.compiling.map(|progress| progress.to_string()).unwrap_or_default()),
        ("reason", text(&request.reason)),
        ("second opinion", text(&request.second_opinion)),
        ("worker", text(&request.worker)),
        ("host", text(&request.host)),
        ("attempts", request.attempts.to_string()),
        ("has waited", request.arrived_ms.map(|at| ago::between(Some(at), now)).unwrap_or_default()),
        ("expires in", request.deadline_ms.map(|at| ago::millis((at - now).max(0.0))).unwrap_or_default()),
        ("shared by", if request.waiters > 1 { format!("{} requests", request.waiters) } else { String::new() }),
        ("ended", request.ended_ms.map(|at| format!("{} ago", ago::between(Some(at), now))).unwrap_or_default()),
        ("times", times(request)),
    ];
    let facts = facts.iter().map(|(name, value)| (*name, value.trim())).filter(|(_, value)| !value.is_empty());
    let mut lines: Vec<_> = facts.map(|(name, value)| format!("{name:<16}{}", escaped(value))).collect();
    lines.extend(request.usage.preparation.iter().map(|used| job("preparation", used)));
    lines.extend(request.usage.executions.iter().map(|used| job("execution", used)));
    for retry in &request.retries {
        let detail = retry.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let (when, reason) = (ago::between(retry.at_ms, now), &retry.reason);
        let place = if retry.host.is_empty() { &retry.worker } else { &retry.host };
        let line = format!("attempt {} at {place} {when} ago: {reason}{detail}", retry.attempt);
        lines.push(format!("{:<16}{}", "retried", escaped(&line)));
    }
    lines.extend(why(request));
    lines
}

/// Why the request is where it is, a line for each sentence.
fn why(request: &Request) -> Vec<String> {
    request.why.iter().map(|sentence| format!("{:<16}{}", "why", escaped(sentence))).collect()
}

fn times(request: &Request) -> String {
    let stages = [
        ("queued", request.queued_ms),
        ("prepare", request.prepare_ms),
        ("execute", request.execute_ms),
        ("total", request.total_ms),
    ];
    let known = stages.iter().filter_map(|(name, ms)| Some(format!("{name} {}", ago::millis((*ms)?))));
    known.collect::<Vec<_>>().join(", ")
}

fn job(what: &str, used: &Job) -> String {
    let number = used.attempt.map(|attempt| format!("attempt {attempt}, ")).unwrap_or_default();
    let end = used.outcome.as_ref().map(|outcome| format!("{outcome}, ")).unwrap_or_default();
    let limit = used.cpu_limit_ms.map(|ms| format!(" of {}", ago::millis(ms))).unwrap_or_default();
    let cpu = format!("{}{limit} CPU", ago::millis(used.cpu_ms));
    let memory =
        used.max_rss_bytes.map(|bytes| format!(", {} of memory", human_bytes(bytes as u64))).unwrap_or_default();
    let place = if used.worker.is_empty() { String::new() } else { format!(", {}", used.worker) };
    format!("{what:<16}{}", escaped(&format!("{number}{end}{cpu}{memory}{place}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> Request {
        Request { request: id.into(), ..Request::default() }
    }

    #[test]
    fn a_request_is_described_with_its_jobs_and_reasons() {
        let request: Request = part(&json!({
            "request": "r", "client": "c.s", "work": "execute", "kind": "approval", "code": "0xab", "state": "ended", "worker": null,
            "ended_ms": 1000, "outcome": "invalid", "reason": "trap\u{1b}[2J", "attempts": 2, "host": "h",
            "queued_ms": 1.5, "execute_ms": 20, "total_ms": 70_000,
            "usage": {"preparation": null, "executions": [
                {"attempt": 2, "worker": "w", "outcome": "invalid", "cpu_ms": 12, "cpu_limit_ms": 2000, "max_rss_bytes": 1_048_576}
            ]},
            "retries": [{"at_ms": 900, "attempt": 1, "worker": "v", "host": null, "reason": "worker-lost", "detail": null}],
            "why": ["One.", "Two."],
        }))
        .unwrap();
        assert_eq!(
            described(&request, 61_000.0),
            [
                "request         r",
                "client          c.s",
                "asked           execute approval",
                "code            0xab",
                "state           invalid",
                "reason          trap\\u{1b}[2J",
                "host            h",
                "attempts        2",
                "ended           1m00s ago",
                "times           queued 1.5 ms, execute 20 ms, total 1m10s",
                "execution       attempt 2, invalid, 12 ms of 2 s CPU, 1.0 MiB of memory, w",
                "retried         attempt 1 at v 1m00s ago: worker-lost",
                "why             One.",
                "why             Two.",
            ]
        );
    }

    #[test]
    fn parameters_have_the_names_of_the_api() {
        let args = RequestsLs {
            state: Some("open".into()),
            code: Some(pvf_shared::ids::CodeHash([1; 32])),
            kind: Some(pvf_shared::priority::ExecuteKind::BackingSystem),
            ..RequestsLs::default()
        };
        let code = format!("0x{}", "01".repeat(32));
        let expected = json!({"state": "open", "kind": "backing-system", "code": code, "client": null, "limit": null});
        assert_eq!(parameters(&args), expected);
    }

    #[test]
    fn open_and_ended_requests_are_in_one_table() {
        let open = Request { work: "execute".into(), state: "queued".into(), arrived_ms: Some(10.0), ..named("a") };
        let ended = Request { outcome: Some("valid".into()), total_ms: Some(7.0), ended_ms: Some(0.0), ..open.clone() };
        let lines = lines(&[open, ended], 20.0);
        assert!(lines[1].starts_with("a        10 ms  execute  queued  10 ms         0"), "{lines:?}");
        assert!(lines[2].contains("20 ms  execute  valid    7 ms"), "{lines:?}");
    }
}
