//! Examples of every command, which its help and its page show. A test parses each.

use clap::Command;

/// A command without `pvf`, and what a user may type. What follows two spaces and `#` is a comment.
type Example = (&'static str, &'static [&'static str]);

/// In the order of the help.
const EXAMPLES: &[Example] = &[
    (
        "",
        &[
            "pvf demo --files try",
            "pvf execute try/adder.wasm --params try",
            "pvf check runtime.wasm --network polkadot --pov povs/",
            "pvf up  # a fleet on this machine",
            "pvf --nats nats://127.0.0.1:4222 status",
        ],
    ),
    ("demo", &["pvf demo", "pvf demo --files try  # then: pvf execute try/adder.wasm --params try"]),
    ("doctor", &["pvf doctor", "pvf doctor --role coordinator --store s3://bucket/pvf --json"]),
    ("precheck", &["pvf precheck runtime.wasm", "pvf precheck runtime.wasm --network polkadot --json"]),
    (
        "execute",
        &[
            "pvf execute runtime.wasm --params params.scale",
            "pvf execute runtime.wasm --pov povs/ --network polkadot --explain",
            "pvf execute runtime.wasm --parent-head @head --block-data @pov --relay-parent-number 123 \
             --relay-parent-storage-root 0x00 --kind approval",
            "pvf --nats nats://127.0.0.1:4222 execute runtime.wasm --params params.scale  # on a fleet",
        ],
    ),
    ("heads-up", &["pvf --nats nats://127.0.0.1:4222 heads-up runtime.wasm --wait-prepared"]),
    (
        "bench",
        &[
            "pvf bench --code runtime.wasm --pov povs/ --duration 1m",
            "pvf bench --code a.wasm --params a/ --code b.wasm --params b/ --concurrency 8 --requests 1000",
            "pvf --nats nats://127.0.0.1:4222 bench --code runtime.wasm --pov povs/ --rate 20/s",
        ],
    ),
    (
        "check",
        &[
            "pvf check runtime.wasm --network polkadot --pov povs/",
            "pvf check old.wasm new.wasm --network polkadot --pov povs/ --pov-new povs-new/",
        ],
    ),
    ("watch", &["pvf watch povs/ --code runtime.wasm --keep-failed failed/"]),
    (
        "sweep",
        &["pvf sweep codes/ --out today.json", "pvf sweep --network https://rpc.example.org --baseline before.json"],
    ),
    ("follow", &["pvf --nats nats://127.0.0.1:4222 follow --rpc https://rpc.example.org"]),
    ("network", &["pvf network show polkadot"]),
    ("network fetch", &["pvf network fetch --rpc https://rpc.example.org --out polkadot.json"]),
    ("network show", &["pvf network show polkadot", "pvf network show snapshot.json --json"]),
    (
        "replay",
        &["pvf replay bundles/3f2a.pvfbundle", "pvf --nats nats://127.0.0.1:4222 replay bundles/3f2a.pvfbundle"],
    ),
    ("bundle", &["pvf bundle list bundles/"]),
    ("bundle show", &["pvf bundle show bundles/3f2a.pvfbundle"]),
    ("bundle list", &["pvf bundle list bundles/ --json"]),
    ("bundle extract", &["pvf bundle extract bundles/3f2a.pvfbundle --out candidate/"]),
    ("bundle prune", &["pvf bundle prune bundles/ --keep-age 7d --keep-bytes 512MiB"]),
    (
        "status",
        &[
            "pvf --nats nats://127.0.0.1:4222 status",
            "pvf --nats nats://127.0.0.1:4222 status --health execute-worker  # of a container",
        ],
    ),
    (
        "drain",
        &[
            "pvf --nats nats://127.0.0.1:4222 drain execute.alice.0198c2f3a7",
            "pvf --nats nats://127.0.0.1:4222 drain --host rack7 --wait 10m",
        ],
    ),
    (
        "workers",
        &["pvf --nats nats://127.0.0.1:4222 workers", "pvf --nats nats://127.0.0.1:4222 workers drain --host rack7"],
    ),
    ("workers ls", &["pvf --nats nats://127.0.0.1:4222 workers ls --kind execute --state suspect"]),
    ("workers drain", &["pvf --nats nats://127.0.0.1:4222 workers drain execute.alice.0198c2f3a7"]),
    (
        "requests",
        &["pvf --nats nats://127.0.0.1:4222 requests", "pvf --nats nats://127.0.0.1:4222 requests show 0198c2f3"],
    ),
    ("requests ls", &["pvf --nats nats://127.0.0.1:4222 requests ls --state slow --kind approval"]),
    ("requests show", &["pvf --nats nats://127.0.0.1:4222 requests show 0198c2f3"]),
    (
        "requests cancel",
        &[
            "pvf --nats nats://127.0.0.1:4222 requests cancel 0198c2f3",
            "pvf --nats nats://127.0.0.1:4222 --nats-user ops --nats-password-file ops.password requests cancel 0198c2f3",
        ],
    ),
    (
        "artifacts",
        &["pvf --nats nats://127.0.0.1:4222 artifacts", "pvf --nats nats://127.0.0.1:4222 artifacts inspect 5d1f8a"],
    ),
    ("artifacts ls", &["pvf --nats nats://127.0.0.1:4222 artifacts ls --sort bytes --limit 20"]),
    ("artifacts inspect", &["pvf --nats nats://127.0.0.1:4222 artifacts inspect 5d1f8a --json"]),
    (
        "artifacts pin",
        &["pvf --nats nats://127.0.0.1:4222 artifacts pin \
           5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b"],
    ),
    (
        "artifacts unpin",
        &["pvf --nats nats://127.0.0.1:4222 artifacts unpin \
           5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b"],
    ),
    (
        "artifacts rm",
        &[
            "pvf --nats nats://127.0.0.1:4222 artifacts rm \
             5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b5d1f8a0b",
            "pvf --nats nats://127.0.0.1:4222 artifacts rm --artifact wt36.0.20-x86_64-v3-0011223344556677/5d1f8a0b",
        ],
    ),
    (
        "artifacts prune",
        &[
            "pvf --nats nats://127.0.0.1:4222 artifacts prune --older-than 7d --dry-run",
            "pvf --nats nats://127.0.0.1:4222 artifacts prune",
        ],
    ),
    ("why", &["pvf --nats nats://127.0.0.1:4222 why 0198c2f3"]),
    ("top", &["pvf --nats nats://127.0.0.1:4222 top", "pvf --nats nats://127.0.0.1:4222 top --once --page workers"]),
    ("events", &["pvf --nats nats://127.0.0.1:4222 events --json"]),
    ("nats", &["pvf nats init secrets/"]),
    ("nats init", &["pvf nats init secrets/", "pvf --fleet second nats init secrets-second/"]),
    ("nats add-user", &["pvf nats add-user client validator-1 secrets/"]),
    ("nats rotate", &["pvf nats rotate validator-1 secrets/"]),
    ("nats render", &["pvf nats render --check secrets/", "pvf nats render secrets/"]),
    ("nats permissions", &["pvf nats permissions observer grafana", "pvf nats permissions client --nsc"]),
    ("node", &["pvf node serve --config /etc/pvf/pvf-node.toml"]),
    ("node install", &["pvf --nats nats://127.0.0.1:4222 node install /opt/pvf-workers --node-version 1.25.1"]),
    ("node serve", &["pvf node serve --config /opt/pvf-workers/pvf-node.toml --http 127.0.0.1:9620"]),
    ("up", &["pvf up", "pvf up --prepare-workers 2 --execute-workers 8 --http 127.0.0.1:9616"]),
    ("keys", &["pvf keys new --out secrets/"]),
    ("keys new", &["pvf keys new --out secrets/"]),
    ("keys show", &["pvf keys show secrets/signing.pub"]),
    (
        "coordinator",
        &["pvf coordinator --nats nats://127.0.0.1:4222 --store s3://bucket/pvf --trusted-key secrets/signing.pub"],
    ),
    (
        "prepare-worker",
        &["pvf prepare-worker --nats nats://127.0.0.1:4222 --store s3://bucket/pvf --signing-key secrets/signing.key"],
    ),
    (
        "execute-worker",
        &["pvf execute-worker --nats nats://127.0.0.1:4222 --store s3://bucket/pvf --trusted-key secrets/signing.pub"],
    ),
    (
        "completions",
        &[
            "pvf completions bash > /etc/bash_completion.d/pvf",
            "pvf completions zsh > ~/.zfunc/_pvf",
            "pvf completions fish > ~/.config/fish/completions/pvf.fish",
        ],
    ),
    ("man", &["pvf man > pvf.1  # man ./pvf.1", "pvf man --dir /usr/local/share/man/man1"]),
];

/// The command with examples in its help, and in that of all below it.
pub(super) fn with_examples(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, path: &str) -> Command {
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}").trim_start().to_owned();
        command = command.mut_subcommand(&name, |sub| below(sub, &path));
    }
    let Some((_, lines)) = EXAMPLES.iter().find(|(of, _)| *of == path) else { return command };
    let examples = lines.iter().fold("Examples:".to_owned(), |text, line| format!("{text}\n  {line}"));
    let before = command.get_after_help().map(|text| format!("\n\n{text}")).unwrap_or_default();
    command.after_help(examples + &before)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::names, *};
    use crate::tool::{args::Args, manual::command};
    use clap::CommandFactory as _;

    /// The words of an example, without a comment and without where the output goes.
    fn words(example: &str) -> Vec<&str> {
        let command = example.split("  #").next().unwrap().split(" > ").next().unwrap();
        command.split_whitespace().collect()
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        let whole = command();
        for name in names(&whole, "") {
            assert!(EXAMPLES.iter().any(|(of, lines)| *of == name && !lines.is_empty()), "pvf {name} has no example");
            let mut of = &whole;
            for part in name.split(' ') {
                of = of.find_subcommand(part).unwrap();
            }
            let help = of.clone().render_long_help().to_string();
            assert!(help.contains("Examples:\n  pvf "), "pvf {name}: {help}");
        }
    }

    #[test]
    fn every_example_is_of_its_command_and_parses() {
        let known = names(&Args::command(), "");
        for (name, lines) in EXAMPLES {
            if cfg!(not(feature = "top")) && *name == "top" {
                continue;
            }
            assert!(name.is_empty() || known.iter().any(|known| known == name), "there is no command pvf {name}");
            for line in *lines {
                let matches = command().try_get_matches_from(words(line)).unwrap_or_else(|e| panic!("{line}: {e}"));
                let mut called = Vec::new();
                let mut matches = &matches;
                while let Some((sub, own)) = matches.subcommand() {
                    called.push(sub);
                    matches = own;
                }
                assert!(called.join(" ").starts_with(name), "{line}: called {called:?}");
            }
        }
    }
}
