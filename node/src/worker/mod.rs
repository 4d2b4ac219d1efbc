//! The worker executables: their command line, and the loop that answers a node.

mod artifacts;
mod code_len;
mod execute;
mod overhead;
mod prepare;
mod probe;
mod route;
mod session;

use crate::config::{Config, VersionMatch};
use clap::{Args as ClapArgs, Parser, Subcommand};
use pvf_shared::telemetry::to_stderr;
use std::{path::PathBuf, process::ExitCode};
use tokio::runtime::{Builder, Runtime};

/// A PVF worker of the Polkadot node that has its jobs done by a pvf-fleet.
///
/// A node starts it as polkadot-prepare-worker and as polkadot-execute-worker from the folder of --workers-path. Its
/// settings are in pvf-node.toml beside the executable, or in /etc/pvf; `pvf node install` writes both.
#[derive(Debug, Parser)]
#[command(name = "pvf-node-worker", disable_version_flag = true, arg_required_else_help = true)]
struct Args {
    /// Print the version of the node that the settings name
    #[arg(short = 'v', long)]
    version: bool,
    /// Print the version of the node that the settings name, and that of this program
    #[arg(long)]
    full_version: bool,
    #[command(flatten)]
    probes: Probes,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Questions about security. The exit code is 0 for yes and 1 for no, with the reason on stderr.
#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
struct Probes {
    /// Whether all workers of the fleet have landlock
    #[arg(long)]
    check_can_enable_landlock: bool,
    /// Whether all workers of the fleet have seccomp
    #[arg(long)]
    check_can_enable_seccomp: bool,
    /// Whether all workers of the fleet have user and mount namespaces and an empty root; the folder is not used
    #[arg(long, value_name = "DIR")]
    check_can_unshare_user_namespace_and_change_root: Option<PathBuf>,
    /// Whether all workers of the fleet have the other namespaces
    #[arg(long)]
    check_can_do_secure_clone: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a node's preparations
    PrepareWorker(WorkerArgs),
    /// Answer a node's executions
    ExecuteWorker(WorkerArgs),
}

/// What a node says to each of its workers.
#[derive(Debug, ClapArgs)]
struct WorkerArgs {
    /// Version of the node
    #[arg(long, value_name = "VERSION")]
    node_impl_version: Option<String>,
    /// Socket of the node; it is removed after the connection
    #[arg(long, value_name = "PATH")]
    socket_path: PathBuf,
    /// Folder for artifacts
    #[arg(long, value_name = "DIR")]
    worker_dir_path: PathBuf,
}

/// Exit code of an answer that is no, and of a worker that failed.
const FAILED: u8 = 1;
/// Exit code for a wrong command line or wrong settings.
const USAGE: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::find() {
        Ok(config) => config,
        Err(why) => return fail(USAGE, &why),
    };
    if args.version || args.full_version {
        let own = if args.full_version { concat!(" (pvf-fleet ", env!("CARGO_PKG_VERSION"), ")") } else { "" };
        println!("{}{own}", config.node.version);
        return ExitCode::SUCCESS;
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &format!("async runtime: {error}")),
    };
    let done = match (args.probes.asked(), &args.command) {
        // Only the reason goes to stderr: the node shows it.
        (Some(probe), _) => runtime.block_on(probe::answer(&config, probe)),
        (None, Some(command)) => {
            pvf_shared::telemetry::init_without_blocking(&config.log);
            work(&runtime, config, command)
        }
        (None, None) => return fail(USAGE, "one of prepare-worker, execute-worker or an option is required"),
    };
    // A task that hangs must not keep the process.
    runtime.shutdown_background();
    done.map_or_else(|why| fail(FAILED, &why), |()| ExitCode::SUCCESS)
}

/// Two threads, so that a task that holds one for long is not in the way of an answer in time.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn work(runtime: &Runtime, config: Config, command: &Command) -> Result<(), String> {
    let (Command::PrepareWorker(args) | Command::ExecuteWorker(args)) = command;
    check_version(&config, args)?;
    let key = config.artifact_key()?;
    runtime.block_on(async {
        let session = session::Session::open(config, args).await?;
        match command {
            Command::PrepareWorker(args) => prepare::run(session, &args.worker_dir_path).await,
            Command::ExecuteWorker(args) => execute::run(session, &args.worker_dir_path, key).await,
        }
    })
}

/// What the node's own workers do where the versions differ, if the settings want it.
fn check_version(config: &Config, args: &WorkerArgs) -> Result<(), String> {
    let Some(of_node) = &args.node_impl_version else { return Ok(()) };
    let own = &config.node.version;
    if config.node.version_match == VersionMatch::Node || of_node == own {
        return Ok(());
    }
    if let Some(node) = rustix::process::getppid() {
        let _ = rustix::process::kill_process(node, rustix::process::Signal::TERM);
    }
    Err(format!(
        "the node has version {of_node}, and node.version of pvf-node.toml is {own}: the node must be restarted"
    ))
}

fn fail(code: u8, why: &str) -> ExitCode {
    to_stderr(format_args!("error: {why}"));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Probe;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_lines_of_a_node_are_understood() {
        Args::command().debug_assert();
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        for probe in Probe::ALL {
            let folder = if probe == Probe::ChangeRoot { " /tmp/x" } else { "" };
            let args = parse(&format!("polkadot-prepare-worker {}{folder}", probe.option())).unwrap();
            assert_eq!(args.probes.asked(), Some(probe));
        }
        for option in ["--version", "-v"] {
            assert!(parse(&format!("polkadot-execute-worker {option}")).unwrap().version);
        }
        let line = "w execute-worker --node-impl-version 1.25.1 --socket-path /s --worker-dir-path /d";
        let Some(Command::ExecuteWorker(args)) = parse(line).unwrap().command else { panic!("an execute worker") };
        assert_eq!(args.node_impl_version.as_deref(), Some("1.25.1"));
        let line = "w prepare-worker --socket-path /s --worker-dir-path /d";
        assert!(matches!(parse(line).unwrap().command, Some(Command::PrepareWorker(_))));
        assert!(parse("w prepare-worker --socket-path /s").is_err());
        assert!(parse("w prepare-worker --socket-path /s --worker-dir-path /d --new 1").is_err());
    }
}
