//! `pvf-node.toml`: what the worker executables and the node service must know. A node starts its workers with an empty
//! environment, so nothing of it can come from there.

use crate::artifact::ArtifactKey;
use pvf_shared::{
    bus::nats::{NatsArgs, NatsConnection},
    ids::FleetName,
};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Name of the file.
pub const FILE_NAME: &str = "pvf-node.toml";
/// Name of the key file beside it, unless the file says otherwise.
pub const KEY_FILE: &str = "pvf-node.key";
/// Where the file is, if it is not beside the executable.
pub const SYSTEM_FILE: &str = "/etc/pvf/pvf-node.toml";
/// Where the node service listens, unless the file says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/pvf-node/pvf-node.sock";

/// The settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// About the node.
    pub node: Node,
    /// About answers to it.
    #[serde(default)]
    pub answers: Answers,
    /// About the node service of this machine.
    #[serde(default)]
    pub service: Service,
    /// About the files that the node keeps in the place of artifacts.
    #[serde(default)]
    pub artifacts: Artifacts,
    /// About the host that stands in for the fleet, with `fallback = "local"`.
    #[serde(default)]
    pub local: Local,
    /// The fleet.
    #[serde(default)]
    pub fleet: Fleet,
    /// How to reach the fleet's NATS servers. The names are those of the options of every program, without `--`.
    pub bus: NatsArgs,
    /// Filter of the log, in the syntax of `RUST_LOG`.
    #[serde(default = "warn")]
    pub log: String,
}

fn warn() -> String {
    "warn".into()
}

/// About the node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    /// What `--version` answers: the node compares it with its own version.
    pub version: String,
    /// What a worker does if the node says that it has another version.
    #[serde(default, rename = "match")]
    pub version_match: VersionMatch,
}

/// What a worker does if the node says that it has another version than the configured one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionMatch {
    /// It works all the same: the executables are no part of a node's release.
    #[default]
    Node,
    /// It does what the node's own workers do: it sends SIGTERM to the node, which is to start again, and ends.
    Exact,
}

/// About answers to the node.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Answers {
    /// The part of the node's wall-clock limit within which it has an answer, 0.1 to 0.95. The node takes a candidate
    /// without an answer for invalid.
    pub within: f64,
    /// What to do without an answer of the fleet.
    pub fallback: Fallback,
    /// The part of the node's wall-clock limit after which `fallback = "local"` begins, 0 to `within`. It begins
    /// earlier if the fleet says that it has no answer.
    pub local_after: f64,
}

impl Default for Answers {
    fn default() -> Self {
        Self { within: 0.8, fallback: Fallback::Internal, local_after: 0.3 }
    }
}

/// What to do without an answer of the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// The node gets an internal error, and does not vote.
    #[default]
    Internal,
    /// The node service executes the candidate itself.
    Local,
}

/// About the node service.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// Its socket.
    pub socket: PathBuf,
    /// Whether a worker that cannot reach the service connects to the fleet itself.
    pub direct: bool,
    /// Memory for codes that the service keeps, MiB.
    pub code_cache_mib: u64,
}

impl Default for Service {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into(), direct: true, code_cache_mib: 256 }
    }
}

/// About the files that the node keeps in the place of artifacts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Artifacts {
    /// File with the key that authenticates them.
    pub key_file: PathBuf,
}

impl Default for Artifacts {
    fn default() -> Self {
        Self { key_file: KEY_FILE.into() }
    }
}

/// About the host that stands in for the fleet.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Local {
    /// Its store of compiled artifacts: a folder.
    pub store: PathBuf,
    /// Whether it refuses to start where a mechanism of the sandbox is missing.
    pub secure: bool,
}

impl Default for Local {
    fn default() -> Self {
        Self { store: "/var/cache/pvf-node/store".into(), secure: true }
    }
}

/// The fleet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fleet {
    /// Its name.
    pub name: FleetName,
}

impl Config {
    /// Reads the file beside this executable, or else [`SYSTEM_FILE`].
    ///
    /// # Errors
    /// There is neither, or the setting that is wrong.
    pub fn find() -> Result<Self, String> {
        let executable = std::env::current_exe().map_err(|e| format!("the path of this executable: {e}"))?;
        let beside = executable.with_file_name(FILE_NAME);
        let file = if beside.exists() { beside.clone() } else { PathBuf::from(SYSTEM_FILE) };
        if !file.exists() {
            return Err(format!(
                "neither {} nor {SYSTEM_FILE} exists; `pvf node install` writes one",
                beside.display()
            ));
        }
        Self::read(&file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub fn read(file: &Path) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(file).map_err(|e| wrong(&e))?;
        Self::of_text(&text, file.parent().unwrap_or(Path::new("."))).map_err(|why| wrong(&why))
    }

    /// The settings of a file in this folder, which its relative paths are relative to.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub fn of_text(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config = Self::parse(text)?;
        let Self { service, artifacts, local, bus, .. } = &mut config;
        for path in [&mut service.socket, &mut artifacts.key_file, &mut local.store] {
            *path = folder.join(&*path);
        }
        let NatsArgs {
            nats_password_file, nats_token_file, nats_nkey, nats_creds, nats_ca, nats_cert, nats_key, ..
        } = bus;
        for path in [nats_password_file, nats_token_file, nats_nkey, nats_creds, nats_ca, nats_cert, nats_key] {
            *path = path.take().map(|path| folder.join(path));
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let Answers { within, local_after, .. } = config.answers;
        if !(0.1..=0.95).contains(&within) {
            return Err(format!("answers.within: {within} is outside 0.1 to 0.95"));
        }
        if !(0.0..=within).contains(&local_after) {
            return Err(format!("answers.local-after: {local_after} is outside 0 to answers.within, {within}"));
        }
        check_version(&config.node.version).map_err(|why| format!("node.version: {why}"))?;
        Ok(config)
    }

    /// How to reach the bus.
    ///
    /// # Errors
    /// The setting or the file that is wrong.
    pub fn connection(&self) -> Result<NatsConnection, String> {
        self.bus.without_environment().map_err(|e| format!("[bus] of {FILE_NAME}: {e}"))
    }

    /// The key that authenticates artifacts.
    ///
    /// # Errors
    /// The file that cannot be read.
    pub fn artifact_key(&self) -> Result<ArtifactKey, String> {
        ArtifactKey::read(&self.artifacts.key_file).map_err(|e| format!("artifacts.key-file: {e}"))
    }

    /// How long an answer may take of a request whose wall-clock limit at the node is this.
    pub fn answer_within(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.answers.within)
    }
}

/// Checks a version of a node, as its own workers say it: without its name and its commit.
///
/// # Errors
/// What it is instead.
pub fn check_version(version: &str) -> Result<(), String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if version.split('.').count() >= 2 && version.split('.').all(is_number) {
        return Ok(());
    }
    let where_it_is =
        "`polkadot-prepare-worker --version` of the node says it; `polkadot --version` adds name and commit";
    Err(format!("{version:?} is not a version such as 1.25.1; {where_it_is}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[node]\nversion = \"1.25.1\"\n[bus]\nnats = \"nats://h:4222\"\n";

    #[test]
    fn the_least_file_has_safe_settings() {
        let config = Config::parse(LEAST).unwrap();
        assert_eq!((config.answers.within, config.answers.fallback), (0.8, Fallback::Internal));
        assert_eq!(config.node.version_match, VersionMatch::Node);
        assert_eq!(config.service.socket, Path::new(DEFAULT_SOCKET));
        assert!(config.service.direct && config.local.secure);
        assert_eq!(config.connection().unwrap().servers(), ["nats://h:4222"]);
        assert_eq!(config.answer_within(Duration::from_secs(8)), Duration::from_millis(6400));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (text, words) in [
            ("[answers]\nwithin = 1.0\n", "answers.within: 1 is outside 0.1 to 0.95"),
            ("[answers]\nlocal-after = 0.9\n", "answers.local-after: 0.9 is outside"),
            ("[answers]\nfallback = \"valid\"\n", "fallback"),
            ("[node]\n", "duplicate"),
            ("[service]\nsockets = 1\n", "sockets"),
            ("[fleet]\nname = \"a.b\"\n", "name"),
        ] {
            let error = Config::parse(&format!("{LEAST}{text}")).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(Config::parse("[bus]\nnats = \"x\"\n").unwrap_err().contains("node"));
        assert!(Config::parse("[node]\nversion = \"1.2\"\n").unwrap_err().contains("bus"));
        let unknown = LEAST.replace("nats =", "nats-servers =");
        assert!(Config::parse(&unknown).unwrap_err().contains("nats-servers"));
    }

    #[test]
    fn a_version_is_that_of_the_nodes_own_workers() {
        for fine in ["1.25.1", "0.9.43", "1.16"] {
            assert_eq!(check_version(fine), Ok(()), "{fine}");
        }
        for wrong in ["", " ", "1", "1.25.", "1.25.1-96d5a3b", "polkadot 1.25.1", "v1.25.1"] {
            assert!(check_version(wrong).unwrap_err().contains("1.25.1"), "{wrong}");
        }
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let text = format!("{LEAST}nats-password-file = \"password\"\n[service]\nsocket = \"s\"\n");
        std::fs::write(&file, text).unwrap();
        let config = Config::read(&file).unwrap();
        assert_eq!(config.service.socket, folder.path().join("s"));
        assert_eq!(config.artifacts.key_file, folder.path().join("pvf-node.key"));
        assert_eq!(config.bus.nats_password_file, Some(folder.path().join("password")));
        assert!(Config::read(&folder.path().join("missing")).unwrap_err().contains("missing"));
    }
}
