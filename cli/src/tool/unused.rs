//! Options that are given on the command line and that the command does not use: each is a warning.
//!
//! A command that sends requests to a fleet has neither a store nor keys: the fleet's roles have. The variables of
//! these options are no reason for a warning, because a shell may have them for the roles.

use super::args::{Global, Request};
use clap::{ArgMatches, parser::ValueSource};

/// Options of the embedded host and of roles: the id in the command line's matches, and the name.
const OF_HOSTS: [(&str, &str); 5] = [
    ("store", "--store"),
    ("cache_dir", "--cache-dir"),
    ("signing_key", "--signing-key"),
    ("trusted_keys", "--trusted-key"),
    ("unsigned", "--unsigned"),
];

/// One warning, if options are given and not used. `matches` are those of the command, which clap fills with the
/// options of `pvf` wherever they stand.
pub(crate) fn warning(request: &Request, global: &Global, matches: &ArgMatches) -> Option<String> {
    let asks_a_fleet = match request {
        Request::Precheck(_)
        | Request::Execute(_)
        | Request::HeadsUp(_)
        | Request::Bench(_)
        | Request::Check(_)
        | Request::Watch(_)
        | Request::Sweep(_)
        | Request::Follow(_)
        | Request::Demo(_)
        | Request::Replay(_)
        | Request::Workers { .. }
        | Request::Requests { .. }
        | Request::Artifacts { .. }
        | Request::Why(_)
        | Request::Status(_)
        | Request::Drain(_)
        | Request::Events => global.bus.is_some(),
        #[cfg(feature = "top")]
        Request::Top(_) => global.bus.is_some(),
        Request::Doctor(_)
        | Request::Nats(_)
        | Request::Network(_)
        | Request::Node(_)
        | Request::Up(_)
        | Request::Keys(_)
        | Request::Bundle(_) => false,
    };
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let unused: Vec<_> = OF_HOSTS.iter().filter(|(id, _)| asks_a_fleet && typed(id)).map(|(_, name)| *name).collect();
    let is = match unused.len() {
        0 => return None,
        1 => "is",
        _ => "are",
    };
    let why = "a fleet's store and keys are those of its roles, and its workers pull code and PoVs from this command";
    Some(format!("{} {is} not used: {why}", unused.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{
        super::args::{Args, Command},
        *,
    };
    use clap::{CommandFactory as _, FromArgMatches as _};

    fn warning_of(line: &str) -> Option<String> {
        let matches = Args::command().try_get_matches_from(line.split(' ')).unwrap();
        let args = Args::from_arg_matches(&matches).unwrap();
        let Command::Request(request) = &args.command else { panic!("{line} is a request") };
        let own = matches.subcommand().map_or(&matches, |(_, own)| own);
        warning(request, &args.global.resolved().unwrap(), own)
    }

    #[test]
    fn what_a_client_of_a_fleet_does_not_use_is_named_wherever_it_stands() {
        for line in [
            "pvf --nats h:1 --store /s precheck code",
            "pvf precheck code --store /s --nats h:1",
            "pvf --store /s heads-up code --nats h:1",
            "pvf --store=/s demo --nats h:1",
            "pvf --nats h:1 status --store /s",
            "pvf --nats h:1 drain a --store /s",
            "pvf --nats h:1 workers ls --store /s",
            "pvf --nats h:1 --store /s why a",
            "pvf --nats h:1 bench --code a --params b --store /s",
        ] {
            assert!(warning_of(line).is_some_and(|text| text.starts_with("--store is not used: ")), "{line}");
        }
        let several = warning_of("pvf --nats h:1 --cache-dir /c --unsigned --store /s status").unwrap();
        assert!(several.starts_with("--store, --cache-dir, --unsigned are not used: "), "{several}");
    }

    #[test]
    fn what_is_used_is_no_warning() {
        for line in [
            "pvf --store /s precheck code",
            "pvf --embedded --nats h:1 --store /s precheck code",
            "pvf --nats h:1 --store /s doctor",
            "pvf --nats h:1 --store /s --unsigned up",
            "pvf --nats h:1 status",
        ] {
            assert_eq!(warning_of(line), None, "{line}");
        }
    }
}
