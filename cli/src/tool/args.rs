//! What can be typed after `pvf`.

use clap::{Args as ClapArgs, Parser, Subcommand};
use pvf_shared::{
    bus::nats::parse_url,
    ids::FleetName,
    priority::ExecuteKind,
    units::{parse_duration, parse_timeout},
};
use std::{path::PathBuf, time::Duration};

/// Prepares and executes parachain validation functions (PVFs): embedded in this process, or on a fleet.
#[derive(Debug, Parser)]
#[command(name = "pvf", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 valid or ok; 1 invalid or rejected; 2 usage or bad input; \
3 not answered (internal error, expired, no fleet).";

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// Use the fleet behind this NATS server (nats://host:4222) instead of the embedded host
    #[arg(long, global = true, env = "PVF_NATS", hide_env_values = true, value_name = "URL", value_parser = parse_url)]
    pub(crate) nats: Option<String>,
    /// Artifacts and large inputs: a folder, file:///path, memory://, s3://bucket/prefix, gs://…, az://…
    /// [default: pvf/store in the user's cache folder]
    #[arg(long, global = true, env = "PVF_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
    /// The fleet's name
    #[arg(long, global = true, env = "PVF_FLEET", default_value_t, value_name = "NAME")]
    pub(crate) fleet: FleetName,
    /// File with the fleet's secret for artifact seals
    #[arg(long, global = true, env = "PVF_SEAL_KEY_FILE", value_name = "PATH")]
    pub(crate) seal_key_file: Option<PathBuf>,
    /// How long to wait for each answer
    #[arg(long, global = true, default_value = "30m", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) wait: Duration,
    /// One JSON object for each request on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log to stderr (twice: debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Can this validation code be prepared?
    Precheck(Precheck),
    /// Is this candidate valid?
    Execute(Execute),
    /// Have validation code prepared before it is needed
    HeadsUp(HeadsUp),
    /// The fleet as its coordinator sees it
    Status(Status),
    /// What this machine can and cannot do for a fleet, and what helps (exit code 1 if anything is red)
    Doctor(Doctor),
    /// A whole fleet on this machine
    Up(Up),
    /// Prepare a bundled PVF, execute a chain of blocks and a bad one, and show what happened
    Demo(Demo),
    /// The coordinator's role (as pvf-coordinator)
    #[command(disable_help_flag = true)]
    Coordinator,
    /// A prepare worker's role (as pvf-prepare-worker)
    #[command(disable_help_flag = true)]
    PrepareWorker,
    /// An execute worker's role (as pvf-execute-worker)
    #[command(disable_help_flag = true)]
    ExecuteWorker,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Status {
    /// Only whether this role is there (a worker: on this machine), for health checks
    #[arg(long, value_name = "ROLE")]
    pub(crate) health: Option<Role>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Only what this role needs [default: all that a worker needs]
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<Role>,
    /// Whether this machine has it: v1, v2 or v3 (x86-64 levels)
    #[arg(long, env = "PVF_CPU_BASELINE", value_name = "LEVEL")]
    pub(crate) cpu_baseline: Option<String>,
}

/// A role of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Coordinator,
    PrepareWorker,
    ExecuteWorker,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Precheck {
    /// Validation code, compressed or not
    pub(crate) code: PathBuf,
    /// Executor parameters: JSON or SCALE
    #[arg(long, value_name = "FILE")]
    pub(crate) executor_params: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HeadsUp {
    /// Validation codes, compressed or not
    #[arg(required = true)]
    pub(crate) code: Vec<PathBuf>,
    /// Executor parameters: JSON or SCALE
    #[arg(long, value_name = "FILE")]
    pub(crate) executor_params: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("input").required(true).multiple(true).args(["params", "block_data"]))]
pub(crate) struct Execute {
    /// Validation code, compressed or not
    pub(crate) code: PathBuf,
    /// SCALE-encoded ValidationParams; several files are a batch
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["parent_head", "block_data", "relay_parent_number", "relay_parent_storage_root"])]
    pub(crate) params: Vec<PathBuf>,
    /// Head data of the parent
    #[arg(long, value_name = "HEX|@FILE", required_unless_present = "params")]
    pub(crate) parent_head: Option<String>,
    /// The PoV's block data, compressed or not; several are a batch
    #[arg(long, value_name = "HEX|@FILE", num_args = 1..)]
    pub(crate) block_data: Vec<String>,
    /// Number of the relay parent
    #[arg(long, value_name = "N", required_unless_present = "params")]
    pub(crate) relay_parent_number: Option<u32>,
    /// Storage root of the relay parent
    #[arg(long, value_name = "HEX", required_unless_present = "params")]
    pub(crate) relay_parent_storage_root: Option<String>,
    /// Why: backing, backing-system, approval, dispute
    #[arg(long, default_value = "backing")]
    pub(crate) kind: ExecuteKind,
    /// CPU time limit, 1ms to 1h [default: what the executor parameters say for the kind]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Execute it even if the same validation is under way for somebody else
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Executor parameters: JSON or SCALE
    #[arg(long, value_name = "FILE")]
    pub(crate) executor_params: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Demo {
    /// Also write the code and each block's parameters to this folder, to try the other commands on them
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Up {
    /// Prepare workers, of one slot each
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) prepare_workers: u32,
    /// Execute workers, of one slot each [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) execute_workers: Option<u32>,
    /// Port of the NATS server that is started when --nats is not given
    #[arg(long, default_value_t = 4222, value_name = "PORT")]
    pub(crate) port: u16,
    /// Workers go on with those mechanisms of the sandbox that work here: only where all code is trusted
    #[arg(long)]
    pub(crate) insecure_best_effort: bool,
}
