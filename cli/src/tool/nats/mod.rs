//! `pvf nats`: the users of a fleet's NATS server, their permissions and passwords.
//!
//! A folder has `nats/users.conf` for the server, with hashes, and for each user `NAME.password`, for
//! `--nats-password-file`, and `NAME.env`, for the environment of a container or a systemd unit.

mod users;

use super::{
    args::{Global, NatsCommand},
    failure::{Exit, Failure},
};
use pvf_shared::{
    identity::UserName,
    permissions::{Role, permissions, template},
};
use std::{
    fs::{DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use users::{User, Users};

/// The lowest cost: a password of 256 random bits cannot be guessed, and the server checks it for each connection.
const HASH_COST: u32 = 4;

pub(crate) fn nats(global: &Global, command: &NatsCommand) -> Result<Exit, Failure> {
    match command {
        NatsCommand::Init { dir } => init(global, dir)?,
        NatsCommand::AddUser { role, name, dir } => {
            let mut folder = Folder::open(global, dir)?;
            folder.add(*role, *name)?;
            folder.save()?;
        }
        NatsCommand::Rotate { name, dir } => Folder::open(global, dir)?.rotate(name)?,
        NatsCommand::Permissions { role, name, nsc } => show(global, *role, name.as_ref(), *nsc),
    }
    Ok(Exit::Success)
}

/// Makes one user of each role, unless there is one of that name.
fn init(global: &Global, dir: &Path) -> Result<(), Failure> {
    make_folder(dir)?;
    make_folder(&dir.join("nats"))?;
    let mut folder = if users_file(dir).exists() { Folder::open(global, dir)? } else { Folder::empty(global, dir) };
    let mut added = Vec::new();
    for role in Role::ALL {
        let name = UserName::parse(role.name()).map_err(|e| Failure::no_result("user", e))?;
        if folder.users.find(&name).is_none() {
            folder.add(role, name)?;
            added.push(role.name());
        }
    }
    if added.is_empty() {
        println!("{}: complete, nothing was changed", dir.display());
        return Ok(());
    }
    folder.save()?;
    println!("{}: added the users {}", dir.display(), added.join(", "));
    Ok(())
}

fn show(global: &Global, role: Role, name: Option<&UserName>, nsc: bool) {
    let allowed = match name {
        Some(name) => permissions(role, name, &global.fleet),
        None => template(role, &global.fleet),
    };
    if nsc {
        println!("--allow-pub \"{}\" --allow-sub \"{}\"", allowed.publish.join(","), allowed.subscribe.join(","));
    } else if global.json {
        println!("{}", serde_json::json!({ "publish": allowed.publish, "subscribe": allowed.subscribe }));
    } else {
        println!("{allowed}");
    }
}

fn users_file(dir: &Path) -> PathBuf {
    dir.join("nats/users.conf")
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {error}", path.display()))
}

/// A folder that only its owner can enter.
fn make_folder(dir: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(dir, error)),
        _ => {}
    }
    let mode = std::fs::metadata(dir).map_err(|e| failed(dir, e))?.mode();
    if mode & 0o077 != 0 {
        return Err(failed(dir, "other users can enter this folder: chmod 700 helps"));
    }
    Ok(())
}

/// Writes a file that does not exist yet and that only its owner can read.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|e| failed(path, e))
}

/// As [`write_new`], in the place of an older file.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let new = path.with_added_extension("new");
    write_new(&new, text)?;
    std::fs::rename(&new, path).map_err(|e| failed(path, e))
}

/// 256 bits from the operating system's random source, as hexadecimal digits, and their hash.
fn new_password() -> Result<(String, String), Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| Failure::no_result("random numbers", e))?;
    let password = hex::encode(bytes);
    let hash = bcrypt::non_truncating_hash_with_result(&password, HASH_COST);
    let hash = hash.map_err(|e| Failure::no_result("bcrypt", e))?;
    Ok((password, hash.format_for_version(bcrypt::Version::TwoA)))
}

/// The files for one user: their paths and what belongs into them.
fn files(dir: &Path, name: &UserName, password: &str) -> [(PathBuf, String); 2] {
    [
        (dir.join(format!("{name}.password")), format!("{password}\n")),
        (dir.join(format!("{name}.env")), format!("NATS_USER={name}\nNATS_PASSWORD={password}\n")),
    ]
}

struct Folder<'a> {
    dir: &'a Path,
    users: Users,
}

impl<'a> Folder<'a> {
    fn empty(global: &Global, dir: &'a Path) -> Self {
        Self { dir, users: Users { fleet: global.fleet.clone(), users: vec![] } }
    }

    fn open(global: &Global, dir: &'a Path) -> Result<Self, Failure> {
        let path = users_file(dir);
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
        let users = Users::parse(&text).map_err(|e| failed(&path, e))?;
        if users.fleet != global.fleet {
            let (theirs, ours) = (&users.fleet, &global.fleet);
            return Err(failed(&path, format!("these are users of fleet {theirs}, not {ours}: --fleet {theirs}")));
        }
        Ok(Self { dir, users })
    }

    /// Adds a user, with a new password in files of its own. [`Folder::save`] tells the server.
    fn add(&mut self, role: Role, name: UserName) -> Result<(), Failure> {
        if self.users.find(&name).is_some() {
            return Err(Failure::Input(format!("{}: there is a user {name} already", self.dir.display())));
        }
        let (password, hash) = new_password()?;
        for (path, text) in files(self.dir, &name, &password) {
            write_new(&path, &text)?;
        }
        self.users.users.push(User { role, name, hash });
        Ok(())
    }

    /// Gives a user a new password.
    fn rotate(&mut self, name: &UserName) -> Result<(), Failure> {
        let (password, hash) = new_password()?;
        let unknown = Failure::Input(format!("{}: there is no user {name}", self.dir.display()));
        self.users.find(name).ok_or(unknown)?.hash = hash;
        for (path, text) in files(self.dir, name, &password) {
            replace(&path, &text)?;
        }
        self.save()
    }

    fn save(&self) -> Result<(), Failure> {
        replace(&users_file(self.dir), &self.users.to_string())
    }
}
