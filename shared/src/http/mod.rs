//! HTTP endpoints of an executable, for probes and scrapers (`--http ADDR`):
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/livez` | the main loop makes progress | the main loop stands still: restart the process |
//! | `/readyz` | the role does its work | the role is starting, draining or disconnected |
//! | `/metrics` | what is in the registry, in the Prometheus text format 0.0.4 | |
//!
//! The body of each 503 is one line with the reason; `/readyz?verbose` has a line for each condition. A role may serve
//! more. There is no authentication: the endpoints only read.

mod labels;
mod state;

pub use labels::{LabelArgs, OWN_LABELS};
pub use state::{Condition, Liveness, Readiness, STALL_LIMIT, connection};

use crate::machine::BudgetCollector;
use axum::{
    Router,
    extract::RawQuery,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder, process_collector::ProcessCollector};
use std::{io, net::SocketAddr};
use tokio::{net::TcpListener, sync::oneshot};

/// Media type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the HTTP endpoints could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Another process listens on the address.
    #[error("--http {addr}: the address is already in use; choose another address or port")]
    AddressInUse {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The address cannot be bound for another reason.
    #[error("--http {addr}: cannot listen: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// What the endpoints of one role show. The role keeps clones of the fields and updates them.
#[derive(Debug, Clone, Default)]
pub struct Http {
    /// Behind `/livez`.
    pub liveness: Liveness,
    /// Behind `/readyz`.
    pub readiness: Readiness,
    /// Behind `/metrics`. It starts empty: nothing is exported that the role did not register.
    pub registry: Registry,
}

impl Http {
    /// A role that is live, not yet ready, and whose metrics have these labels.
    ///
    /// # Errors
    /// A label is named twice.
    pub fn with_labels(args: &LabelArgs) -> Result<Self, String> {
        let labels = args.labels()?;
        let registry = Registry::new_custom(None, Some(labels).filter(|labels| !labels.is_empty()));
        let registry = registry.map_err(|error| error.to_string())?;
        // Open descriptors and their limit, memory, threads, CPU time of this process.
        registry.register(Box::new(ProcessCollector::for_self())).map_err(|error| error.to_string())?;
        let budgets = BudgetCollector::new().map_err(|error| error.to_string())?;
        registry.register(Box::new(budgets)).map_err(|error| error.to_string())?;
        Ok(Self { registry, ..Self::default() })
    }

    /// A role that is live, not yet ready, and without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `addr` and serves the endpoints in a task of its own, until the returned handle is dropped.
    pub async fn serve(&self, addr: SocketAddr) -> Result<Serving, HttpError> {
        let unknown = || std::future::ready((StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics\n"));
        self.serve_with(addr, Router::new().fallback(unknown)).await
    }

    /// The same, with more routes of the role's own; `more` has the answer to paths that nothing else serves.
    pub async fn serve_with(&self, addr: SocketAddr, more: Router) -> Result<Serving, HttpError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::AddressInUse { addr },
            _ => HttpError::Listen { addr, source },
        };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let until_dropped = async move {
            let _ = stopped.await;
        };
        let server = axum::serve(listener, self.router().merge(more)).with_graceful_shutdown(until_dropped);
        tokio::spawn(server.into_future());
        Ok(Serving { local_addr, _stop: stop })
    }

    fn router(&self) -> Router {
        let Self { liveness, readiness, registry } = self.clone();
        Router::new()
            .route("/livez", get(move || std::future::ready(livez(&liveness))))
            .route("/readyz", get(move |RawQuery(query)| std::future::ready(readyz(&readiness, query.as_deref()))))
            .route("/metrics", get(move || std::future::ready(metrics(&registry))))
    }
}

/// The open endpoints of one role. Dropping it closes the listener and the idle connections.
#[derive(Debug)]
pub struct Serving {
    local_addr: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Serving {
    /// The address that was bound; with the real port if port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

fn livez(liveness: &Liveness) -> Response {
    match liveness.stalled_for() {
        None => "live\n".into_response(),
        Some(silence) => unavailable(format!("the main loop has not made progress for {} s", silence.as_secs())),
    }
}

fn readyz(readiness: &Readiness, query: Option<&str>) -> Response {
    let is_verbose = query.is_some_and(|query| query.split('&').any(|part| matches!(part, "verbose" | "verbose=1")));
    let lines = if is_verbose { readiness.lines() } else { String::new() };
    match readiness.reason() {
        None => (lines + "ready\n").into_response(),
        Some(why) => unavailable(lines + &why),
    }
}

fn metrics(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n")).into_response()
        }
    }
}

fn unavailable(reason: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response()
}

#[cfg(test)]
mod tests;
