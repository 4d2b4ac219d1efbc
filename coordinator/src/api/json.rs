//! The answers as JSON.

use super::overview::Overview;
use crate::{
    events::LoggedEvent,
    history::{Ended, Retry, SAMPLE_INTERVAL, Sample},
    millis::millis,
};
use pvf_scheduler::{ArtifactView, Counts, Page, RequestView, Timestamp, WorkerView};
use pvf_shared::{
    fleet_json,
    priority::{ExecuteKind, PreparePriority},
    usage::{self, ms},
    wire::WorkerKind,
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// Milliseconds since 1970.
fn at(time: Timestamp) -> u64 {
    millis(time.since(Timestamp::default()))
}

/// Values by kind of execution, under the names that they have in the status.
fn by_kind<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    let names = ExecuteKind::ALL.into_iter().map(|kind| kind.name().replace('-', "_"));
    Value::Object(names.zip(values.into_iter().map(Into::into)).collect::<Map<_, _>>())
}

fn by_priority<T: Into<Value>>(values: impl IntoIterator<Item = T>) -> Value {
    let names = PreparePriority::ALL.into_iter().map(|priority| priority.name().to_owned());
    Value::Object(names.zip(values.into_iter().map(Into::into)).collect::<Map<_, _>>())
}

/// How long the oldest one has waited; null if none waits.
fn oldest(depths: &[u64], ages: &[Duration]) -> Vec<Option<u64>> {
    depths.iter().zip(ages).map(|(depth, age)| (*depth > 0).then(|| millis(*age))).collect()
}

pub(super) fn status(overview: &Overview) -> Value {
    let Overview { status, gauges, counts, shares, workers, moment } = overview;
    let mut answer = fleet_json::status(status);
    let busy = |kind: WorkerKind| gauges.workers[kind as usize].2;
    let more = json!({
        "fleet": moment.fleet.as_str(), "started_ms": at(moment.active_since),
        "workers_total": workers.matching,
        "prepare_busy": busy(WorkerKind::Prepare), "execute_busy": busy(WorkerKind::Execute),
        "prepare_oldest_ms": by_priority(oldest(&gauges.prepare_queue, &gauges.prepare_oldest)),
        "execute_oldest_ms": by_kind(oldest(&gauges.execute_queue, &gauges.execute_oldest)),
        "execute_selected": by_kind(counts.execute_selected),
        "shares": { "window": shares.window, "percent": by_kind(shares.percent) },
        "insecure_workers": gauges.insecure_workers,
        "workers": workers.entries.iter().map(worker).collect::<Vec<_>>(),
        "counts": self::counts(counts),
    });
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.extend(more);
    }
    answer
}

fn counts(counts: &Counts) -> Value {
    json!({
        "prepare_enqueued": counts.prepare_enqueued, "prepare_dispatched": counts.prepare_dispatched,
        "prepare_concluded": counts.prepare_concluded, "execute_enqueued": counts.execute_enqueued,
        "execute_dispatched": counts.execute_dispatched, "execute_finished": counts.execute_finished,
        "coalesced": counts.coalesced, "retried": counts.retried, "came_back": counts.came_back,
        "leases_over": counts.leases_over, "late_reports": counts.late_reports, "recalled": counts.recalled,
        "execute_adopted": counts.execute_adopted, "prepare_adopted": counts.prepare_adopted,
        "not_adopted": counts.not_adopted, "quarantined": counts.quarantined,
        "opinions_agreed": counts.opinions_agreed, "opinions_disagreed": counts.opinions_disagreed,
        "opinions_missing": counts.opinions_missing, "overloaded": counts.overloaded,
        "artifacts_pruned": counts.artifacts_pruned, "workers_joined": counts.workers_joined,
        "workers_left": counts.workers_left, "workers_lost": counts.workers_lost,
        "workers_suspect": counts.suspected, "workers_paused": counts.workers_paused,
        "inconsistencies": counts.inconsistencies,
    })
}

fn worker(view: &WorkerView) -> Value {
    let mut answer = fleet_json::worker(&view.status);
    answer["state"] = view.condition.name().into();
    answer["joined_ms"] = at(view.joined).into();
    answer["heard_ms_ago"] = millis(view.silent).into();
    answer["staged"] = view.staged.into();
    answer["fetching"] = view.fetching.into();
    answer
}

pub(super) fn workers(page: &Page<WorkerView>) -> Value {
    json!({ "total": page.matching, "workers": page.entries.iter().map(worker).collect::<Vec<_>>() })
}

pub(super) fn artifacts(page: &Page<ArtifactView>, bytes: u64) -> Value {
    let artifact = |view: &ArtifactView| {
        json!({
            "id": view.id.to_string(), "code": view.id.code_hash.to_string(), "prep": view.id.prep_hash.to_string(),
            "engine": view.id.engine.as_str(), "state": view.condition.name(), "bytes": view.bytes,
            "users": view.users, "pinned": view.pinned, "waiters": view.waiters, "holders": view.holders,
            "last_used_ms": at(view.last_needed), "error": view.error,
        })
    };
    json!({
        "total": page.matching, "complete": page.complete, "bytes": bytes,
        "artifacts": page.entries.iter().map(artifact).collect::<Vec<_>>(),
    })
}

pub(super) fn history(samples: &[Sample]) -> Value {
    json!({ "interval_ms": millis(SAMPLE_INTERVAL), "samples": samples })
}

pub(super) fn events(last: &[LoggedEvent]) -> Value {
    let event = |event: &LoggedEvent| {
        let mut fields: Value = serde_json::from_slice(&event.body).unwrap_or_else(|_| json!({}));
        fields["number"] = event.number.into();
        fields
    };
    json!({ "events": last.iter().map(event).collect::<Vec<_>>() })
}

pub(super) fn requests<'a>(
    open: &Page<RequestView>,
    ended: impl Iterator<Item = &'a Arc<Ended>>,
    limit: usize,
) -> Value {
    let requests = open.entries.iter().map(open_one).chain(ended.map(|ended| ended_one(ended)));
    json!({
        "open_total": open.matching, "complete": open.complete,
        "requests": requests.take(limit).collect::<Vec<_>>(),
    })
}

fn open_one(view: &RequestView) -> Value {
    json!({
        "request": view.request.to_string(), "client": view.client.map(|client| client.to_string()),
        "work": view.work.name(), "kind": view.work.kind().map(ExecuteKind::name), "code": view.code.to_string(),
        "state": view.stage.name(), "arrived_ms": at(view.arrived), "deadline_ms": at(view.deadline),
        "attempts": view.attempt, "worker": view.worker.as_ref().map(|(worker, _)| worker.to_string()),
        "host": view.worker.as_ref().map(|(_, host)| host), "waiters": view.waiters,
        "artifact": view.artifact.as_ref().map(ToString::to_string),
        "compiling": view.compiling.map(|of| json!({ "compiled": of.compiled, "functions": of.functions })),
    })
}

/// An open request with sentences about it.
pub(super) fn open_request(view: &RequestView, why: &[String], retries: &[Retry]) -> Value {
    let mut answer = open_one(view);
    answer["retries"] = retries.iter().map(retry).collect();
    let retried = retries.iter().map(said);
    answer["why"] = retried.chain(why.iter().cloned()).collect();
    answer
}

fn ended_one(ended: &Ended) -> Value {
    let timings = &ended.timings;
    json!({
        "request": ended.request.to_string(), "client": ended.client.to_string(), "work": ended.work.name(),
        "kind": ended.work.kind().map(ExecuteKind::name), "code": ended.code.to_string(), "state": "ended",
        "ended_ms": ended.ended_ms, "outcome": ended.outcome, "reason": ended.reason, "attempts": ended.attempts,
        "worker": ended.worker.map(|worker| worker.to_string()), "host": ended.host,
        "artifact": ended.artifact.as_ref().map(ToString::to_string),
        "queued_ms": ms(timings.queued), "prepare_ms": ms(timings.prepare), "execute_ms": ms(timings.execute),
        "total_ms": ms(timings.total), "second_opinion": ended.second_opinion, "cpu_limit_ratio": ended.cpu_ratio(),
        "usage": usage::to_json(&ended.usage), "retries": ended.retries.iter().map(retry).collect::<Vec<_>>(),
    })
}

/// An ended request with sentences about it.
pub(super) fn ended_request_explained(ended: &Ended) -> Value {
    let mut answer = ended_one(ended);
    let timings = &ended.timings;
    let mut why: Vec<String> = ended.retries.iter().map(said).collect();
    why.push(format!(
        "It took {} ms: {} ms in queues, {} ms for its artifact, {} ms at execute workers.",
        ms(timings.total),
        ms(timings.queued),
        ms(timings.prepare),
        ms(timings.execute)
    ));
    let place = match (&ended.host, ended.worker) {
        (Some(host), Some(worker)) => format!(" The last attempt was at {worker} on {host}."),
        (None, Some(worker)) => format!(" The last attempt was at {worker}."),
        (_, None) => String::new(),
    };
    let reason = ended.reason.as_ref().map(|reason| format!(" because: {reason}")).unwrap_or_default();
    why.push(format!("It ended as {}{reason}.{place}", ended.outcome));
    if let Some(opinion) = ended.second_opinion {
        why.push(format!("A second machine was to judge it: {opinion}."));
    }
    answer["why"] = why.into();
    answer
}

fn retry(retry: &Retry) -> Value {
    json!({
        "at_ms": retry.at_ms, "attempt": retry.attempt, "worker": retry.worker.to_string(), "host": retry.host,
        "reason": retry.reason, "detail": retry.detail,
    })
}

fn said(retry: &Retry) -> String {
    let host = retry.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
    let detail = retry.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!(
        "Attempt {} at {}{host} was followed by another one ({}{detail}).",
        retry.attempt, retry.worker, retry.reason
    )
}
