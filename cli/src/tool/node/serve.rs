//! `pvf node serve`: the node service.

use super::{
    super::failure::{Exit, Failure},
    args::Serve,
};
use crate::{Config as HostConfig, Metrics};
use pvf_node::{
    config::{Config, Fallback},
    fleet::Fleet,
    service::{Listening, Server},
};
use pvf_shared::{signals::Shutdown, units::MIB};

pub(super) async fn serve(args: &Serve) -> Result<Exit, Failure> {
    let config = Config::read(&args.config).map_err(|why| Failure::Input(format!("--config {why}")))?;
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
    let server = Server::new(fleet, config.service.code_cache_mib * MIB as u64);
    tracing::info!(
        socket = %socket.display(), servers = %bus.shown(), fleet = %config.fleet.name,
        fallback = ?config.answers.fallback, "the node service is ready"
    );
    server.run(&listening, shutdown.asked()).await;
    if let Some(driver) = driver {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), driver).await;
    }
    tracing::info!("the node service has ended");
    Ok(Exit::Success)
}
