//! Spans of jobs, below the span that the dispatch of a job carries: from its arrival to its end, with its fetch and its
//! process. A dispatch without a span has none.

use lru::LruCache;
use pvf_shared::{
    job::{JobOutcome, JobSpec, JobUsage},
    traces::{self, Span, SpanKind, TraceContext},
    wire::Dispatch,
};
use pvf_worker_core::AttemptKey;
use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// Attempts that are kept. A worker has fewer under way.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// The dispatch of an attempt.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    parent: TraceContext,
    at: SystemTime,
}

/// Attempts that have not begun.
pub(super) struct Traces(Mutex<LruCache<AttemptKey, Arrived>>);

impl Default for Traces {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl Traces {
    fn lock(&self) -> MutexGuard<'_, LruCache<AttemptKey, Arrived>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job was dispatched. A dispatch that is repeated changes nothing.
    pub(super) fn arrived(&self, attempt: AttemptKey, parent: Option<TraceContext>) {
        if let Some(parent) = parent {
            self.lock().get_or_insert(attempt, || Arrived { parent, at: SystemTime::now() });
        }
    }

    /// The span of a job whose inputs are here, and that starts now. It is kept for a start after it was displaced.
    pub(super) fn started(&self, dispatch: &Dispatch, fetched: Duration) -> JobSpan {
        let arrived = self.lock().get(&AttemptKey::from(dispatch)).copied();
        let Some(Arrived { parent, at }) = arrived else { return JobSpan::default() };
        let mut job = traces::start_at(name(&dispatch.spec), SpanKind::Server, Some(parent), at);
        job.number("pvf.job", dispatch.job.0);
        job.number("pvf.attempt", dispatch.attempt.into());
        if let Some(request) = dispatch.request {
            job.text("pvf.request", request);
        }
        if !fetched.is_zero() {
            traces::start_at("fetch", SpanKind::Internal, job.context(), at).end_at(at + fetched);
        }
        let process = traces::start("process", SpanKind::Internal, job.context());
        JobSpan { process, job }
    }

    /// A job ended because its inputs could not be fetched.
    pub(super) fn not_fetched(&self, attempt: AttemptKey, why: &str) {
        if let Some(Arrived { parent, at }) = self.lock().pop(&attempt) {
            let mut span = traces::start_at("fetch", SpanKind::Server, Some(parent), at);
            span.failed(why);
        }
    }
}

fn name(spec: &JobSpec) -> &'static str {
    match spec {
        JobSpec::Prepare(_) => "job prepare",
        JobSpec::Execute(_) => "job execute",
    }
}

/// The spans of a job that runs. The inner one ends first.
#[derive(Default)]
pub(super) struct JobSpan {
    process: Span,
    job: Span,
}

impl JobSpan {
    /// The job has ended.
    pub(super) fn end(mut self, outcome: &JobOutcome, usage: &JobUsage) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.process.number("pvf.cpu_ms", millis(usage.cpu));
        self.process.number("pvf.cpu_limit_ms", millis(usage.cpu_limit));
        self.process.number("pvf.max_rss_kib", usage.max_rss_kib);
        self.job.text("pvf.outcome", outcome.name());
    }
}
