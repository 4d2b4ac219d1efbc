//! The commands and options of `pvf`.

#[cfg(feature = "top")]
use super::top::args::Top;
use super::{
    api::args::{ArtifactsCommand, RequestsCommand, Why, WorkersCommand},
    bench::args::Bench,
    bundles::args::{BundleCommand, Replay},
    check::args::Check,
    drain::args::Drain,
    failure::{EXIT_CODES, Failure},
    follow::args::Follow,
    manual::args::ManualCommand,
    network::args::NetworkCommand,
    node::args::NodeCommand,
    request_args::{Execute, HeadsUp, Precheck},
    sweep::args::Sweep,
    watch::args::Watch,
};
use clap::{Args as ClapArgs, Parser, Subcommand};
use pvf_shared::{
    bus::nats::{NatsArgs, NatsConnection},
    identity::UserName,
    ids::FleetName,
    keys::KeyArgs,
    permissions,
    traces::TraceArgs,
    units::parse_duration,
};
use pvf_worker::sandbox::MechanismNames;
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

/// Runs parachain validation functions (PVFs), the untrusted wasm that decides whether a parachain block is valid
///
/// Without --nats, a command runs the validation host in its own process. With --nats, it sends its requests to a
/// fleet: a coordinator and workers that are connected by a NATS server.
///
/// Start with `pvf demo`. `pvf doctor` checks whether this machine has what the host needs.
#[derive(Debug, Parser)]
#[command(name = "pvf", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// Run the host in this process, even if an option or a variable names the NATS servers of a fleet
    #[arg(long, global = true)]
    pub(crate) embedded: bool,
    /// Store for compiled artifacts [default: pvf/store in the user's cache folder]
    ///
    /// Of the embedded host, and of a fleet's roles. A command that sends requests to a fleet does not use it, and
    /// warns of the option.
    ///
    /// A folder, file:///path, memory://, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix. Credentials
    /// are read from the usual variables (AWS_*, GOOGLE_*, AZURE_*).
    #[arg(long, global = true, env = "PVF_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Name of the fleet; several fleets can share one NATS server
    #[arg(long, global = true, env = "PVF_FLEET", default_value_t, value_name = "NAME")]
    pub(crate) fleet: FleetName,
    /// Where workers keep their copies of artifacts; not mounted noexec [default: the folder for temporary files]
    #[arg(long, global = true, env = "PVF_CACHE_DIR", value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// How long to wait for each verdict, and for workers that drain, 1ms to 24h
    #[arg(long, global = true, default_value = "30m", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) wait: Duration,
    /// Write results to stdout as JSON, one object for each request
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more to stderr (-vv: debug); PVF_LOG sets a filter instead
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) traces: TraceArgs,
    /// The connection to the fleet's bus, once the options are resolved; `None` for the embedded host.
    #[arg(skip)]
    pub(crate) bus: Option<NatsConnection>,
}

impl Global {
    /// With the connection that its options and the variables describe.
    pub(crate) fn resolved(&self) -> Result<Self, Failure> {
        let bus = if self.embedded { None } else { self.nats.connection().map_err(Failure::Input)? };
        Ok(Self { bus, ..self.clone() })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Request(Request),
    #[command(flatten)]
    Role(RoleCommand),
    #[command(flatten)]
    Manual(ManualCommand),
}

/// Commands that do something and end.
#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Show what the host does: prepare a bundled PVF, execute five valid blocks and an invalid one
    Demo(Demo),
    /// Check this machine (kernel, sandbox, store, bus); exit code 1 if any check fails
    Doctor(Doctor),
    /// Check whether validation code can be prepared, under the strict limits of pre-checking
    Precheck(Precheck),
    /// Check whether candidates are valid: execute validation code on them
    Execute(Box<Execute>),
    /// Prepare validation code before it is needed
    HeadsUp(HeadsUp),
    /// Measure how many candidates a host validates, and how long each takes, with codes and candidates of your own
    ///
    /// A closed loop (--concurrency) finds how much a host can do. An open loop (--rate) shows how long requests take
    /// that arrive whether or not earlier ones are answered, as those of a network do.
    Bench(Box<Bench>),
    /// Check a parachain's runtime and PoVs against the limits of a network; exit code 1 if one is exceeded
    Check(Box<Check>),
    /// Validate each PoV that a collator exports to a folder, and keep those that fail
    Watch(Box<Watch>),
    /// Prepare many codes, for instance all of a network, and compare with an earlier run
    Sweep(Box<Sweep>),
    /// Prepare the codes that a relay chain is about to use, so that a fleet is ready for them
    Follow(Box<Follow>),
    /// Ask a node for the limits of its network, or show those that are known
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Run a replay bundle again, here or on a fleet, and compare; exit code 1 if the outcome is another one
    ///
    /// Without a fleet it runs in this process, and with an empty store unless --store or PVF_STORE names one: nothing
    /// that was prepared before decides.
    Replay(Replay),
    /// Show, list, unpack and remove replay bundles
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Show the state of a fleet: workers, queues, artifacts, counters
    Status(Status),
    /// Have workers of a fleet drain: they take no new jobs, finish what they run, leave, and their processes end
    ///
    /// As SIGTERM does on their machines. The user of the NATS connection needs the role operator. Without --no-wait
    /// this waits until the workers have left, at most for the time of --wait, and asks again meanwhile.
    Drain(Drain),
    /// List the workers of a fleet, or have some drain
    ///
    /// The user of the NATS connection needs the role observer or operator, as for `pvf requests`, `artifacts` and
    /// `why`.
    Workers {
        #[command(subcommand)]
        command: Option<WorkersCommand>,
    },
    /// List the requests of a fleet, open ones and those that ended last, show one, or end one
    Requests {
        #[command(subcommand)]
        command: Option<RequestsCommand>,
    },
    /// List the compiled artifacts of a fleet, show one, pin or remove some
    Artifacts {
        #[command(subcommand)]
        command: Option<ArtifactsCommand>,
    },
    /// Say what a request of a fleet waits for, or why it ended as it did
    Why(Why),
    /// Show the state of a fleet live: slots, queues, workers, requests
    ///
    /// Keys: q quits, tab turns pages, arrows select, enter says why a request waits, ? shows all. The user of the NATS
    /// connection needs the role observer or operator.
    #[cfg(feature = "top")]
    Top(Top),
    /// Print the events of a fleet: verdicts, workers that come and go, retries, refusals
    Events,
    /// Make and change the users of a fleet's NATS server
    #[command(subcommand)]
    Nats(NatsCommand),
    /// Put a fleet in the place of a node's own PVF workers
    #[command(subcommand)]
    Node(NodeCommand),
    /// Start a whole fleet on this machine, with one process for each role
    Up(Up),
    /// Make or show the keys that artifacts are signed with
    #[command(subcommand)]
    Keys(Keys),
}

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key pair: a file with the private key for prepare workers, and one with the public key for all others
    New {
        /// A folder, or the file of the private key; the public key's has the same name with the extension pub
        #[arg(long, default_value = ".", value_name = "DIR|FILE")]
        out: PathBuf,
    },
    /// Show the fingerprint of a key, as `pvf status` does
    Show {
        /// File with a private or a public key
        file: PathBuf,
    },
}

/// What `pvf nats` does.
#[derive(Debug, Subcommand)]
pub(crate) enum NatsCommand {
    /// Write users with new passwords, one of each role, and the server's permissions; nothing is overwritten
    Init {
        /// Folder to write to; it is made if it does not exist
        dir: PathBuf,
    },
    /// Add a user with a new password; the server must be told to reload its configuration
    AddUser {
        /// client, prepare-worker, execute-worker, coordinator, observer or operator
        role: permissions::Role,
        /// Name of the user, which is also its name in subjects
        name: UserName,
        /// Folder that `pvf nats init` has written
        dir: PathBuf,
    },
    /// Give a user a new password; the server must be told to reload its configuration
    Rotate {
        /// Name of the user
        name: UserName,
        /// Folder that `pvf nats init` has written
        dir: PathBuf,
    },
    /// Write the permissions of this version for the users and passwords that a folder has: after an upgrade
    ///
    /// Shows what is different (+ is added, - is taken away). The server must be told to reload its configuration.
    Render {
        /// Folder that `pvf nats init` has written
        dir: PathBuf,
        /// Only show what is different, and write nothing; exit code 1 if something is
        #[arg(long)]
        check: bool,
    },
    /// Print what a user may publish on and subscribe to
    Permissions {
        /// client, prepare-worker, execute-worker, coordinator, observer or operator
        role: permissions::Role,
        /// Name of the user; without it, a template for the names of JWTs
        name: Option<UserName>,
        /// As options of `nsc`
        #[arg(long)]
        nsc: bool,
    },
}

/// Commands that run one role of a fleet until SIGINT or SIGTERM.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Run the coordinator of a fleet (same as pvf-coordinator)
    #[command(disable_help_flag = true, override_usage = "pvf [OPTIONS] coordinator [COORDINATOR OPTIONS]")]
    Coordinator(RoleArgs),
    /// Run a prepare worker of a fleet (same as pvf-prepare-worker)
    #[command(disable_help_flag = true, override_usage = "pvf [OPTIONS] prepare-worker [WORKER OPTIONS]")]
    PrepareWorker(RoleArgs),
    /// Run an execute worker of a fleet (same as pvf-execute-worker)
    #[command(disable_help_flag = true, override_usage = "pvf [OPTIONS] execute-worker [WORKER OPTIONS]")]
    ExecuteWorker(RoleArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RoleArgs {
    /// Options of the role; run the command with --help to list them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ROLE OPTIONS")]
    pub(crate) rest: Vec<OsString>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Status {
    /// Only check that this role is present (a worker: on this machine); for health checks, exit code 3 if not
    #[arg(long, value_name = "ROLE")]
    pub(crate) health: Option<Role>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Check only what this role needs [default: everything that a worker needs]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Check that this machine has this x86-64 level: v1, v2 or v3
    #[arg(long, env = "PVF_CPU_BASELINE", value_name = "LEVEL")]
    pub(crate) cpu_baseline: Option<String>,
    /// Sandbox mechanism that may be missing, as in the worker's flag of this name
    #[arg(long, env = "PVF_ALLOW_MISSING", value_name = "NAME")]
    pub(crate) allow_missing: Vec<MechanismNames>,
}

/// A role of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Coordinator,
    PrepareWorker,
    ExecuteWorker,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Demo {
    /// Also write the validation code and each block's parameters to this folder, as input for other commands
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Up {
    /// Number of prepare workers, with one slot each
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) prepare_workers: u32,
    /// Number of execute workers, with one slot each [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) execute_workers: Option<u32>,
    /// Port of the NATS server that is started if --nats is not given
    #[arg(long, default_value_t = 4222, value_name = "PORT")]
    pub(crate) port: u16,
    /// Serve the page (of the coordinator), /livez, /readyz and /metrics: the coordinator on this address, the workers
    /// on the ports after it [default: 127.0.0.1:9616, or higher ports if those are in use]
    #[arg(long, env = "PVF_HTTP", value_name = "ADDR:PORT")]
    pub(crate) http: Option<SocketAddr>,
    /// Serve nothing over HTTP, also if --http or PVF_HTTP is given
    #[arg(long)]
    pub(crate) no_http: bool,
    /// Run jobs even if this sandbox mechanism is missing on this machine, as in the worker's flag of this name
    #[arg(long, env = "PVF_ALLOW_MISSING", value_name = "NAME")]
    pub(crate) allow_missing: Vec<MechanismNames>,
    /// Deprecated, use --allow-missing: run jobs whichever sandbox mechanisms are missing on this machine; only where
    /// all code is trusted
    #[arg(long)]
    pub(crate) insecure_best_effort: bool,
}
