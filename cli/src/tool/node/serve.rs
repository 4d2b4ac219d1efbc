//! `pvf node serve`: the node service.

use super::{
    super::failure::{Exit, Failure},
    args::Serve,
};
use crate::{Config as HostConfig, Metrics};
use pvf_node::{
    config::{Config, Fallback},
    fleet::Fleet,
    metrics::NodeMetrics,
    service::{Listening, Server},
};
use pvf_shared::{http::Http, signals::Shutdown, units::MIB};
use std::time::Duration;

/// How old the readiness and the gauge of the connection may be.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn serve(args: &Serve) -> Result<Exit, Failure> {
    let config = Config::read(&args.config).map_err(|why| Failure::Input(format!("--config {why}")))?;
    // The service itself does not need it. Without it every worker executable would fail.
    config.artifact_key().map_err(Failure::Input)?;
    let mut shutdown = Shutdown::catch().map_err(|e| Failure::no_result("signals", e))?;
    let socket = &config.service.socket;
    let listening =
        Listening::bind(socket).map_err(|e| Failure::NoResult(format!("service.socket {}: {e}", socket.display())))?;
    let bus = config.connection().map_err(Failure::Input)?;
    let fleet = tokio::select! {
        fleet = Fleet::connect_in_time(bus.clone(), config.fleet.name.clone()) => fleet?,
        () = shutdown.asked() => return Ok(Exit::Success),
    };
    let (fleet, driver) = match config.answers.fallback {
        Fallback::Internal => (fleet, None),
        Fallback::Local => {
            let host =
                HostConfig { secure: config.local.secure, ..HostConfig::new(config.local.store.display().to_string()) };
            let (host, run) = crate::start(host, Metrics::default()).await?;
            (fleet.with_fallback(host), Some(tokio::spawn(run)))
        }
    };
    let http = Http::with_labels(&args.labels).map_err(Failure::Input)?;
    let metrics = NodeMetrics::new().map_err(|e| Failure::no_result("metrics", e))?;
    metrics.register(&http.registry).map_err(|e| Failure::no_result("metrics", e))?;
    let _serving = match args.http {
        Some(addr) => Some(http.serve(addr).await.map_err(|e| Failure::Input(e.to_string()))?),
        None => None,
    };
    let shown = tokio::spawn(show(http, fleet.clone(), metrics.clone()));
    let fleet_is_connected = fleet.is_connected();
    let server = Server::new(fleet, config.service.code_cache_mib * MIB as u64, metrics);
    tracing::info!(
        socket = %socket.display(), servers = %bus.shown(), fleet = %config.fleet.name,
        fallback = ?config.answers.fallback, connected = fleet_is_connected, "the node service listens"
    );
    server.run(&listening, shutdown.asked()).await;
    shown.abort();
    if let Some(driver) = driver {
        let _ = tokio::time::timeout(Duration::from_secs(5), driver).await;
    }
    tracing::info!("the node service has ended");
    Ok(Exit::Success)
}

/// Keeps the endpoints up to date.
async fn show(http: Http, fleet: Fleet, metrics: NodeMetrics) {
    loop {
        http.liveness.tick();
        let connected = fleet.is_connected();
        metrics.set_connected(connected);
        if connected {
            http.readiness.ready();
        } else {
            http.readiness.not_ready("bus disconnected");
        }
        tokio::time::sleep(SHOWN_EVERY).await;
    }
}
