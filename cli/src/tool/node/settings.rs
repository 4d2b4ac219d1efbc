//! The text of a new `pvf-node.toml`.

use super::{
    super::failure::Failure,
    args::{Fallback, Install, Match},
};
use pvf_shared::{bus::nats::NatsArgs, ids::FleetName};
use serde_json::json;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// A string as TOML has it: as JSON has it.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::Input(format!("{}: {e}", path.display())))
}

/// The settings of this installation.
pub(super) fn text(args: &Install, fleet: &FleetName, bus: &NatsArgs) -> Result<String, Failure> {
    let version_match = match args.version_match {
        Match::Node => "node",
        Match::Exact => "exact",
    };
    let fallback = match args.fallback {
        Fallback::Internal => "internal",
        Fallback::Local => "local",
    };
    let socket = absolute(&args.socket)?;
    let mut text = format!(
        "# Settings of a node's PVF worker executables and of `pvf node serve`. Written by `pvf node install`;\n\
         # docs/integrate/node.md has every setting.\n\n\
         [node]\nversion = {}\nmatch = {}\n\n\
         [answers]\nwithin = 0.8\nfallback = {}\n\n\
         [service]\nsocket = {}\n\n\
         [fleet]\nname = {}\n\n[bus]\n",
        quoted(args.node_version.trim()),
        quoted(version_match),
        quoted(fallback),
        quoted(&socket.display().to_string()),
        quoted(fleet.as_str()),
    );
    bus_settings(&mut text, bus)?;
    Ok(text)
}

/// The connection, with absolute paths.
fn bus_settings(text: &mut String, bus: &NatsArgs) -> Result<(), Failure> {
    // All fields: a new option must be written as well.
    let NatsArgs {
        nats,
        nats_context,
        nats_user,
        nats_password_file,
        nats_token_file,
        nats_nkey,
        nats_creds,
        nats_subject_user,
        nats_ca,
        nats_cert,
        nats_key,
        nats_tls_first,
    } = bus;
    if nats_context.as_ref().is_some_and(|name| !name.is_empty()) {
        let why = "worker executables have no home folder to find a context in: give --nats and the other options";
        return Err(Failure::Input(format!("--nats-context: {why}")));
    }
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name} = {value}");
    };
    for (name, value) in [("nats", nats), ("nats-user", nats_user), ("nats-subject-user", nats_subject_user)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            line(name, quoted(value));
        }
    }
    for (name, file) in [
        ("nats-password-file", nats_password_file),
        ("nats-token-file", nats_token_file),
        ("nats-nkey", nats_nkey),
        ("nats-creds", nats_creds),
        ("nats-ca", nats_ca),
        ("nats-cert", nats_cert),
        ("nats-key", nats_key),
    ] {
        if let Some(file) = file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
            line(name, quoted(&absolute(file)?.display().to_string()));
        }
    }
    if *nats_tls_first {
        line("nats-tls-first", "true".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_node::config::{Config, FILE_NAME, Fallback as Set, VersionMatch};

    fn install() -> Install {
        Install {
            dir: "/d".into(),
            node_version: " 1.25.1 ".into(),
            version_match: Match::Exact,
            fallback: Fallback::Local,
            socket: "/run/x \"y\"/s".into(),
            user: None,
            worker_executable: None,
            no_check: true,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let bus = NatsArgs {
            nats: Some("nats://h1:1,nats://h2:2".into()),
            nats_user: Some("v\\1".into()),
            nats_password_file: Some("relative/password".into()),
            nats_subject_user: Some("validator-1".into()),
            nats_ca: Some("/ca.pem".into()),
            nats_tls_first: true,
            ..NatsArgs::default()
        };
        let fleet = FleetName::parse("other").unwrap();
        let file = folder.path().join(FILE_NAME);
        std::fs::write(&file, text(&install(), &fleet, &bus).unwrap()).unwrap();
        let config = Config::read(&file).unwrap();
        assert_eq!((config.node.version.as_str(), config.node.version_match), ("1.25.1", VersionMatch::Exact));
        assert_eq!((config.answers.fallback, config.fleet.name), (Set::Local, fleet));
        assert_eq!(config.service.socket, Path::new("/run/x \"y\"/s"));
        assert_eq!(config.bus.nats_user.as_deref(), Some("v\\1"));
        let password = std::env::current_dir().unwrap().join("relative/password");
        assert_eq!(config.bus.nats_password_file, Some(password));
        assert_eq!((config.bus.nats_ca.as_deref(), config.bus.nats_tls_first), (Some(Path::new("/ca.pem")), true));
    }

    #[test]
    fn a_context_is_refused() {
        let bus = NatsArgs { nats_context: Some("fleet".into()), ..NatsArgs::default() };
        let error = text(&install(), &FleetName::default(), &bus).unwrap_err().to_string();
        assert!(error.contains("--nats-context"), "{error}");
    }
}
