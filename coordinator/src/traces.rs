//! Spans of requests and of their attempts: from a submission to its verdict, and from a dispatch to its end.
//!
//! A submission that carries a span has a request's span below it. The attempts of a request are below that; a job that
//! several requests share is below the first of them.

use lru::LruCache;
use pvf_scheduler::Notice;
use pvf_shared::{
    identity::{ClientId, WorkerId},
    ids::{Attempt, CodeHash, JobId, RequestId},
    job::JobSpec,
    traces::{self, Span, SpanKind, TraceContext},
    verdict::Blame,
    wire::{Dispatch, Submission, Verdict, Work},
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Requests and attempts with spans, each. The span of one that is used least goes first: the trace ends there.
const MOST: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// A submission that is not accepted yet.
struct Arrived {
    name: &'static str,
    parent: Option<TraceContext>,
    code: CodeHash,
    at: SystemTime,
}

/// A request without a verdict.
struct Open {
    client: ClientId,
    span: Span,
    code: CodeHash,
    /// Attempts whose spans are below it.
    attempts: Vec<(JobId, Attempt)>,
}

struct Spans {
    arrived: LruCache<(ClientId, RequestId), Arrived>,
    /// By the id alone, as a dispatch names a request. Of several clients with one id, the first has a span.
    open: LruCache<RequestId, Open>,
    attempts: LruCache<(JobId, Attempt), Span>,
}

impl Spans {
    /// Takes the span of a request, after those of attempts that have not ended.
    fn close(&mut self, client: ClientId, request: RequestId) -> Option<Span> {
        self.arrived.pop(&(client, request));
        if self.open.peek(&request)?.client != client {
            return None;
        }
        let Open { span, attempts, .. } = self.open.pop(&request)?;
        attempts.iter().for_each(|attempt| drop(self.attempts.pop(attempt)));
        Some(span)
    }
}

/// The spans of one coordinator. Clones share them.
#[derive(Clone)]
pub(crate) struct Traces(Arc<Mutex<Spans>>);

impl Default for Traces {
    fn default() -> Self {
        let spans = Spans { arrived: LruCache::new(MOST), open: LruCache::new(MOST), attempts: LruCache::new(MOST) };
        Self(Arc::new(Mutex::new(spans)))
    }
}

impl Traces {
    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client submits a request, for the first time or again.
    pub(crate) fn arrived(&self, client: ClientId, submission: &Submission, parent: Option<TraceContext>) {
        if parent.is_none() && !traces::is_on() {
            return;
        }
        let name = match submission.work {
            Work::Execute(_) => "coordinate execute",
            Work::Precheck => "coordinate precheck",
            Work::HeadsUp { .. } => "coordinate heads-up",
        };
        let arrived = Arrived { name, parent, code: submission.code, at: SystemTime::now() };
        let mut spans = self.lock();
        if !spans.open.contains(&submission.id) {
            spans.arrived.put((client, submission.id), arrived);
        }
    }

    /// The scheduler has accepted a request.
    pub(crate) fn accepted(&self, client: ClientId, request: RequestId) {
        let mut spans = self.lock();
        let Some(Arrived { name, parent, code, at }) = spans.arrived.pop(&(client, request)) else { return };
        let mut span = traces::start_at(name, SpanKind::Server, parent, at);
        span.text("pvf.request", request);
        span.text("pvf.client", client);
        span.text("pvf.code", code);
        spans.open.get_or_insert(request, || Open { client, span, code, attempts: Vec::new() });
    }

    /// A request has its verdict. One that is sent again ends what its repeated submission began.
    pub(crate) fn ended(&self, client: ClientId, verdict: &Verdict) {
        let Some(mut span) = self.lock().close(client, verdict.request) else { return };
        span.text("pvf.outcome", verdict.outcome.name());
        span.number("pvf.attempts", verdict.attempts.into());
        let of = verdict.timings;
        for (name, time) in
            [("pvf.queued_ms", of.queued), ("pvf.prepare_ms", of.prepare), ("pvf.execute_ms", of.execute)]
        {
            span.number(name, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        if let Some(reason) = verdict.outcome.reason() {
            span.text("pvf.reason", reason);
        }
        if verdict.outcome.blame() == Blame::Ours {
            span.failed(verdict.outcome.name());
        }
    }

    /// A client cancels a request, which gets no verdict then.
    pub(crate) fn cancelled(&self, client: ClientId, request: RequestId) {
        if let Some(mut span) = self.lock().close(client, request) {
            span.text("pvf.outcome", "cancelled");
        }
    }

    /// The trace of an open request, for its log lines.
    pub(crate) fn of_request(&self, request: RequestId) -> Option<TraceContext> {
        self.lock().open.peek(&request).and_then(|open| open.span.context())
    }

    /// An attempt is sent to a worker.
    pub(crate) fn dispatched(&self, worker: WorkerId, dispatch: &Dispatch) {
        let mut spans = self.lock();
        let (name, request) = match &dispatch.spec {
            JobSpec::Execute(_) => ("attempt execute", dispatch.request),
            // The one that has waited for longest: new ones come first.
            JobSpec::Prepare(job) => {
                let mut waiting = spans.open.iter().rev().filter(|(_, open)| open.code == job.artifact.code_hash);
                ("attempt prepare", waiting.next().map(|(request, _)| *request))
            }
        };
        let Some(open) = request.and_then(|request| spans.open.peek_mut(&request)) else { return };
        let Some(parent) = open.span.context() else { return };
        let attempt = (dispatch.job, dispatch.attempt);
        open.attempts.push(attempt);
        let mut span = traces::start(name, SpanKind::Client, Some(parent));
        span.number("pvf.job", dispatch.job.0);
        span.number("pvf.attempt", dispatch.attempt.into());
        span.text("pvf.worker", worker);
        spans.attempts.put(attempt, span);
    }

    /// The span of an attempt that is under way.
    pub(crate) fn of_attempt(&self, job: JobId, attempt: Attempt) -> Option<TraceContext> {
        self.lock().attempts.peek(&(job, attempt)).and_then(Span::context)
    }

    /// An attempt may be over.
    pub(crate) fn noticed(&self, notice: &Notice) {
        match notice {
            Notice::JobReported { job, attempt, end, .. } => {
                if let Some(mut span) = self.lock().attempts.pop(&(*job, *attempt)) {
                    span.text("pvf.outcome", end);
                }
            }
            Notice::JobRetried { job, attempt, why, .. } => {
                if let Some(mut span) = self.lock().attempts.pop(&(*job, *attempt)) {
                    span.failed(why.detail().unwrap_or(why.name()));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dispatch, execution, new_client, new_worker};
    use pvf_scheduler::{JobSubject, RetryReason};
    use pvf_shared::{
        Bytes,
        ids::RequestId,
        wire::{ToWorker, WorkerKind},
    };

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_span_of_a_submission_reaches_its_jobs_and_goes_with_the_verdict() {
        let (traces, client, parent) = (Traces::default(), new_client(), PARENT.parse().ok());
        let submission = execution(b"block");
        traces.arrived(client, &submission, parent);
        assert_eq!(traces.of_request(submission.id), None, "it may still be refused");
        traces.accepted(client, submission.id);
        // Without a collector it is the parent's own.
        assert_eq!(traces.of_request(submission.id), parent);
        let ToWorker::Dispatch(mut job) = dispatch(7, Bytes::new()) else { unreachable!() };
        let worker = new_worker(WorkerKind::Execute);
        job.request = Some(RequestId::new());
        traces.dispatched(worker, &job);
        assert_eq!(traces.of_attempt(job.job, job.attempt), None, "of another request");
        job.request = Some(submission.id);
        traces.dispatched(worker, &job);
        assert_eq!(traces.of_attempt(job.job, job.attempt), parent);
        assert_eq!(traces.of_attempt(job.job, job.attempt + 1), None);
        let retried = Notice::JobRetried {
            job: job.job,
            attempt: job.attempt,
            kind: WorkerKind::Execute,
            worker,
            about: JobSubject::Execution(job.request),
            why: RetryReason::WorkerLost,
        };
        traces.noticed(&retried);
        assert_eq!(traces.of_attempt(job.job, job.attempt), None);
    }

    /// A request that is cancelled gets no verdict, and its attempt no report.
    #[test]
    fn a_cancelled_request_takes_its_spans_with_it() {
        let (traces, client, parent) = (Traces::default(), new_client(), PARENT.parse().ok());
        let submission = execution(b"block");
        traces.arrived(client, &submission, parent);
        traces.accepted(client, submission.id);
        let ToWorker::Dispatch(mut job) = dispatch(7, Bytes::new()) else { unreachable!() };
        job.request = Some(submission.id);
        traces.dispatched(new_worker(WorkerKind::Execute), &job);
        traces.cancelled(new_client(), submission.id);
        assert_eq!(traces.of_attempt(job.job, job.attempt), parent, "another client's request has this id");
        traces.cancelled(client, submission.id);
        assert_eq!((traces.of_request(submission.id), traces.of_attempt(job.job, job.attempt)), (None, None));
        assert!(traces.lock().open.is_empty() && traces.lock().attempts.is_empty());
    }

    #[test]
    fn a_submission_without_a_span_is_not_kept_while_none_are_exported() {
        let (traces, client, submission) = (Traces::default(), new_client(), execution(b"block"));
        traces.arrived(client, &submission, None);
        traces.accepted(client, submission.id);
        assert_eq!(traces.of_request(submission.id), None);
        assert!(traces.lock().arrived.is_empty());
    }
}
