//! Traces of requests: spans that the processes of a fleet export to a collector of OpenTelemetry, one trace from the
//! call of a client to its verdict.
//!
//! A message carries the span that it belongs to in the header `traceparent`. What is published [`within`] a span has
//! the header; a received [`Message`](crate::bus::Message) says it. Without the feature `otlp`, or without a collector
//! (`--otlp-endpoint`), no spans are made, and the header is passed on.

#[cfg(feature = "program")]
mod args;
mod context;
#[cfg(feature = "otlp")]
mod otlp;

#[cfg(feature = "program")]
pub use args::{TraceArgs, Traced};
pub use context::{NotATraceparent, TraceContext};

use std::{fmt::Display, time::SystemTime};

/// Name of the header.
pub const HEADER: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// The span that this task works for.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok().flatten()
}

/// Runs a future for a span: what it publishes carries it, and spans that it starts below [`current`] are its children.
/// Tasks that it spawns are not within it.
pub fn within<F: Future>(context: Option<TraceContext>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, work)
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request to another process.
    Client,
    /// The handling of a request of another process.
    Server,
    /// Work within a process.
    Internal,
}

/// A part of a trace, from its start until it is dropped.
#[derive(Default)]
pub struct Span {
    #[cfg(feature = "otlp")]
    recorded: Option<otlp::Recorded>,
    /// What is passed on.
    context: Option<TraceContext>,
}

/// Whether spans are exported.
pub fn is_on() -> bool {
    #[cfg(feature = "otlp")]
    return otlp::is_on();
    #[cfg(not(feature = "otlp"))]
    false
}

/// Starts a span below its parent; without one it begins a trace.
pub fn start(name: &'static str, kind: SpanKind, parent: Option<TraceContext>) -> Span {
    start_at(name, kind, parent, SystemTime::now())
}

/// As [`start`], for what began earlier.
#[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "without the feature there are no spans"))]
pub fn start_at(name: &'static str, kind: SpanKind, parent: Option<TraceContext>, at: SystemTime) -> Span {
    #[cfg(feature = "otlp")]
    if let Some(recorded) = otlp::Recorded::start(name, kind, parent, at) {
        return Span { context: recorded.context(), recorded: Some(recorded) };
    }
    Span { context: parent, ..Span::default() }
}

#[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "without the feature there are no spans"))]
impl Span {
    /// What names this span as the parent of another one. A span that is not exported has its parent's.
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// Adds a text to the span. Texts over 1,024 bytes are cut.
    pub fn text(&mut self, key: &'static str, value: impl Display) {
        #[cfg(feature = "otlp")]
        if let Some(recorded) = &mut self.recorded {
            recorded.text(key, &value.to_string());
        }
    }

    /// Adds a number to the span.
    pub fn number(&mut self, key: &'static str, value: u64) {
        #[cfg(feature = "otlp")]
        if let Some(recorded) = &mut self.recorded {
            recorded.number(key, value);
        }
    }

    /// The span is of something that failed.
    pub fn failed(&mut self, why: &str) {
        #[cfg(feature = "otlp")]
        if let Some(recorded) = &mut self.recorded {
            recorded.failed(why);
        }
    }

    /// Ends the span at this time.
    pub fn end_at(self, at: SystemTime) {
        #[cfg(feature = "otlp")]
        if let Some(recorded) = self.recorded {
            recorded.end_at(at);
        }
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Span").field("context", &self.context).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_span_of_a_task_is_known_within_it_only() {
        let context: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        assert_eq!(current(), None);
        let (inside, spawned) =
            within(Some(context), async { (current(), tokio::spawn(async { current() }).await.unwrap()) }).await;
        assert_eq!((inside, spawned), (Some(context), None));
        assert_eq!(within(None, async { current() }).await, None);
    }

    #[test]
    fn without_a_collector_the_parent_is_passed_on() {
        let context: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        let mut span = start("validate", SpanKind::Client, Some(context));
        span.text("pvf.request", "r");
        span.number("pvf.attempts", 1);
        span.failed("why");
        assert_eq!(span.context(), Some(context));
        assert!(!is_on());
        assert_eq!(start("validate", SpanKind::Client, None).context(), None);
    }
}
