//! The command line of `pvf`.

#[macro_use]
mod stdout;

mod ago;
mod api;
mod args;
mod bench;
mod bundles;
mod check;
mod commands;
mod demo;
mod differences;
mod doctor;
mod drain;
mod events;
mod explain;
mod failure;
mod files;
mod fleet;
mod follow;
mod input;
mod keys;
mod manual;
mod nats;
mod network;
mod node;
mod operate;
mod output;
mod progress;
mod replay;
mod request_args;
mod roles;
mod status;
mod sweep;
mod table;
mod target;
mod text;
#[cfg(feature = "top")]
mod top;
mod unused;
mod up;
mod usage;
mod watch;

use args::{Args, Command, Global, Request};
use clap::{ArgMatches, FromArgMatches as _};
use failure::{Exit, Failure};
use pvf_shared::{
    telemetry::{LogFormat, to_stderr},
    traces,
};
use std::process::ExitCode;

/// The command line of `pvf`, for what is made of its description.
pub fn command() -> clap::Command {
    manual::command()
}

/// The variable that names the span which this process works for.
const TRACEPARENT: &str = "TRACEPARENT";

/// Runs the command line of this process. `failure::EXIT_CODES` has the exit codes.
pub fn main() -> ExitCode {
    pvf_worker::machine::survive_file_size_limit();
    let matches = manual::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match &args.command {
        Command::Role(role) => return run_role(role, &args.global, &matches),
        Command::Manual(command) => manual::run(command, &args.global),
        Command::Request(request) => run_request(request, &args.global, of_command(&matches)),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    // It may quote a file or another machine.
    to_stderr(format_args!("error: {}", text::escaped_lines(&failure.to_string())));
    failure.exit().into()
}

/// The matches of the command, without those before it.
fn of_command(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, own)| own)
}

fn run_role(role: &args::RoleCommand, global: &Global, matches: &ArgMatches) -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    match role.arguments(global, of_command(matches)) {
        Ok(arguments) => role.run(program, arguments),
        Err(failure) => fail(&failure),
    }
}

fn run_request(request: &Request, global: &Global, matches: &ArgMatches) -> Result<Exit, Failure> {
    // What a command waits for is logged by default, a lost connection to the bus or a coordinator that does not
    // answer: otherwise it would wait without a word.
    let filter = match request {
        // It runs as long as the node does.
        Request::Node(node::args::NodeCommand::Serve(_)) => "info",
        // Lines of a log would be written over the display, which says itself what is wrong.
        #[cfg(feature = "top")]
        Request::Top(args) if !args.once => "off",
        _ => "error,pvf_shared::bus=warn,pvf_shared::client=warn,pvf_worker::sandbox=warn",
    };
    let format = match request {
        Request::Node(node::args::NodeCommand::Serve(serve)) => serve.log_format,
        _ => LogFormat::Text,
    };
    pvf_shared::telemetry::init(global.verbose, filter, format);
    let traced = global.traces.init("pvf").map_err(Failure::Input)?;
    let runtime = pvf_shared::runtime::runtime_on_all_cores();
    let runtime = runtime.map_err(|error| Failure::no_result("async runtime", error))?;
    let global = &global.resolved()?;
    if let Some(unused) = unused::warning(request, global, matches) {
        to_stderr(format_args!("warning: {unused}"));
    }
    // Set by a program that traces its own work: <https://opentelemetry.io/docs/specs/otel/context/env-carriers/>.
    let parent = std::env::var(TRACEPARENT).ok().and_then(|text| text.parse().ok());
    let result = runtime.block_on(traces::within(parent, async {
        match request {
            Request::Precheck(args) => commands::precheck(global, args).await,
            Request::Execute(args) => commands::execute(global, args).await,
            Request::HeadsUp(args) => commands::heads_up(global, args).await,
            Request::Bench(args) => Box::pin(bench::bench(global, args, matches)).await,
            Request::Check(args) => Box::pin(check::check(global, args)).await,
            Request::Watch(args) => Box::pin(watch::watch(global, args)).await,
            Request::Sweep(args) => Box::pin(sweep::sweep(global, args)).await,
            Request::Follow(args) => Box::pin(follow::follow(global, args)).await,
            Request::Network(command) => Box::pin(network::show::network(command, global.json)).await,
            Request::Status(args) => status::status(global, args).await,
            Request::Drain(args) => drain::drain(global, args).await,
            Request::Workers { command } => fleet::workers(global, command.as_ref()).await,
            Request::Requests { command } => fleet::requests(global, command.as_ref()).await,
            Request::Artifacts { command } => fleet::artifacts(global, command.as_ref()).await,
            Request::Why(args) => api::why(global, args).await,
            #[cfg(feature = "top")]
            Request::Top(args) => Box::pin(top::top(global, args)).await,
            Request::Events => events::events(global).await,
            Request::Nats(command) => nats::nats(global, command),
            Request::Node(command) => node::run(command, global).await,
            Request::Doctor(args) => doctor::doctor(global, args).await,
            Request::Up(args) => up::up(global, args).await,
            Request::Replay(args) => replay::replay(global, args).await,
            Request::Bundle(command) => bundles::run(command, global.json),
            Request::Keys(command) => keys::run(command, global.json),
            Request::Demo(args) => demo::demo(global, args).await,
        }
    }));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    drop(traced);
    result
}
