//! The command line of the worker roles.

use crate::{
    agent::{Worker, WorkerConfig, WorkerError},
    machine::{boot_id_is_the_containers, leave_own_cgroup, raise_open_files, survive_file_size_limit},
    sandbox::{Mechanism, MechanismNames, Report},
    supervise::{probe_sandbox, start_spawner},
    wasm::CpuBaseline,
};
use clap::{CommandFactory as _, Parser};
use pvf_shared::{
    bus::{
        BusError,
        nats::{NatsArgs, NatsBus, NatsConnection},
    },
    host::HostIdentity,
    http::{Http, HttpError, LabelArgs},
    ids::FleetName,
    keys::{KeyArgs, listed},
    signals::Shutdown,
    store::{BlobStore, StoreError},
    store_metrics,
    telemetry::LogArgs,
    traces::TraceArgs,
    units::{parse_bytes, parse_duration},
    wire::WorkerKind,
};
use std::{ffi::OsString, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// How long a worker tries to connect to the bus before it gives up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The part of `--help` that documents [`RoleError::exit_code`].
const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by SIGTERM or SIGINT, or drained by an operator (`pvf drain`)
  2  wrong settings (command line, credentials, keys, store URL, --http), or the sandbox is incomplete
  3  bus or store cannot be used, or the process cannot be set up";

/// Takes jobs of a PVF validation fleet and runs each in a process of its own.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Args {
    /// The object store of the fleet: file:///path, s3://bucket/prefix, gs://…, az://…
    #[arg(long, env = "PVF_STORE", value_name = "URL")]
    store: String,
    /// Number of jobs that run at once [default: 1 for preparation (a job uses all cores), the number of cores for
    /// execution]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Name of the fleet; several fleets can share one NATS server
    #[arg(long, env = "PVF_FLEET", default_value_t, value_name = "NAME")]
    fleet: FleetName,
    /// CPU features that compiled code may use: v1, v2 or v3 (x86-64 levels) [default: the highest of this machine]
    #[arg(long, env = "PVF_CPU_BASELINE", value_name = "LEVEL")]
    cpu_baseline: Option<CpuBaseline>,
    /// Name of this machine, which stands for its machine id and boot id: a retry, and a second opinion, comes from a
    /// machine with another one [default: the host name, for people only]
    #[arg(long, env = "PVF_HOST", value_name = "NAME")]
    host: Option<String>,
    /// Spare processes that are kept ready for each artifact in use, 0 to 64 [default: --slots, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=64))]
    spares: Option<u32>,
    /// Where copies of artifacts are kept; not mounted noexec [default: the folder for temporary files]
    #[arg(long, env = "PVF_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Most bytes of copies of artifacts, for instance 16GiB [default: 16GiB, or half of what the file system has free
    /// if that is less, but at least 1GiB]
    #[arg(long, env = "PVF_CACHE_BYTES", value_name = "SIZE", value_parser = parse_bytes)]
    cache_bytes: Option<u64>,
    /// The longest time that jobs may go on after SIGTERM, SIGINT or `pvf drain`; then they are ended, and done
    /// elsewhere. What has not begun is given back at once [default: as long as the limits of each job allow]
    #[arg(long, env = "PVF_DRAIN", value_name = "TIME", value_parser = parse_duration)]
    drain: Option<Duration>,
    /// Refuse to start unless every sandbox mechanism is available, or missing by --allow-missing (default)
    #[arg(long)]
    secure: bool,
    /// Also start where this sandbox mechanism is missing, if others enforce each property of the sandbox (`pvf doctor`
    /// lists both); can be repeated, and take several: landlock,uts-namespace
    #[arg(long, env = "PVF_ALLOW_MISSING", value_name = "NAME")]
    allow_missing: Vec<MechanismNames>,
    /// Deprecated, use --allow-missing: start with the sandbox mechanisms that this machine supports, whichever they
    /// are; only where all validation code is trusted
    #[arg(long, env = "PVF_INSECURE_BEST_EFFORT", overrides_with = "secure",
        value_parser = clap::builder::FalseyValueParser::new())]
    insecure_best_effort: bool,
    /// Serve /livez, /readyz and /metrics over HTTP at this address, for instance 127.0.0.1:9617
    #[arg(long, env = "PVF_HTTP", value_name = "ADDR")]
    http: Option<SocketAddr>,
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

impl Args {
    /// The mechanisms that may be missing.
    fn allowed(&self) -> Vec<Mechanism> {
        self.allow_missing.iter().flat_map(|names| names.0.iter().copied()).collect()
    }
}

/// Why a worker role cannot run.
#[derive(Debug, thiserror::Error)]
enum RoleError {
    #[error("{0}")]
    Settings(String),
    #[error("executable for jobs: {0}")]
    Executable(io::Error),
    #[error("sandbox incomplete, refusing to run untrusted code; missing:\n{}\n{}", .0.complaint(), .0.way_out())]
    Sandbox(Report),
    #[error("runtime: {0}")]
    Runtime(io::Error),
    #[error("signal handlers: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

impl RoleError {
    /// The exit code of the process; documented in [`EXIT_CODES`].
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Http(_) | Self::Sandbox(_) | Self::Bus(BusError::Refused { .. }) => 2,
            Self::Executable(_)
            | Self::Runtime(_)
            | Self::Signals(_)
            | Self::Bus(_)
            | Self::Store(_)
            | Self::Worker(_) => 3,
        }
    }
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
        _ => end(Err(RoleError::Settings(format!(
            "missing role: run `{stem} prepare-worker …` or `{stem} execute-worker …`"
        )))),
    }
}

/// The command line of both worker roles, for what is made of its description.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs a worker of this role with these arguments, which do not include the program's name, until SIGTERM or SIGINT,
/// or until an operator has it drain.
///
/// The exit code is 0 then, 2 for wrong settings or an incomplete sandbox, and 3 if bus or store cannot be used or the
/// process cannot be set up.
pub fn main(role: &str, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let kind = if role == "prepare-worker" { WorkerKind::Prepare } else { WorkerKind::Execute };
    let args = Args::parse_from(std::iter::once(OsString::from(format!("pvf-{role}"))).chain(args));
    args.log.init();
    survive_file_size_limit();
    end(start(kind, args))
}

fn end(result: Result<(), RoleError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            pvf_shared::telemetry::to_stderr(format_args!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(kind: WorkerKind, args: Args) -> Result<(), RoleError> {
    let keys = match kind {
        WorkerKind::Prepare => args.keys.of_signer(),
        WorkerKind::Execute => args.keys.of_verifier("an execute worker"),
    };
    let keys = keys.map_err(|error| RoleError::Settings(error.to_string()))?;
    let (signs_with, trusts) = (keys.signs_with().map(|key| key.to_string()), listed(&keys.trusts()));
    tracing::info!(signs_with, trusts, "keys of artifacts");
    let nats = args.nats.required().map_err(RoleError::Settings)?;
    let store = BlobStore::open_shared(&args.store, keys).map_err(|e| RoleError::Settings(e.to_string()))?;
    // Before this process has children, which would have to leave as well.
    leave_own_cgroup();
    // Before the worker connects, so that a fleet never lists a worker that then refuses to start.
    let sandbox = probe_sandbox(None).map_err(RoleError::Executable)?;
    let sandbox = sandbox.allowing(&args.allowed());
    let secure = args.secure || !args.insecure_best_effort;
    if secure && !sandbox.is_secure() {
        return Err(RoleError::Sandbox(sandbox));
    }
    if !secure {
        tracing::warn!(
            "consent to whatever mechanism is missing is deprecated, and removed in the next release: use --allow-missing"
        );
    }
    tracing::info!(target: "pvf_worker::sandbox", "sandbox: {}", sandbox.summary());
    start_spawner();
    raise_open_files();
    // It has threads, so it comes after what is started by a fork.
    let service = match kind {
        WorkerKind::Prepare => "pvf-prepare-worker",
        WorkerKind::Execute => "pvf-execute-worker",
    };
    let _traced = args.traces.init(service).map_err(RoleError::Settings)?;
    let runtime = pvf_shared::runtime::runtime().map_err(RoleError::Runtime)?;
    let http = Http::with_labels(&args.labels).map_err(RoleError::Settings)?;
    let store = store_metrics::measured(store, &http.registry);
    let store = store.map_err(|error| RoleError::Settings(format!("metrics: {error}")))?;
    runtime.block_on(async {
        let _serving = match args.http {
            Some(addr) => Some(http.serve(addr).await?),
            None => None,
        };
        run(kind, args, &nats, Machine { store, sandbox, http }).await
    })
}

/// What the worker has found and opened before it connects.
struct Machine {
    store: BlobStore,
    sandbox: Report,
    http: Http,
}

async fn run(kind: WorkerKind, args: Args, nats: &NatsConnection, machine: Machine) -> Result<(), RoleError> {
    let Machine { store, sandbox, http } = machine;
    let mut shutdown = Shutdown::catch().map_err(RoleError::Signals)?;
    let bus = Arc::new(NatsBus::connect(nats, &format!("pvf-{kind}-worker"), CONNECT_TIMEOUT).await?);
    match kind {
        WorkerKind::Prepare => store.check().await?,
        WorkerKind::Execute => store.check_readable().await?,
    }
    let slots = args.slots.unwrap_or_else(|| match kind {
        WorkerKind::Prepare => 1,
        WorkerKind::Execute => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
    });
    let mut config = WorkerConfig { fleet: args.fleet, sandbox: Some(sandbox), ..WorkerConfig::new(kind, slots) };
    config.baseline = args.cpu_baseline.unwrap_or(config.baseline);
    config.spares = args.spares.unwrap_or(config.spares);
    if let Some(host) = args.host.filter(|host| !host.is_empty()) {
        config.identity = HostIdentity::named(&host);
        config.host = host;
    } else if boot_id_is_the_containers() {
        tracing::warn!(
            "this container has a boot id of its own and counts as a machine of its own: --host tells on which machine \
             it is"
        );
    }
    config.cache_dir = args.cache_dir.unwrap_or(config.cache_dir);
    config.cache_bytes = args.cache_bytes;
    config.drain = args.drain.unwrap_or(config.drain);
    config.self_test = true;
    let worker = Worker::new(config, bus, store)?.with_http(http)?;
    Ok(worker.run(async move { shutdown.asked().await }).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_distinguish_settings_from_what_cannot_be_used() {
        let io = || io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(RoleError::Settings("no such file".into()).exit_code(), 2);
        assert_eq!(RoleError::Sandbox(Report::none("a test")).exit_code(), 2);
        for error in [
            RoleError::Executable(io()),
            RoleError::Runtime(io()),
            RoleError::Signals(io()),
            RoleError::Bus(BusError::TimedOut("a subject".into())),
            RoleError::Worker(WorkerError::Setup("a test".into())),
        ] {
            assert_eq!(error.exit_code(), 3, "{error}");
        }
    }

    #[test]
    fn a_refusal_to_start_names_mechanisms_fixes_and_the_alternative() {
        let refusal = RoleError::Sandbox(Report::none("a test")).to_string();
        let not_enforced = "not enforced: no file seen; it takes one of: empty root, seccomp";
        for part in ["user namespace, pid namespace", "a test", "fix: ", not_enforced, "--insecure-best-effort"] {
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
    }

    #[test]
    fn mechanisms_that_may_be_missing_are_named_once_or_in_lists() {
        let parse = |more: &[&str]| {
            let rest = ["--nats", "nats://127.0.0.1:1", "--store", "memory://"].iter().chain(more);
            Args::try_parse_from(std::iter::once(&"pvf-execute-worker").chain(rest))
        };
        let more = ["--allow-missing", "landlock,uts-namespace", "--allow-missing", "empty-root"];
        let allowed = parse(&more).unwrap().allowed();
        assert_eq!(allowed, [Mechanism::Landlock, Mechanism::UtsNamespace, Mechanism::EmptyRoot]);
        // As an empty variable is.
        assert_eq!(parse(&["--allow-missing", ""]).unwrap().allowed(), []);
        assert!(parse(&["--allow-missing", "all"]).unwrap_err().to_string().contains("user-namespace"));
    }
}
