//! The command line of `pvf`.

mod args;
mod commands;
mod demo;
mod doctor;
mod input;
mod output;
mod target;
mod up;

use args::{Args, Command};
use clap::Parser as _;
use std::process::ExitCode;

/// How a command can fail, and the exit code of each.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Usage or bad input: exit code 2.
    Input(String),
    /// No answer: exit code 3.
    NotAnswered(String),
}

/// Runs the command line. Exit codes: 0 valid or ok; 1 invalid or rejected; 2 usage or bad input; 3 not answered.
pub fn main() -> ExitCode {
    // The roles of a fleet, so that one executable is enough to run it all.
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    match words.next().as_deref().and_then(|w| w.to_str()) {
        Some("coordinator") => return pvf_coordinator::cli::main(std::iter::once(program).chain(words)),
        Some(role @ ("prepare-worker" | "execute-worker")) => return pvf_worker::cli::main(role, words),
        _ => {}
    }
    let args = Args::parse();
    // That the fleet's bus is gone is worth a line: nothing else would be said until the wait is over.
    pvf_shared::telemetry::init(args.global.verbose, "error,pvf_shared::bus=warn,pvf_worker::sandbox=warn", false);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::from(3);
        }
    };
    let result = runtime.block_on(async {
        match &args.command {
            Command::Precheck(a) => commands::precheck(&args.global, a).await,
            Command::Execute(a) => commands::execute(&args.global, a).await,
            Command::HeadsUp(a) => commands::heads_up(&args.global, a).await,
            Command::Status(a) => commands::status(&args.global, a).await,
            Command::Doctor(a) => doctor::doctor(&args.global, a).await,
            Command::Up(a) => up::up(&args.global, a).await,
            Command::Demo(a) => demo::demo(&args.global, a).await,
            // Answered above, before the arguments were parsed: the workers have their own.
            Command::Coordinator | Command::PrepareWorker | Command::ExecuteWorker => Ok(0),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Input(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
        Err(Failure::NotAnswered(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(3)
        }
    }
}
