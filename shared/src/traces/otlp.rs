//! Spans of the OpenTelemetry SDK. Only this file knows it: its interface changes with each of its versions.

use super::{SpanKind, TraceContext};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{self, Span as _, SpanContext, Status, TraceContextExt as _, TraceState, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};
use url::Url;

/// The longest text of a span, bytes.
const LONGEST_TEXT: usize = 1024;
/// How long a process that ends waits for the collector.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

pub(super) fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The export of this process's spans, until this is dropped.
pub(super) struct Exporting(SdkTracerProvider);

impl Exporting {
    /// `endpoint` is the collector's URL without a path for traces; without it the variables say where it is.
    pub(super) fn begin(service: &'static str, endpoint: Option<&str>) -> Result<Self, String> {
        // For a collector with TLS.
        crate::tls::select_implementation();
        let mut exporter = SpanExporter::builder().with_http();
        if let Some(endpoint) = endpoint {
            let of_http = "is no http:// or https:// URL of a collector";
            let url = Url::parse(endpoint).map_err(|error| format!("{endpoint:?} {of_http}: {error}"))?;
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(format!("{endpoint:?} {of_http}"));
            }
            exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
        }
        let exporter = exporter.build().map_err(|error| format!("cannot export to it: {error}"))?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(service));
        let provider = provider.build();
        // A second one in a process is not used.
        let _ = TRACER.set(provider.tracer("pvf"));
        Ok(Self(provider))
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(SHUTDOWN_LIMIT) {
            tracing::warn!(%error, "traces: the last ones were not exported");
        }
    }
}

/// What a process says of itself with each span. Variables go before it.
fn resource(service: &'static str) -> Resource {
    let resource = Resource::builder();
    let is_named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let resource = if is_named { resource } else { resource.with_service_name(service) };
    resource
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

/// A span that is exported when it is dropped, if its trace is sampled.
pub(super) struct Recorded(Span);

impl Recorded {
    /// `None` without a collector.
    pub(super) fn start(
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceContext>,
        at: SystemTime,
    ) -> Option<Self> {
        let tracer = TRACER.get()?;
        let kind = match kind {
            SpanKind::Client => trace::SpanKind::Client,
            SpanKind::Server => trace::SpanKind::Server,
            SpanKind::Internal => trace::SpanKind::Internal,
        };
        let below = match parent {
            Some(parent) => Context::new().with_remote_span_context(remote(parent)),
            None => Context::new(),
        };
        let span = tracer.span_builder(name).with_kind(kind).with_start_time(at);
        Some(Self(span.start_with_context(tracer, &below)))
    }

    pub(super) fn context(&self) -> Option<TraceContext> {
        let of = self.0.span_context();
        let context =
            TraceContext { trace: of.trace_id().to_bytes(), span: of.span_id().to_bytes(), sampled: of.is_sampled() };
        of.is_valid().then_some(context)
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        let end = value.floor_char_boundary(LONGEST_TEXT);
        self.0.set_attribute(KeyValue::new(key, value[..end].to_owned()));
    }

    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.0.set_attribute(KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX)));
    }

    pub(super) fn failed(&mut self, why: &str) {
        let end = why.floor_char_boundary(LONGEST_TEXT);
        self.0.set_status(Status::error(why[..end].to_owned()));
    }

    pub(super) fn end_at(mut self, at: SystemTime) {
        self.0.end_with_timestamp(at);
    }
}

fn remote(context: TraceContext) -> SpanContext {
    let TraceContext { trace, span, sampled } = context;
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags, true, TraceState::default())
}
