//! The roles of a fleet as commands of `pvf`: `pvf [OPTIONS] coordinator [ROLE OPTIONS]`.
//!
//! Each role parses its own command line. Options of `pvf` that stand before the role's name, or before the first
//! option that only the role knows, are forwarded to it; an option that the role does not have is refused. So an
//! option is never dropped silently.

use super::{
    args::{Global, RoleArgs, RoleCommand},
    failure::Failure,
};
use clap::{ArgMatches, parser::ValueSource};
use std::ffi::OsString;

/// Options of `pvf` that the roles do not have, and the option to use instead.
const REFUSED: [(&str, &str); 2] = [
    ("json", "a role writes its log as JSON with --log-format json"),
    ("wait", "it is for commands that wait for a verdict"),
];

impl RoleCommand {
    fn parts(&self) -> (&'static str, &RoleArgs) {
        match self {
            Self::Coordinator(args) => ("coordinator", args),
            Self::PrepareWorker(args) => ("prepare-worker", args),
            Self::ExecuteWorker(args) => ("execute-worker", args),
        }
    }

    /// The command line of the role, without the program's name. `matches` are those of the role's subcommand, which
    /// clap fills with the options of `pvf` wherever they stand.
    pub(crate) fn arguments(&self, global: &Global, matches: &ArgMatches) -> Result<Vec<OsString>, Failure> {
        let (role, args) = self.parts();
        // The role reads the environment variables itself.
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let coordinator = matches!(self, Self::Coordinator(_));
        if coordinator && typed("cache_dir") {
            let why = "it is for workers: the coordinator has no copies of artifacts";
            return Err(Failure::Input(format!("--cache-dir is not an option of `pvf coordinator`: {why}")));
        }
        if let Some((option, instead)) = REFUSED.iter().find(|(option, _)| typed(option)) {
            return Err(Failure::Input(format!("--{option} is not an option of `pvf {role}`: {instead}")));
        }
        if typed("embedded") {
            let why = "a role is part of a fleet";
            return Err(Failure::Input(format!("--embedded is not an option of `pvf {role}`: {why}")));
        }
        let mut arguments = global.nats.forwarded(&typed);
        let mut forward = |option: &str, value: OsString| arguments.extend([format!("--{option}").into(), value]);
        if let (true, Some(url)) = (typed("store"), &global.store) {
            forward("store", url.into());
        }
        if typed("fleet") {
            forward("fleet", global.fleet.as_str().into());
        }
        if let (true, Some(path)) = (typed("cache_dir"), &global.cache_dir) {
            forward("cache-dir", path.into());
        }
        if let (true, Some(url)) = (typed("otlp_endpoint"), &global.traces.otlp_endpoint) {
            forward("otlp-endpoint", url.into());
        }
        arguments.extend(global.keys.forwarded(&typed));
        arguments.extend((0..global.verbose).map(|_| OsString::from("-v")));
        arguments.extend_from_slice(&args.rest);
        Ok(arguments)
    }

    /// Runs the role until it ends.
    pub(crate) fn run(&self, program: OsString, arguments: Vec<OsString>) -> std::process::ExitCode {
        match self {
            Self::Coordinator(_) => pvf_coordinator::cli::main(std::iter::once(program).chain(arguments)),
            Self::PrepareWorker(_) | Self::ExecuteWorker(_) => pvf_worker::cli::main(self.parts().0, arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::{Args, Command};
    use clap::{CommandFactory as _, FromArgMatches as _};

    fn arguments(line: &str) -> Result<Vec<String>, String> {
        let matches = Args::command().try_get_matches_from(line.split(' ')).map_err(|e| e.to_string())?;
        let args = Args::from_arg_matches(&matches).map_err(|e| e.to_string())?;
        let (_, matches) = matches.subcommand().unwrap();
        let Command::Role(role) = args.command else { panic!("{line} is a role") };
        let arguments = role.arguments(&args.global, matches).map_err(|e| e.to_string())?;
        Ok(arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn options_are_forwarded_wherever_they_stand() {
        for role in ["coordinator", "prepare-worker", "execute-worker"] {
            let whole = ["--nats", "nats://h:1", "--store", "/s", "--fleet", "f", "--trusted-key", "k", "-v"];
            for line in [
                format!("pvf --nats nats://h:1 --store /s --fleet f --trusted-key k -v {role}"),
                format!("pvf --nats=nats://h:1 --store=/s --fleet=f --trusted-key=k --verbose {role}"),
                format!("pvf {role} --nats nats://h:1 --store /s --fleet f --trusted-key k -v"),
                format!("pvf --store /s -v {role} --nats=nats://h:1 --fleet f --trusted-key k"),
            ] {
                assert_eq!(arguments(&line).unwrap(), whole, "{line}");
            }
        }
    }

    #[test]
    fn options_of_the_role_reach_it_unchanged() {
        let own = ["--slots", "2", "--nats", "nats://h:1", "--log-format", "json", "-vv", "--help"];
        assert_eq!(arguments(&format!("pvf prepare-worker {}", own.join(" "))).unwrap(), own);
        let both = ["--store", "/s", "--config=c.toml", "--http", "127.0.0.1:9615"];
        assert_eq!(arguments("pvf --store /s coordinator --config=c.toml --http 127.0.0.1:9615").unwrap(), both);
        for only in ["--help", "-h", "--version", "--unknown", "word"] {
            assert_eq!(arguments(&format!("pvf execute-worker {only}")).unwrap(), [only]);
        }
        assert_eq!(arguments("pvf coordinator").unwrap(), [""; 0]);
    }

    #[test]
    fn options_that_a_role_does_not_have_are_refused() {
        for role in ["coordinator", "prepare-worker", "execute-worker"] {
            for line in [format!("pvf --json {role}"), format!("pvf {role} --json")] {
                let error = arguments(&line).unwrap_err();
                assert!(error.contains(&format!("--json is not an option of `pvf {role}`")), "{error}");
            }
            assert!(arguments(&format!("pvf --wait 5s {role}")).unwrap_err().contains("--wait"));
        }
        assert!(arguments("pvf --cache-dir /c coordinator").unwrap_err().contains("--cache-dir is not an option"));
    }

    #[test]
    fn the_cache_folder_is_forwarded_to_workers() {
        for role in ["prepare-worker", "execute-worker"] {
            for line in [format!("pvf --cache-dir /c {role}"), format!("pvf {role} --cache-dir /c")] {
                assert_eq!(arguments(&line).unwrap(), ["--cache-dir", "/c"]);
            }
        }
    }
}
