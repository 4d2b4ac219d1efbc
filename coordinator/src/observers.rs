//! What observers are told: one JSON object for each verdict and each notice, on the subject
//! [`subjects::event`] of its kind. `docs/operate/monitoring.md` lists them.
//!
//! The coordinator never waits for observers: what finds no place in a bounded queue is dropped, and the next event
//! says how many were. Events have no inputs, results or secrets.

use crate::{
    events::{EventLog, VERDICT},
    millis::{millis, now_ms},
};
use pvf_scheduler::{DropReason, Notice};
use pvf_shared::{
    Bytes,
    bus::SharedBus,
    identity::{ClientId, WorkerId},
    ids::{ArtifactId, CodeHash, FleetName, RequestId},
    opinions, subjects,
    usage::UsageJson,
    wire::Verdict,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::{
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that may wait for the bus.
const CAPACITY: usize = 1024;
/// Events are sent this long after the first of them, all at once: the messages that clients and workers wait for go
/// before them.
const GATHERING: Duration = Duration::from_millis(5);
/// Refusals of submissions are told at most once in this time: in an overload there are many.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// An event that is to be published.
#[derive(Debug)]
pub(crate) enum Event {
    Verdict(ClientId, Arc<Verdict>),
    Notice(Box<Notice>),
}

/// An event, with the number of those before it that were dropped.
#[derive(Debug)]
pub(crate) struct Queued {
    event: Event,
    /// When it happened, milliseconds since 1970.
    at_ms: u64,
    dropped: u64,
}

/// Takes events.
pub(crate) struct Observers {
    queue: Sender<Queued>,
    dropped: u64,
    refusal_told: Option<Instant>,
}

impl Observers {
    /// The queue: the end to write to, and the end that [`publish`] reads.
    pub(crate) fn open() -> (Self, Receiver<Queued>) {
        let (queue, receiver) = channel(CAPACITY);
        (Self { queue, dropped: 0, refusal_told: None }, receiver)
    }

    /// Tells observers of a verdict.
    pub(crate) fn verdict(&mut self, client: ClientId, verdict: &Arc<Verdict>) {
        self.push(Event::Verdict(client, verdict.clone()));
    }

    /// Tells observers of a notice, unless it is one that comes with every job.
    pub(crate) fn notice(&mut self, notice: Notice) {
        match &notice {
            Notice::JobReported { .. } => return,
            Notice::RequestShed { .. } => {
                let now = Instant::now();
                if self.refusal_told.is_some_and(|told| now.duration_since(told) < REFUSAL_INTERVAL) {
                    return;
                }
                self.refusal_told = Some(now);
            }
            _ => {}
        }
        self.push(Event::Notice(Box::new(notice)));
    }

    fn push(&mut self, event: Event) {
        match self.queue.try_send(Queued { event, at_ms: now_ms(), dropped: self.dropped }) {
            Ok(()) => self.dropped = 0,
            Err(_) => self.dropped += 1,
        }
    }
}

/// Publishes events until the queue is closed. What cannot be sent is lost.
pub(crate) async fn publish((bus, log): (SharedBus, EventLog), fleet: FleetName, mut queue: Receiver<Queued>) {
    while let Some(first) = queue.recv().await {
        tokio::time::sleep(GATHERING).await;
        let mut next = Some(first);
        while let Some(queued) = next {
            send((&bus, &log), &fleet, queued).await;
            next = queue.try_recv().ok();
        }
    }
}

async fn send((bus, log): (&SharedBus, &EventLog), fleet: &FleetName, queued: Queued) {
    let Queued { event, at_ms, dropped } = queued;
    let (kind, encoded) = match &event {
        Event::Verdict(client, verdict) => {
            let mut encoded = Vec::with_capacity(VERDICT_LEN);
            let told = serde_json::to_writer(&mut encoded, &VerdictEvent::new(client, verdict, at_ms, dropped));
            (VERDICT, told.map(|()| encoded))
        }
        Event::Notice(notice) => {
            let (kind, mut object) = of_notice(notice);
            object["event"] = kind.into();
            object["at_ms"] = at_ms.into();
            if dropped > 0 {
                object["dropped"] = dropped.into();
            }
            (kind, serde_json::to_vec(&object))
        }
    };
    // Names are texts and numbers are finite: encoding cannot fail.
    let Ok(encoded) = encoded.map(Bytes::from) else { return };
    log.push(kind, encoded.clone());
    if !bus.is_connected() {
        return;
    }
    if let Err(error) = bus.publish(&subjects::event(fleet, kind), encoded).await {
        tracing::debug!(%error, kind, "an event could not be sent");
    }
}

fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

/// Length of such an event with one execution, bytes; some are longer.
const VERDICT_LEN: usize = 1024;

/// Shown as text.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The event of a verdict. There is one for each request, so it is encoded without a [`Value`] between.
#[derive(Serialize)]
struct VerdictEvent<'a> {
    event: &'static str,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
    request: Text<&'a RequestId>,
    client: Text<&'a ClientId>,
    code: Text<&'a CodeHash>,
    artifact: Option<Text<&'a ArtifactId>>,
    outcome: &'static str,
    reason: Option<String>,
    attempts: u32,
    worker: Option<Text<&'a WorkerId>>,
    queued_ms: u64,
    prepare_ms: u64,
    execute_ms: u64,
    total_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    second_opinion: Option<&'static str>,
    usage: UsageJson<'a>,
}

impl<'a> VerdictEvent<'a> {
    fn new(client: &'a ClientId, verdict: &'a Verdict, at_ms: u64, dropped: u64) -> Self {
        let timings = &verdict.timings;
        Self {
            event: VERDICT,
            at_ms,
            dropped: Some(dropped).filter(|dropped| *dropped > 0),
            request: Text(&verdict.request),
            client: Text(client),
            code: Text(&verdict.code_hash),
            artifact: verdict.artifact.as_ref().map(|artifact| Text(&artifact.id)),
            outcome: verdict.outcome.name(),
            reason: verdict.outcome.reason(),
            attempts: verdict.attempts,
            worker: verdict.worker.as_ref().map(Text),
            queued_ms: millis(timings.queued),
            prepare_ms: millis(timings.prepare),
            execute_ms: millis(timings.execute),
            total_ms: millis(timings.total),
            second_opinion: verdict.second_opinion.as_ref().map(|record| record.result.name()),
            usage: UsageJson::from(&verdict.usage),
        }
    }
}

/// The kind of a notice and its fields.
fn of_notice(notice: &Notice) -> (&'static str, Value) {
    match notice {
        Notice::WorkerJoined { worker, hello } => (
            "worker-joined",
            json!({
                "worker": text(worker), "host": hello.host, "slots": hello.slots, "engine": hello.engine.as_str(),
                "version": hello.version, "secure": hello.security.secure, "running": hello.running.len(),
            }),
        ),
        Notice::WorkerLeft { worker, host, jobs } => {
            ("worker-left", json!({ "worker": text(worker), "host": host, "jobs": jobs }))
        }
        Notice::WorkerLost { worker, host, jobs, silent } => {
            ("worker-lost", json!({ "worker": text(worker), "host": host, "jobs": jobs, "silent_ms": millis(*silent) }))
        }
        Notice::WorkerSuspect { worker, host, why } => {
            ("worker-suspect", json!({ "worker": text(worker), "host": host, "why": why }))
        }
        Notice::WorkerRecovered { worker } => ("worker-recovered", json!({ "worker": text(worker) })),
        Notice::WorkerPaused { worker, host, pause, why } => {
            ("worker-paused", json!({ "worker": text(worker), "host": host, "pause_ms": millis(*pause), "why": why }))
        }
        Notice::WorkerResumed { worker } => ("worker-resumed", json!({ "worker": text(worker) })),
        Notice::WorkerToldToDrain { worker, host, operator, jobs } => (
            "worker-told-to-drain",
            json!({ "worker": text(worker), "host": host, "operator": text(operator), "jobs": jobs }),
        ),
        Notice::RequestCancelled { request, client, operator } => (
            "request-cancelled",
            json!({ "request": text(request), "client": text(client), "operator": text(operator) }),
        ),
        Notice::CodePinned { code, pinned, operator } => {
            let kind = if *pinned { "code-pinned" } else { "code-unpinned" };
            (kind, json!({ "code": text(code), "operator": text(operator) }))
        }
        Notice::JobRetried { job, attempt, kind, worker, about, why } => (
            "job-retried",
            json!({
                "job": job.0, "attempt": attempt, "kind": text(kind), "worker": text(worker),
                "request": about.request().map(text), "artifact": about.artifact().map(text),
                "reason": why.name(), "detail": why.detail(),
            }),
        ),
        Notice::JobAdopted { job, attempt, kind, worker } => {
            ("job-adopted", json!({ "job": job.0, "attempt": attempt, "kind": text(kind), "worker": text(worker) }))
        }
        Notice::AttemptNotAdopted { job, attempt, worker } => {
            ("job-not-adopted", json!({ "job": job.0, "attempt": attempt, "worker": text(worker) }))
        }
        Notice::JobReported { job, attempt, worker, .. } => {
            ("job-reported", json!({ "job": job.0, "attempt": attempt, "worker": text(worker) }))
        }
        Notice::ExecutionQuarantined { hosts, request, client, code } => (
            "execution-quarantined",
            json!({ "hosts": hosts, "request": text(request), "client": text(client), "code": text(code) }),
        ),
        Notice::OpinionsDiffer { job, request, client, code, opinions } => (
            "opinions-differ",
            json!({
                "job": job.0, "request": request.as_ref().map(text), "client": client.as_ref().map(text),
                "code": text(code), "opinions": opinions.iter().map(opinions::to_json).collect::<Vec<_>>(),
            }),
        ),
        Notice::NoSecondOpinion { job, code, why } => {
            ("no-second-opinion", json!({ "job": job.0, "code": text(code), "why": why }))
        }
        Notice::PreparationQuarantined { artifact } => {
            ("preparation-quarantined", json!({ "artifact": text(artifact) }))
        }
        Notice::PreparationFailed { artifact, error } => {
            ("preparation-failed", json!({ "artifact": text(artifact), "error": text(error) }))
        }
        Notice::ArtifactDropped { artifact, why } => {
            let mut object = json!({ "artifact": text(artifact), "reason": why.name() });
            if let DropReason::Operator(operator) = why {
                object["operator"] = text(operator);
            }
            ("artifact-dropped", object)
        }
        Notice::RequestShed { request, client, limit } => {
            ("request-refused", json!({ "request": text(request), "client": text(client), "limit": limit }))
        }
        Notice::ClientGone { client, silent } => {
            ("client-gone", json!({ "client": text(client), "silent_ms": millis(*silent) }))
        }
        Notice::EngineSeen { engine } => ("engine-seen", json!({ "engine": engine.as_str() })),
        Notice::NoPrepareWorker { engine } => ("no-prepare-worker", json!({ "engine": engine.as_str() })),
        Notice::Inconsistent { what } => ("inconsistent", json!({ "what": what })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{artifact, fleet, in_time, local_bus, new_client, new_worker, opinions};
    use futures::StreamExt as _;
    use pvf_shared::{
        blob::BlobRef,
        bus::Bus as _,
        ids::{CodeHash, JobId, RequestId},
        job::{AttemptEnd, JobUsage},
        verdict::Outcome,
        wire::{ArtifactSummary, AttemptUsage, Timings, VerdictUsage, WorkerKind},
    };

    fn shed() -> Notice {
        Notice::RequestShed { request: RequestId::new(), client: new_client(), limit: "1 request".into() }
    }

    fn verdict() -> Arc<Verdict> {
        let worker = new_worker(WorkerKind::Execute);
        let usage = JobUsage { cpu: Duration::from_millis(5), ..JobUsage::default() };
        let execution = AttemptUsage { attempt: 1, worker, end: AttemptEnd::Valid, usage };
        Arc::new(Verdict {
            request: RequestId::new(),
            outcome: Outcome::Valid(BlobRef::Inline(b"the result".to_vec().into())),
            code_hash: CodeHash::of(b"code"),
            artifact: Some(ArtifactSummary { id: artifact(), bytes: 5, cached: true }),
            timings: Timings { total: Duration::from_millis(7), ..Timings::default() },
            worker: Some(worker),
            attempts: 1,
            usage: VerdictUsage { preparation: None, executions: vec![execution] },
            second_opinion: None,
        })
    }

    #[tokio::test]
    async fn events_are_json_on_the_subject_of_their_kind() {
        let (bus, (mut observers, queue)) = (local_bus(4096), Observers::open());
        let subscribe = async |kind| bus.subscribe(&subjects::event(&fleet(), kind)).await.unwrap();
        let (mut verdicts, mut lost) = (subscribe("verdict").await, subscribe("worker-lost").await);
        let (client, verdict, worker) = (new_client(), verdict(), new_worker(WorkerKind::Prepare));
        observers.verdict(client, &verdict);
        let (host, silent) = ("rack1".into(), Duration::from_secs(6));
        observers.notice(Notice::WorkerLost { worker, host, jobs: 2, silent });
        drop(observers);
        in_time(publish((bus.clone(), EventLog::default()), fleet(), queue)).await;
        let told = in_time(verdicts.next()).await.unwrap().payload;
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(
            (&told["event"], &told["outcome"], &told["attempts"]),
            (&"verdict".into(), &"valid".into(), &1.into())
        );
        assert_eq!((&told["client"], &told["request"]), (&text(&client), &text(&verdict.request)));
        assert_eq!((&told["total_ms"], &told["code"]), (&7.into(), &text(&verdict.code_hash)));
        let executions = told["usage"]["executions"].as_array().unwrap();
        assert_eq!((executions.len(), &executions[0]["cpu_ms"]), (1, &5.0.into()));
        assert!(!told.to_string().contains("the result") && told["at_ms"].as_u64() > Some(0), "{told}");
        let told: Value = serde_json::from_slice(&in_time(lost.next()).await.unwrap().payload).unwrap();
        assert_eq!(
            (&told["worker"], &told["host"], &told["silent_ms"]),
            (&text(&worker), &"rack1".into(), &6000.into())
        );
    }

    #[tokio::test]
    async fn what_finds_no_place_is_dropped_and_counted() {
        let (mut observers, mut queue) = Observers::open();
        for _ in 0..CAPACITY + 3 {
            observers.verdict(new_client(), &verdict());
        }
        for _ in 0..CAPACITY {
            assert_eq!(in_time(queue.recv()).await.unwrap().dropped, 0);
        }
        observers.notice(Notice::EngineSeen { engine: artifact().engine });
        assert_eq!(in_time(queue.recv()).await.unwrap().dropped, 3);
        observers.notice(Notice::EngineSeen { engine: artifact().engine });
        assert_eq!(in_time(queue.recv()).await.unwrap().dropped, 0);
    }

    #[test]
    fn a_disagreement_names_both_machines_and_their_versions() {
        let (job, code, client) = (JobId(41), CodeHash::of(b"code"), new_client());
        let notice = Notice::OpinionsDiffer { job, request: None, client: Some(client), code, opinions: opinions() };
        let (kind, told) = of_notice(&notice);
        assert_eq!((kind, &told["client"]), ("opinions-differ", &text(&client)));
        let opinion = |n: usize| ["verdict", "host", "version"].map(|key| told["opinions"][n][key].clone());
        assert_eq!(json!([opinion(0), opinion(1)]), json!([["valid", "host1", "v"], ["invalid", "host2", "v"]]));
    }

    #[tokio::test]
    async fn refusals_are_told_now_and_then_and_reports_never() {
        let (mut observers, mut queue) = Observers::open();
        for _ in 0..3 {
            observers.notice(shed());
        }
        observers.notice(Notice::EngineSeen { engine: artifact().engine });
        drop(observers);
        let mut kinds = Vec::new();
        while let Some(Queued { event: Event::Notice(notice), .. }) = in_time(queue.recv()).await {
            kinds.push(of_notice(&notice).0);
        }
        assert_eq!(kinds, ["request-refused", "engine-seen"]);
    }
}
