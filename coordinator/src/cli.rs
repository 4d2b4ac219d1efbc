//! The command line of `pvf-coordinator`.

use crate::{
    Api, Coordinator, CoordinatorConfig, CoordinatorError, Counters,
    candidate::Candidate,
    http::{Prefix, routes},
    lease::{ANSWER_LIMIT, Beside, Keeper, beside},
};
use clap::{CommandFactory as _, Parser};
use pvf_scheduler::{CrossCheck, Rate};
use pvf_shared::{
    bus::{
        BusError,
        nats::{LeaseError, NatsArgs, NatsBus, NatsConnection},
    },
    config::ProtocolTimeouts,
    http::{Http, HttpError, LabelArgs},
    ids::FleetName,
    keys::{KeyArgs, listed},
    signals::Shutdown,
    store::{BlobStore, StoreError},
    store_metrics,
    telemetry::LogArgs,
    traces::TraceArgs,
};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode, str::FromStr, sync::Arc, time::Duration};

/// How long the first connection to the bus may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

const EXIT_CODES: &str = "Exit codes: 0 stopped by SIGTERM or SIGINT; 2 wrong usage, settings or credentials; \
3 the bus, its JetStream, the store or a resource of this machine cannot be used, or with --single another coordinator \
answers.";

/// Owns the queues of a PVF validation fleet and dispatches jobs to its workers. Of several coordinators of a fleet one
/// is active, and the others wait for its lease in JetStream.
#[derive(Debug, Parser)]
#[command(name = "pvf-coordinator", version, after_help = EXIT_CODES)]
struct Args {
    /// Object store that all roles of the fleet share: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, env = "PVF_STORE", value_name = "URL")]
    store: String,
    /// Name of the fleet; several fleets may share one NATS server
    #[arg(long, env = "PVF_FLEET", default_value_t, value_name = "NAME")]
    fleet: FleetName,
    /// TOML file with the settings of the queues; compose/coordinator.toml is a sample with every key
    #[arg(long, env = "PVF_COORDINATOR_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    /// Without a lease, for a bus without JetStream: this is the only coordinator of its fleet
    #[arg(long, env = "PVF_SINGLE")]
    single: bool,
    /// Have a second machine judge: `dispute`: every dispute; `invalid=RATE`: a part of the invalid verdicts, from 0 to
    /// 1.0. Repeated or in a list: dispute,invalid=0.1. If the two disagree the verdict is `internal`, with an alarm
    #[arg(long, env = "PVF_CROSS_CHECK", value_name = "dispute|invalid=RATE")]
    cross_check: Vec<CrossChecks>,
    /// Serve the page, the read API, /livez, /readyz and /metrics on this address, for instance 127.0.0.1:9616 (no
    /// authentication)
    #[arg(long, env = "PVF_HTTP", value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// The page and the read API are below this path, for a proxy that keeps the path: /pvf
    #[arg(long, env = "PVF_HTTP_PREFIX", default_value = "", value_name = "PATH")]
    http_prefix: Prefix,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    traces: TraceArgs,
}

/// What `--cross-check` asks for: some of its parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CrossChecks {
    dispute: bool,
    invalid: Option<Rate>,
}

impl FromStr for CrossChecks {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut checks = Self::default();
        // An empty variable asks for nothing.
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None if part == "dispute" => checks.dispute = true,
                Some(("invalid", rate)) => {
                    checks.invalid = Some(rate.parse().map_err(|why| format!("invalid: {why}"))?)
                }
                _ => return Err(format!("{part:?} is neither dispute nor invalid=RATE")),
            }
        }
        Ok(checks)
    }
}

impl CrossChecks {
    /// Adds them to those of the settings file.
    fn apply(self, to: &mut CrossCheck) {
        to.dispute |= self.dispute;
        to.invalid = self.invalid.unwrap_or(to.invalid);
    }
}

/// Why the role did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The keys or the settings file are wrong.
    #[error("{0}")]
    Settings(String),
    /// The store's URL is wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP endpoints cannot be opened.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The bus or the store cannot be used.
    #[error(transparent)]
    Coordinator(#[from] CoordinatorError),
    /// There is no lease to be had.
    #[error(
        "lease: {0}; enable JetStream in the NATS server (jetstream {{ store_dir: … }}) and for the account, with the \
         permissions of `pvf nats permissions coordinator`, or run the only coordinator of the fleet with --single"
    )]
    Lease(#[from] LeaseError),
    /// There is a coordinator already.
    #[error("--single: another coordinator answers for fleet {0:?} on this bus; stop it first")]
    Occupied(String),
    /// The operating system refuses a thread or a signal handler.
    #[error("runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

impl StartError {
    /// As [`EXIT_CODES`] documents.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Store(_) | Self::Http(_) => 2,
            Self::Coordinator(CoordinatorError::Bus(BusError::Refused { .. })) => 2,
            Self::Coordinator(CoordinatorError::Bus(_) | CoordinatorError::Store(_) | CoordinatorError::LeaseTask) => 3,
            Self::Lease(_) | Self::Occupied(_) | Self::Runtime(_) => 3,
        }
    }
}

/// The command line of `pvf-coordinator`, for what is made of its description.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the coordinator with these arguments until SIGTERM or SIGINT. Ends the process with exit code 2 if they cannot
/// be parsed; `--help` documents the exit codes.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    args.log.init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            pvf_shared::telemetry::to_stderr(format_args!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), StartError> {
    let _traced = args.traces.init("pvf-coordinator").map_err(StartError::Settings)?;
    let keys = args.keys.of_verifier("the coordinator").map_err(|error| StartError::Settings(error.to_string()))?;
    tracing::info!(trusts = listed(&keys.trusts()), "keys of artifacts");
    let mut config = CoordinatorConfig::load(args.config.as_deref()).map_err(StartError::Settings)?;
    args.cross_check.iter().for_each(|checks| checks.apply(&mut config.policy.cross_check));
    let nats = args.nats.required().map_err(StartError::Settings)?;
    let store = BlobStore::open_shared(&args.store, keys)?;
    pvf_shared::runtime::runtime()?.block_on(coordinate(args, config, &nats, store))
}

async fn coordinate(
    args: &Args,
    config: CoordinatorConfig,
    nats: &NatsConnection,
    store: BlobStore,
) -> Result<(), StartError> {
    let mut shutdown = Shutdown::catch()?;
    let api = Api::default();
    let http = Http::with_labels(&args.labels).map_err(StartError::Settings)?;
    let metrics = |error: prometheus::Error| StartError::Settings(format!("metrics: {error}"));
    let counters = Arc::new(Counters::within(http.registry.clone()).map_err(metrics)?);
    let store = store_metrics::measured(store, &http.registry).map_err(metrics)?;
    let _serving = match args.http {
        Some(addr) => Some(http.serve_with(addr, routes(api.clone(), &args.http_prefix)).await?),
        None => None,
    };
    let bus = NatsBus::connect(nats, "pvf-coordinator", CONNECT_LIMIT).await.map_err(CoordinatorError::from)?;
    let (bus, fleet, timing) = (Arc::new(bus), args.fleet.clone(), ProtocolTimeouts::default());
    let (version, lease) = (env!("CARGO_PKG_VERSION"), config.lease);
    let coordinator = Coordinator { fleet, timing, config, bus: bus.clone(), store: store.clone(), counters, api };
    if args.single {
        match beside(&bus, &args.fleet, ANSWER_LIMIT).await {
            Beside::Nobody => {}
            Beside::Silent => tracing::warn!("another coordinator listens on this bus, and does not answer"),
            Beside::Answers => return Err(StartError::Occupied(args.fleet.to_string())),
        }
        let listening = coordinator.listen().await?.reporting_to(&http);
        tracing::info!(fleet = %args.fleet, store = %args.store, version, "coordinator is ready, the only one");
        listening.run(async move { shutdown.asked().await }).await;
        return Ok(());
    }
    store.check().await.map_err(CoordinatorError::from)?;
    let keeper = Keeper::start(bus, store, args.fleet.clone(), lease).await?;
    tracing::info!(fleet = %args.fleet, store = %args.store, version, "coordinator is ready, and waits for the lease");
    Candidate { coordinator, keeper, http }.run(async move { shutdown.asked().await }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(more: &[&str]) -> StartError {
        let store = tempfile::tempdir().unwrap();
        let store = store.path().to_str().unwrap();
        let args = ["pvf-coordinator", "--nats", "nats://127.0.0.1:1", "--store", store];
        let unsigned = if more.contains(&"--trusted-key") { None } else { Some(&"--unsigned") };
        run(&Args::parse_from(args.iter().chain(unsigned).chain(more))).unwrap_err()
    }

    #[test]
    fn second_opinions_are_asked_for_by_parts() {
        let parse = |more: &[&str]| {
            let args = ["pvf-coordinator", "--nats", "host:1", "--store", "memory://", "--unsigned"];
            Args::try_parse_from(args.iter().chain(more)).map(|args| {
                let mut settings = CrossCheck { invalid: "0.5".parse().unwrap(), ..CrossCheck::default() };
                args.cross_check.iter().for_each(|checks| checks.apply(&mut settings));
                (settings.dispute, settings.invalid)
            })
        };
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        assert_eq!(parse(&[]).unwrap(), (false, rate("0.5")));
        assert_eq!(parse(&["--cross-check", ""]).unwrap(), (false, rate("0.5")));
        assert_eq!(parse(&["--cross-check", "dispute"]).unwrap(), (true, rate("0.5")));
        assert_eq!(parse(&["--cross-check", "dispute,invalid=0.25"]).unwrap(), (true, rate("0.25")));
        assert_eq!(parse(&["--cross-check", "invalid=0", "--cross-check", "dispute"]).unwrap(), (true, rate("0")));
        for (wrong, words) in [
            ("disputes", "neither dispute nor invalid=RATE"),
            ("invalid", "neither dispute nor invalid=RATE"),
            ("invalid=2", "2 is outside 0..=1"),
            ("invalid=half", "is no number from 0 to 1"),
            ("invalid=nan", "NaN is outside 0..=1"),
        ] {
            let error = parse(&["--cross-check", wrong]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn each_error_has_its_documented_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let no_key = folder.path().join("key");
        std::fs::write(&no_key, "short").unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for (more, code, words) in [
            (["--trusted-key", no_key.to_str().unwrap()], 2, "not a key file"),
            (["--trusted-key", ""], 2, "--unsigned"),
            (["--config", "/does/not/exist"], 2, "/does/not/exist"),
            (["--http", &address], 2, "already in use"),
            // Nothing listens on port 1.
            (["--fleet", "pvf"], 3, "127.0.0.1:1"),
        ] {
            let error = failure(&more);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.exit_code(), code, "{error}");
        }
        let args = ["pvf-coordinator", "--nats", "host:1", "--store", "memory://", "--unsigned"];
        let error = run(&Args::parse_from(args)).unwrap_err();
        assert!(matches!(error, StartError::Store(_)) && error.exit_code() == 2, "{error}");
    }
}
