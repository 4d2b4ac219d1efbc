//! The folder of a fleet's users: files that only their owner can read, written as a whole.

use super::{
    super::{args::Global, failure::Failure},
    users::{Read, User, Users},
};
use pvf_shared::{identity::UserName, permissions::Role};
use std::{
    fs::{DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The lowest cost: a password of 256 random bits cannot be guessed, and the server checks it for each connection.
const HASH_COST: u32 = 4;

pub(super) fn users_file(dir: &Path) -> PathBuf {
    dir.join("nats/users.conf")
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {error}", path.display()))
}

/// A folder that only its owner can enter.
pub(super) fn make_folder(dir: &Path) -> Result<(), Failure> {
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

/// The files with the password of one user: for an option, and for an environment.
pub(super) fn files_of(dir: &Path, name: &UserName) -> [PathBuf; 2] {
    [dir.join(format!("{name}.password")), dir.join(format!("{name}.env"))]
}

/// The files for one user: their paths and what belongs into them.
fn files(dir: &Path, name: &UserName, password: &str) -> [(PathBuf, String); 2] {
    let [file, environment] = files_of(dir, name);
    [(file, format!("{password}\n")), (environment, format!("NATS_USER={name}\nNATS_PASSWORD={password}\n"))]
}

/// Reads the users of a folder, with whatever permissions.
pub(super) fn read(global: &Global, dir: &Path) -> Result<Read, Failure> {
    let path = users_file(dir);
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
    let read = Users::read(&text).map_err(|e| failed(&path, e))?;
    let (theirs, ours) = (&read.users.fleet, &global.fleet);
    if theirs != ours {
        return Err(failed(&path, format!("these are users of fleet {theirs}, not {ours}: --fleet {theirs}")));
    }
    Ok(read)
}

/// The folder of a fleet's users.
pub(super) struct Folder<'a> {
    pub(super) dir: &'a Path,
    pub(super) users: Users,
}

impl<'a> Folder<'a> {
    pub(super) fn empty(global: &Global, dir: &'a Path) -> Self {
        Self { dir, users: Users { fleet: global.fleet.clone(), users: vec![] } }
    }

    pub(super) fn open(global: &Global, dir: &'a Path) -> Result<Self, Failure> {
        let Read { users, is_current, .. } = read(global, dir)?;
        if !is_current {
            let why = "its permissions are not those that this version writes";
            let fix = format!("`pvf nats render {}` writes them, `--check` shows what is different", dir.display());
            return Err(failed(&users_file(dir), format!("{why}: {fix}")));
        }
        Ok(Self { dir, users })
    }

    /// Adds a user, with a new password in files of its own. [`Folder::save`] tells the server.
    pub(super) fn add(&mut self, role: Role, name: UserName) -> Result<(), Failure> {
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
    pub(super) fn rotate(&mut self, name: &UserName) -> Result<(), Failure> {
        let (password, hash) = new_password()?;
        let unknown = Failure::Input(format!("{}: there is no user {name}", self.dir.display()));
        self.users.find(name).ok_or(unknown)?.hash = hash;
        for (path, text) in files(self.dir, name, &password) {
            replace(&path, &text)?;
        }
        self.save()
    }

    pub(super) fn save(&self) -> Result<(), Failure> {
        replace(&users_file(self.dir), &self.users.to_string())
    }
}
