use super::*;
use prometheus::{IntCounter, IntGauge};
use std::time::Duration;
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
    let condition = |name, is_met, detail: &str| Condition { name, is_met, detail: detail.into() };
    http.readiness.show(vec![condition("bus", true, "connected"), condition("store", false, "disk full")]);
    assert_eq!(get(&serving, "/readyz").await, (503, "draining 3 jobs\n".into()));
    let verbose = "[+] bus: connected\n[-] store: disk full\ndraining 3 jobs\n";
    assert_eq!(get(&serving, "/readyz?verbose").await, (503, verbose.into()));
    http.readiness.ready();
    let verbose = "[+] bus: connected\n[-] store: disk full\nready\n";
    assert_eq!(get(&serving, "/readyz?verbose=1").await, (200, verbose.into()));
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
