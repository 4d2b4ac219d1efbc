//! What is made of the command line's own description: completions of shells, and pages of the manual.

pub(crate) mod args;
mod examples;
mod pages;

use super::{
    args::{Args, Global},
    failure::{Exit, Failure},
};
use args::ManualCommand;
use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;
use std::path::Path;

/// The command line of `pvf` as users see it.
pub(crate) fn command() -> clap::Command {
    examples::with_examples(Args::command())
}

/// Needs neither a fleet nor settings, so none of them is read.
pub(crate) fn run(manual: &ManualCommand, global: &Global) -> Result<Exit, Failure> {
    match manual {
        ManualCommand::Completions { shell } => {
            not_json(global, "completions", "its result is a script")?;
            out!("{}", completions(*shell)?);
        }
        ManualCommand::Man { dir: Some(dir) } => {
            let files = write(dir)?;
            match global.json {
                true => outln!("{}", json!({ "files": files })),
                false => files.iter().for_each(|file| outln!("{file}")),
            }
        }
        ManualCommand::Man { dir: None } => {
            not_json(global, "man", "its result is a page, unless --dir names a folder")?;
            out!("{}", text(pages::page(&whole()))?);
        }
    }
    Ok(Exit::Success)
}

fn not_json(global: &Global, command: &str, why: &str) -> Result<(), Failure> {
    match global.json {
        true => Err(Failure::Input(format!("--json is not an option of `pvf {command}`: {why}"))),
        false => Ok(()),
    }
}

/// The script that completes command lines of `pvf` in this shell.
fn completions(shell: Shell) -> Result<String, Failure> {
    let mut script = Vec::new();
    // Other than `generate` it does not panic.
    let mut command = command();
    command.set_bin_name("pvf");
    command.build();
    clap_complete::Generator::try_generate(&shell, &command, &mut script)
        .map_err(|error| Failure::no_result("completions", error))?;
    text(script)
}

/// The command with all that its subcommands have from it. `pvf help` repeats every command, and has no page.
fn whole() -> clap::Command {
    let mut command = command().disable_help_subcommand(true);
    command.build();
    command
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::no_result("text", error))
}

/// Writes a page for each command, and gives the files.
fn write(dir: &Path) -> Result<Vec<String>, Failure> {
    let failed = |path: &Path, error: std::io::Error| Failure::Input(format!("--dir {}: {error}", path.display()));
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let mut files = Vec::new();
    for (name, page) in pages::all(&whole()) {
        let file = dir.join(name);
        std::fs::write(&file, page).map_err(|error| failed(&file, error))?;
        files.push(file.display().to_string());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    /// The names of all commands, as a user types them without `pvf`.
    pub(super) fn names(command: &clap::Command, before: &str) -> Vec<String> {
        let each = |sub: &clap::Command| {
            let name = format!("{before}{}", sub.get_name());
            let below = names(sub, &format!("{name} "));
            std::iter::once(name).chain(below)
        };
        command.get_subcommands().filter(|sub| sub.get_name() != "help").flat_map(each).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_shell_completes_every_command() {
        let commands = names(&command(), "");
        assert!(commands.iter().any(|name| name == "nats add-user"), "{commands:?}");
        for shell in Shell::value_variants() {
            let script = completions(*shell).unwrap();
            for word in commands.iter().flat_map(|name| name.split(' ')) {
                assert!(script.contains(word), "{word} is not in the script of {shell}");
            }
            assert!(script.contains("--") && script.contains("cache-dir"), "{shell} has the options of all commands");
        }
    }

    #[test]
    fn every_command_has_a_page_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("made");
        assert_eq!(write(&dir).unwrap().len(), names(&command(), "").len() + 1);
        for name in names(&command(), "").into_iter().chain([String::new()]) {
            let whole = format!("pvf {name}").trim_end().replace(' ', "-");
            let page =
                std::fs::read_to_string(dir.join(format!("{whole}.1"))).unwrap_or_else(|e| panic!("{whole}: {e}"));
            assert!(page.contains(&format!(".TH {whole} 1")), "{whole}: {page}");
            assert!(page.contains(".SH EXAMPLES\n.nf\n"), "{whole}: {page}");
            assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH DESCRIPTION"), "{whole}: {page}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(file.path()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("--dir {}: ", file.path().display())), "{error}");
    }
}
