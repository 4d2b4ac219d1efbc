//! The command line of the workers.

use crate::{
    host::{Worker, WorkerConfig},
    sandbox::Report,
    supervise::{probe_sandbox, start_spawner},
    wasm::CpuBaseline,
};
use clap::Parser;
use pvf_shared::{
    bus::nats::{NatsBus, parse_url},
    ids::FleetName,
    signals::Shutdown,
    store::{BlobStore, seal::SealKey},
    wire::WorkerKind,
};
use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// Takes jobs of a PVF validation fleet and runs each in a process of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The NATS server, for instance nats://127.0.0.1:4222
    #[arg(long, env = "PVF_NATS", hide_env_values = true, value_name = "URL", value_parser = parse_url)]
    nats: String,
    /// The object store that the fleet shares: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, env = "PVF_STORE", value_name = "URL")]
    store: String,
    /// Jobs that run at once [default: 1 for preparing (a job uses all cores), one for each core for executing]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// The fleet's name; several fleets may share one NATS
    #[arg(long, env = "PVF_FLEET", default_value_t, value_name = "NAME")]
    fleet: FleetName,
    /// File with the fleet's secret for artifact seals, the same for the whole fleet
    #[arg(long, env = "PVF_SEAL_KEY_FILE", value_name = "PATH")]
    seal_key_file: Option<PathBuf>,
    /// What compiled code may use of the CPU: v1, v2 or v3 (x86-64 levels) [default: the best of this machine]
    #[arg(long, env = "PVF_CPU_BASELINE", value_name = "LEVEL")]
    cpu_baseline: Option<CpuBaseline>,
    /// This machine's name: a second opinion is asked of another one [default: the host name]
    #[arg(long, env = "PVF_HOST", value_name = "NAME")]
    host: Option<String>,
    /// Processes of each artifact in use that are kept ready for a job, 0 to 64 [default: --slots, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=64))]
    spares: Option<u32>,
    /// Do not start where jobs cannot be locked up with every mechanism of the sandbox (the default)
    #[arg(long)]
    secure: bool,
    /// Go on with those mechanisms of the sandbox that work here: only where all code is trusted
    #[arg(long, env = "PVF_INSECURE_BEST_EFFORT", overrides_with = "secure",
        value_parser = clap::builder::FalseyValueParser::new())]
    insecure_best_effort: bool,
    /// Log as JSON
    #[arg(long)]
    json_logs: bool,
    /// Log more (twice: debug)
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// `main` of a worker executable; see [`crate::worker_main!`].
pub fn worker_main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let stem = PathBuf::from(&program).file_name().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    for role in ["prepare-worker", "execute-worker"] {
        if stem.contains(role) {
            return main(role, args);
        }
    }
    match args.next().as_deref().and_then(|s| s.to_str()) {
        Some(role @ ("prepare-worker" | "execute-worker")) => main(role, args),
        _ => {
            eprintln!("error: say which worker this is: `{stem} prepare-worker …` or `{stem} execute-worker …`");
            ExitCode::from(2)
        }
    }
}

/// Runs a worker of this role with these arguments (without the program's name) until SIGTERM or SIGINT. Exit code
/// 2: wrong settings, or jobs cannot be locked up here; 3: bus or store cannot be used.
pub fn main(role: &str, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let kind = if role == "prepare-worker" { WorkerKind::Prepare } else { WorkerKind::Execute };
    let args = Args::parse_from(std::iter::once(OsString::from(format!("pvf-{role}"))).chain(args));
    pvf_shared::telemetry::init(args.verbose, "info", args.json_logs);
    let opened = SealKey::from_file(args.seal_key_file.as_deref())
        .and_then(|key| BlobStore::open_shared(&args.store, key).map_err(|e| e.to_string()));
    let store = match opened {
        Ok(store) => store,
        Err(error) => return fail(2, &error),
    };
    // Before anything else hears of this worker.
    let secure = args.secure || !args.insecure_best_effort;
    let sandbox = match probe_sandbox(None) {
        Ok(report) if secure && !report.is_complete() => return fail(2, &refusal(&report)),
        Ok(report) => report,
        Err(error) => return fail(3, &format!("executable for jobs: {error}")),
    };
    start_spawner();
    let runtime = match pvf_shared::runtime::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(3, &error),
    };
    match runtime.block_on(run(kind, args, store, sandbox)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(3, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(code)
}

fn refusal(report: &Report) -> String {
    format!(
        "jobs run code of strangers, and cannot be locked up on this machine; missing:\n{}\n\
         To go on with what works, where all code is trusted: --insecure-best-effort",
        report.complaint()
    )
}

async fn run(kind: WorkerKind, args: Args, store: BlobStore, sandbox: Report) -> Result<(), String> {
    let mut shutdown = Shutdown::catch().map_err(|e| format!("signals: {e}"))?;
    let bus = NatsBus::connect(&args.nats, &format!("pvf-{kind}-worker"), Duration::from_secs(10)).await;
    let bus = Arc::new(bus.map_err(|e| e.to_string())?);
    store.check().await.map_err(|e| e.to_string())?;
    let slots = args.slots.unwrap_or_else(|| match kind {
        WorkerKind::Prepare => 1,
        WorkerKind::Execute => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
    });
    let mut config = WorkerConfig { fleet: args.fleet, sandbox: Some(sandbox), ..WorkerConfig::new(kind, slots) };
    config.baseline = args.cpu_baseline.unwrap_or(config.baseline);
    config.spares = args.spares.unwrap_or(config.spares);
    config.host = args.host.unwrap_or(config.host);
    let worker = Worker::new(config, bus, store).map_err(|e| e.to_string())?;
    worker.run(async move { shutdown.asked().await }).await.map_err(|e| e.to_string())
}
