//! HTTP endpoints of an executable, for probes and scrapers (`--http ADDR`):
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/livez` | the main loop makes progress | the main loop stands still: restart the process |
//! | `/readyz` | the role does its work | the role is starting, draining or disconnected |
//! | `/metrics` | what is in the registry, in the Prometheus text format 0.0.4 | |
//!
//! The body of each 503 is one line with the reason. There is no authentication: the endpoints only read.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus::{Registry, TextEncoder};
use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, time::Instant};

/// A main loop that has not ticked for this long stands still.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

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

/// The progress of a role's main loop. Clones share one state.
///
/// Before the first tick the role counts as live: start-up has time-outs of its own and may take longer than
/// [`STALL_LIMIT`].
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<Option<Instant>>>);

impl Liveness {
    /// Reports progress. The main loop calls this in every turn, at least every few seconds.
    pub fn tick(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// For how long the main loop has stood still, if that is [`STALL_LIMIT`] or longer.
    fn stalled_for(&self) -> Option<Duration> {
        let last_tick = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last_tick.map(|at| at.elapsed()).filter(|silence| *silence >= STALL_LIMIT)
    }
}

/// Whether a role does its work. Clones share one state. A new one is not ready: "starting".
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Option<Cow<'static, str>>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Cow::Borrowed("starting")))))
    }
}

impl Readiness {
    /// The role does its work.
    pub fn ready(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The role cannot do its work; `why` is one line, e.g. "bus disconnected".
    pub fn not_ready(&self, why: impl Into<Cow<'static, str>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
    }

    /// Why the role is not ready; `None` if it is.
    fn reason(&self) -> Option<Cow<'static, str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
    /// A role that is live, not yet ready, and without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `addr` and serves the endpoints in a task of its own, until the returned handle is dropped.
    pub async fn serve(&self, addr: SocketAddr) -> Result<Serving, HttpError> {
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
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(until_dropped);
        tokio::spawn(server.into_future());
        Ok(Serving { local_addr, _stop: stop })
    }

    fn router(&self) -> Router {
        let Self { liveness, readiness, registry } = self.clone();
        Router::new()
            .route("/livez", get(move || std::future::ready(livez(&liveness))))
            .route("/readyz", get(move || std::future::ready(readyz(&readiness))))
            .route("/metrics", get(move || std::future::ready(metrics(&registry))))
            .fallback(|| std::future::ready((StatusCode::NOT_FOUND, "try /livez, /readyz or /metrics\n")))
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

fn readyz(readiness: &Readiness) -> Response {
    match readiness.reason() {
        None => "ready\n".into_response(),
        Some(why) => unavailable(why.into_owned()),
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
mod tests {
    use super::*;
    use prometheus::{IntCounter, IntGauge};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    async fn serve(http: &Http) -> Serving {
        http.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
    }

    /// One request over its own connection: the whole response, and its status.
    async fn request(serving: &Serving, line: &str) -> (String, u16) {
        let mut stream = TcpStream::connect(serving.local_addr()).await.unwrap();
        let head = format!("{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        (response, status)
    }

    async fn get(serving: &Serving, path: &str) -> (u16, String) {
        let (response, status) = request(serving, &format!("GET {path}")).await;
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn livez_fails_when_the_main_loop_stands_still() {
        let http = Http::new();
        let serving = serve(&http).await;
        // Start-up is not judged.
        tokio::time::advance(STALL_LIMIT * 2).await;
        assert_eq!(get(&serving, "/livez").await, (200, "live\n".into()));
        http.liveness.tick();
        tokio::time::advance(STALL_LIMIT - Duration::from_millis(1)).await;
        assert_eq!(get(&serving, "/livez").await, (200, "live\n".into()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(get(&serving, "/livez").await, (503, "the main loop has not made progress for 10 s\n".into()));
        http.liveness.clone().tick();
        assert_eq!(get(&serving, "/livez").await, (200, "live\n".into()));
    }

    #[tokio::test]
    async fn readyz_gives_the_reason() {
        let http = Http::new();
        let serving = serve(&http).await;
        assert_eq!(get(&serving, "/readyz").await, (503, "starting\n".into()));
        http.readiness.clone().ready();
        assert_eq!(get(&serving, "/readyz").await, (200, "ready\n".into()));
        http.readiness.not_ready("bus disconnected");
        assert_eq!(get(&serving, "/readyz").await, (503, "bus disconnected\n".into()));
        http.readiness.not_ready(format!("draining {} jobs", 3));
        assert_eq!(get(&serving, "/readyz").await, (503, "draining 3 jobs\n".into()));
    }

    #[tokio::test]
    async fn metrics_shows_what_is_registered_and_nothing_else() {
        let http = Http::new();
        let serving = serve(&http).await;
        assert_eq!(get(&serving, "/metrics").await, (200, String::new()));
        let jobs = IntCounter::new("jobs_done", "Jobs that ended.").unwrap();
        let slots = IntGauge::new("slots", "Slots.").unwrap();
        http.registry.register(Box::new(jobs.clone())).unwrap();
        http.registry.register(Box::new(slots.clone())).unwrap();
        jobs.inc_by(3);
        slots.set(-1);
        let text = "# HELP jobs_done Jobs that ended.\n# TYPE jobs_done counter\njobs_done 3\n\
            # HELP slots Slots.\n# TYPE slots gauge\nslots -1\n";
        assert_eq!(get(&serving, "/metrics").await, (200, text.into()));
        let (response, _) = request(&serving, "GET /metrics").await;
        assert!(response.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{response}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let serving = serve(&Http::new()).await;
        for path in ["/", "/livez/", "/debug"] {
            assert_eq!(get(&serving, path).await.0, 404, "{path}");
        }
        assert_eq!(request(&serving, "POST /livez").await.1, 405);
        let (response, status) = request(&serving, "HEAD /livez").await;
        assert!(status == 200 && response.ends_with("\r\n\r\n"), "{response}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_that_names_the_flag() {
        let serving = serve(&Http::new()).await;
        let addr = serving.local_addr();
        let error = Http::new().serve(addr).await.unwrap_err();
        assert!(matches!(error, HttpError::AddressInUse { addr: a } if a == addr), "{error:?}");
        assert!(error.to_string().contains(&format!("--http {addr}")), "{error}");
        // An address of the documentation range, which no interface has.
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = Http::new().serve(elsewhere).await.unwrap_err();
        assert!(matches!(error, HttpError::Listen { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn dropping_the_handle_closes_the_listener_and_idle_connections() {
        let serving = serve(&Http::new()).await;
        let addr = serving.local_addr();
        let mut idle = TcpStream::connect(addr).await.unwrap();
        idle.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"live\n") {
            assert_ne!(idle.read_buf(&mut response).await.unwrap(), 0, "closed while the handle is there");
        }
        drop(serving);
        assert_eq!(idle.read_to_end(&mut response).await.unwrap(), 0);
        let rebound = async {
            while let Err(error) = Http::new().serve(addr).await {
                assert!(matches!(error, HttpError::AddressInUse { .. }), "{error:?}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(STALL_LIMIT, rebound).await.expect("the listener is still open");
    }
}
