//! The options of `pvf node`.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use pvf_shared::{http::LabelArgs, telemetry::LogFormat};
use std::{net::SocketAddr, path::PathBuf};

/// What `pvf node` does.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Write worker executables and their settings to a folder for a node's --workers-path, and check the fleet
    ///
    /// The connection is that of the --nats options. They are written to the settings, so secrets must be in files that
    /// the node's user can read. Exit code 1 if the fleet does not have what a node in secure validator mode asks for.
    Install(Box<Install>),
    /// Answer the worker executables of this machine: the connection to the fleet that they share
    ///
    /// Runs until SIGINT or SIGTERM.
    Serve(Serve),
}

/// How the node's version is compared.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Match {
    /// Take whatever version the node says to a worker
    Node,
    /// End the node if its version is another one, as its own workers do
    Exact,
}

/// What to do without an answer of the fleet.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Fallback {
    /// Answer an internal error: the node does not vote
    Internal,
    /// Execute the candidate in the node service, on this machine
    Local,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Install {
    /// Folder to write to; it is made if it does not exist
    pub(crate) dir: PathBuf,
    /// Version of the node without name and commit, for instance 1.25.1: what its own workers say to --version
    #[arg(long, value_name = "VERSION")]
    pub(crate) node_version: String,
    /// What a worker does if the node says another version when it starts it
    #[arg(long = "match", value_enum, default_value = "node")]
    pub(crate) version_match: Match,
    /// What to do without an answer of the fleet
    #[arg(long, value_enum, default_value = "internal")]
    pub(crate) fallback: Fallback,
    /// Socket of `pvf node serve`
    #[arg(long, value_name = "PATH", default_value = pvf_node::config::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// The user that the node runs as; the settings and the key are given to it. Needs root
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The program to install [default: pvf-node-worker beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) worker_executable: Option<PathBuf>,
    /// Do not ask the fleet whether it has what a node asks for
    #[arg(long)]
    pub(crate) no_check: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// The settings that `pvf node install` has written
    #[arg(long, value_name = "FILE", default_value = pvf_node::config::SYSTEM_FILE)]
    pub(crate) config: PathBuf,
    /// Serve /livez, /readyz and /metrics on this address
    #[arg(long, env = "PVF_HTTP", value_name = "ADDR:PORT")]
    pub(crate) http: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Format of the log, which goes to stderr; auto: text on a terminal, JSON otherwise
    #[arg(long, env = "PVF_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}
