//! `pvf node install`.

use super::{
    super::{
        args::Global,
        failure::{Exit, Failure},
    },
    args::Install,
    check::{self, Checked},
    settings,
};
use pvf_node::{
    artifact::ArtifactKey,
    config::{Config, FILE_NAME, KEY_FILE, check_version},
};
use pvf_shared::telemetry::to_stderr;
use serde_json::json;
use std::{
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// The names under which a node looks for its workers.
const EXECUTABLES: [&str; 2] = ["polkadot-prepare-worker", "polkadot-execute-worker"];
/// The program that answers to these names.
const WORKER: &str = "pvf-node-worker";
/// The settings before the last ones.
const FILE_BEFORE: &str = "pvf-node.toml.before";
/// Of files with secrets: the node's user, and its group.
const SECRET: u32 = 0o640;

pub(super) async fn install(global: &Global, args: &Install) -> Result<Exit, Failure> {
    let dir = std::path::absolute(&args.dir).map_err(|e| Failure::Input(format!("{}: {e}", args.dir.display())))?;
    check_version(args.node_version.trim()).map_err(|why| Failure::Input(format!("--node-version: {why}")))?;
    if global.bus.is_none() {
        return Err(Failure::Input("--nats: is required, the NATS servers of the fleet".into()));
    }
    let text = settings::text(args, &global.fleet, &global.nats)?;
    let config = Config::of_text(&text, &dir).map_err(Failure::Input)?;
    // What the executables will do without an environment.
    config.connection().map_err(|why| {
        let hint = "secrets must be in files: the environment of a node's workers is empty";
        Failure::Input(format!("{why} ({hint})"))
    })?;
    let worker = worker_executable(args)?;
    let folder = Folder { dir: &dir, user: args.user.as_deref() };
    folder.refuse_foreign()?;
    // An installation that is there keeps its owner.
    if args.user.is_none() && rustix::process::geteuid().is_root() && !dir.join(KEY_FILE).exists() {
        to_stderr("warning: the settings and the key are readable by root only: --user gives them to the node's user");
    }
    folder.make()?;
    folder.write_key()?;
    for name in EXECUTABLES {
        folder.replace(name, &worker, 0o755)?;
    }
    let kept = folder.write_settings(&text)?;
    let checked = match args.no_check {
        true => None,
        false => Some(check::check(&config).await.map_err(|failure| not_checked(&dir, failure))?),
    };
    report(global, &dir, &config, kept.as_deref(), checked.as_ref());
    Ok(if checked.is_none_or(|checked| checked.is_enough()) { Exit::Success } else { Exit::Negative })
}

/// Everything is written, and the fleet does not answer.
fn not_checked(dir: &Path, failure: Failure) -> Failure {
    let text = |why| {
        let then = "do not restart the node before `pvf node install` ends with exit code 0";
        format!("installed in {}, but the fleet does not answer: {why}; {then}", dir.display())
    };
    match failure {
        Failure::Input(why) => Failure::Input(text(why)),
        Failure::NoResult(why) => Failure::NoResult(text(why)),
    }
}

fn report(global: &Global, dir: &Path, config: &Config, kept: Option<&Path>, checked: Option<&Checked>) {
    let workers_path = dir.display().to_string();
    let settings = dir.join(FILE_NAME).display().to_string();
    if global.json {
        let done = json!({
            "workers_path": workers_path, "settings": settings, "node_version": config.node.version,
            "previous_settings": kept.map(|file| file.display().to_string()),
            "node_arguments": ["--workers-path", workers_path],
            "service": ["pvf", "node", "serve", "--config", settings],
            "fleet": checked.map(Checked::to_json),
        });
        outln!("{done}");
        return;
    }
    outln!("executables  {}", EXECUTABLES.map(|name| dir.join(name).display().to_string()).join(", "));
    outln!("settings     {settings}");
    if let Some(kept) = kept {
        outln!("before       {}", kept.display());
    }
    match checked {
        Some(checked) => {
            for (at, line) in checked.lines().iter().enumerate() {
                outln!("{} {line}", if at == 0 { "fleet       " } else { "            " });
            }
            if !checked.is_enough() {
                outln!("A node in secure validator mode does not start with this fleet.");
            }
        }
        None => outln!("fleet        not checked"),
    }
    outln!("\nStart on this machine, before the node:\n  pvf node serve --config {settings}");
    outln!("Add to the node's command line:\n  --workers-path {workers_path}");
    outln!("To go back, start the node without that option.");
}

/// The program to install.
fn worker_executable(args: &Install) -> Result<Vec<u8>, Failure> {
    let beside = || std::env::current_exe().ok().map(|path| path.with_file_name(WORKER));
    let file: PathBuf = args.worker_executable.clone().or_else(beside).unwrap_or_else(|| WORKER.into());
    std::fs::read(&file).map_err(|e| Failure::Input(format!("--worker-executable {}: {e}", file.display())))
}

/// The folder of an installation.
struct Folder<'a> {
    dir: &'a Path,
    user: Option<&'a str>,
}

impl Folder<'_> {
    /// Refuses a folder with workers of a node, which would be lost.
    fn refuse_foreign(&self) -> Result<(), Failure> {
        if self.dir.join(FILE_NAME).exists() {
            return Ok(());
        }
        match EXECUTABLES.iter().map(|name| self.dir.join(name)).find(|path| path.exists()) {
            None => Ok(()),
            Some(path) => Err(Failure::Input(format!(
                "{}: exists and was not written by `pvf node install` (no {FILE_NAME} beside it): give another folder",
                path.display()
            ))),
        }
    }

    /// Makes the folder, which every user may enter whatever the umask is: a node's user has to.
    fn make(&self) -> Result<(), Failure> {
        if self.dir.is_dir() {
            return Ok(());
        }
        let made = std::fs::create_dir_all(self.dir);
        let permissions = std::fs::Permissions::from_mode(0o755);
        made.and_then(|()| std::fs::set_permissions(self.dir, permissions))
            .map_err(|e| Failure::Input(format!("{}: {e}", self.dir.display())))
    }

    /// Writes the settings. Others that are there are kept under another name, which is returned.
    fn write_settings(&self, text: &str) -> Result<Option<PathBuf>, Failure> {
        let before = std::fs::read_to_string(self.dir.join(FILE_NAME)).ok().filter(|before| before != text);
        let kept = match before {
            Some(before) => {
                self.replace(FILE_BEFORE, before.as_bytes(), SECRET)?;
                Some(self.dir.join(FILE_BEFORE))
            }
            None => None,
        };
        self.replace(FILE_NAME, text.as_bytes(), SECRET)?;
        Ok(kept)
    }

    /// Makes the key. One that is there stays, because the artifacts of a running node are authenticated with it.
    fn write_key(&self) -> Result<(), Failure> {
        let file = self.dir.join(KEY_FILE);
        let key = match file.exists() {
            true => ArtifactKey::read(&file).map_err(Failure::Input)?,
            false => ArtifactKey::generate().map_err(|e| Failure::no_result("randomness", e))?,
        };
        self.replace(KEY_FILE, key.to_text().as_bytes(), SECRET)
    }

    /// Replaces a file at once, so that one that runs or is read stays whole. A secret belongs to the user that is
    /// given, or else to the owner of the file before.
    fn replace(&self, name: &str, content: &[u8], mode: u32) -> Result<(), Failure> {
        let path = self.dir.join(name);
        let failed = |e: &dyn std::fmt::Display| Failure::Input(format!("{}: {e}", path.display()));
        let mut file = tempfile::NamedTempFile::new_in(self.dir).map_err(|e| failed(&e))?;
        file.write_all(content).map_err(|e| failed(&e))?;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).map_err(|e| failed(&e))?;
        if let (Some(user), SECRET) = (self.user, mode) {
            // The system's own program knows users of every kind.
            let done = Command::new("chown").arg(format!("{user}:")).arg(file.path()).output();
            let done = done.map_err(|e| failed(&e))?;
            if !done.status.success() {
                let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                return Err(Failure::Input(format!("--user {user}: {why}; give the user that the node runs as")));
            }
        }
        if let (None, SECRET, Ok(before)) = (self.user, mode, std::fs::metadata(&path)) {
            chown(file.path(), Some(before.uid()), Some(before.gid())).map_err(|e| failed(&e))?;
        }
        file.persist(&path).map_err(|e| failed(&e.error))?;
        Ok(())
    }
}
