//! `pvf nats`: the users of a fleet's NATS server, their permissions and passwords.
//!
//! A folder has `nats/users.conf` for the server, with hashes, and for each user `NAME.password`, for
//! `--nats-password-file`, and `NAME.env`, for the environment of a container or a systemd unit.

mod folder;
mod render;
mod users;

use super::{
    args::{Global, NatsCommand},
    failure::{Exit, Failure},
};
use folder::{Folder, files_of, make_folder, users_file};
use pvf_shared::{
    identity::UserName,
    permissions::{Role, permissions, template},
};
use serde_json::json;
use std::path::Path;

pub(crate) fn nats(global: &Global, command: &NatsCommand) -> Result<Exit, Failure> {
    match command {
        NatsCommand::Init { dir } => init(global, dir)?,
        NatsCommand::AddUser { role, name, dir } => {
            let mut folder = Folder::open(global, dir)?;
            folder.add(*role, *name)?;
            folder.save()?;
            tell(global, dir, name);
        }
        NatsCommand::Rotate { name, dir } => {
            Folder::open(global, dir)?.rotate(name)?;
            tell(global, dir, name);
        }
        NatsCommand::Render { dir, check } => return render::render(global, dir, *check),
        NatsCommand::Permissions { role, name, nsc } => show(global, *role, name.as_ref(), *nsc),
    }
    Ok(Exit::Success)
}

/// Which files have a user's new password. As text that is known: the folder was named.
fn tell(global: &Global, dir: &Path, name: &UserName) {
    if global.json {
        let [password, environment] = files_of(dir, name).map(|file| file.display().to_string());
        let users = users_file(dir).display().to_string();
        outln!(
            "{}",
            json!({"user": name.as_str(), "password_file": password, "env_file": environment, "users": users})
        );
    }
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
    if !added.is_empty() {
        folder.save()?;
    }
    if global.json {
        outln!("{}", json!({"dir": dir.display().to_string(), "added": added}));
    } else if added.is_empty() {
        outln!("{}: complete, nothing was changed", dir.display());
    } else {
        outln!("{}: added the users {}", dir.display(), added.join(", "));
    }
    Ok(())
}

fn show(global: &Global, role: Role, name: Option<&UserName>, nsc: bool) {
    let allowed = match name {
        Some(name) => permissions(role, name, &global.fleet),
        None => template(role, &global.fleet),
    };
    if nsc {
        // Single quotes: a shell would read `$JS` as a variable.
        outln!("--allow-pub '{}' --allow-sub '{}'", allowed.publish.join(","), allowed.subscribe.join(","));
    } else if global.json {
        outln!("{}", json!({ "publish": allowed.publish, "subscribe": allowed.subscribe }));
    } else {
        outln!("{allowed}");
    }
}
