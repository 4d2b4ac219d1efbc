//! The command line of `pvf-coordinator`.

use crate::{Coordinator, CoordinatorConfig};
use clap::Parser;
use pvf_shared::{
    bus::nats::{NatsBus, parse_url},
    config::Timing,
    ids::FleetName,
    signals::Shutdown,
    store::{BlobStore, seal::SealKey},
};
use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// Owns the queues of a PVF validation fleet and gives jobs to its workers.
#[derive(Debug, Parser)]
#[command(name = "pvf-coordinator", version)]
struct Args {
    /// The NATS server, for instance nats://127.0.0.1:4222
    #[arg(long, env = "PVF_NATS", hide_env_values = true, value_name = "URL", value_parser = parse_url)]
    nats: String,
    /// The object store that the fleet shares: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, env = "PVF_STORE", value_name = "URL")]
    store: String,
    /// The fleet's name; several fleets may share one NATS
    #[arg(long, env = "PVF_FLEET", default_value_t, value_name = "NAME")]
    fleet: FleetName,
    /// File with the fleet's secret for artifact seals, the same for the whole fleet
    #[arg(long, env = "PVF_SEAL_KEY_FILE", value_name = "PATH")]
    seal_key_file: Option<PathBuf>,
    /// Settings of the queues, TOML; a sample with every key is in compose/coordinator.toml
    #[arg(long, env = "PVF_COORDINATOR_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    /// Log as JSON
    #[arg(long)]
    json_logs: bool,
    /// Log more (twice: debug)
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Runs the coordinator with these arguments until SIGTERM or SIGINT. Exit code 2: wrong settings; 3: bus or
/// store cannot be used.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    pvf_shared::telemetry::init(args.verbose, "info", args.json_logs);
    let key = match SealKey::from_file(args.seal_key_file.as_deref()) {
        Ok(key) => key,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let config = match CoordinatorConfig::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    crate::memory::reserve(config.reserve_memory as usize);
    let store = match BlobStore::open_shared(&args.store, key) {
        Ok(store) => store,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = match pvf_shared::runtime::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::from(3);
        }
    };
    let ran = runtime.block_on(async {
        let shutdown = Shutdown::catch().map_err(|e| format!("signals: {e}"))?;
        run(&args, config, store, shutdown).await.map_err(|e| e.to_string())
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

async fn run(
    args: &Args,
    config: CoordinatorConfig,
    store: BlobStore,
    mut shutdown: Shutdown,
) -> Result<(), crate::CoordinatorError> {
    let bus = NatsBus::connect(&args.nats, "pvf-coordinator", Duration::from_secs(10)).await?;
    let coordinator = Coordinator {
        fleet: args.fleet.clone(),
        timing: Timing::default(),
        config,
        bus: Arc::new(bus),
        store,
        counters: Arc::default(),
    };
    let listening = coordinator.listen().await?;
    tracing::info!(fleet = %args.fleet, store = %args.store, version = env!("CARGO_PKG_VERSION"), "coordinator is ready");
    listening.run(async move { shutdown.asked().await }).await;
    Ok(())
}
