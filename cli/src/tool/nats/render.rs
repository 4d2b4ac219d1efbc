//! `pvf nats render`: the permissions of this version, for the users and passwords that a folder has.

use super::{
    super::{
        args::Global,
        failure::{Exit, Failure},
    },
    folder::{Folder, read, users_file},
    users::Change,
};
use serde_json::{Value, json};
use std::path::Path;

/// Shows how the permissions in a folder differ from those of this version, and writes these unless it only checks.
pub(super) fn render(global: &Global, dir: &Path, check: bool) -> Result<Exit, Failure> {
    let read = read(global, dir)?;
    let file = users_file(dir).display().to_string();
    if !read.is_current && !check {
        Folder { dir, users: read.users }.save()?;
    }
    if global.json {
        let changes: Vec<_> = read.changes.iter().map(to_json).collect();
        outln!("{}", json!({ "file": file, "current": read.is_current, "changes": changes }));
    } else {
        read.changes.iter().for_each(show);
        let state = match (read.is_current, check) {
            (true, _) => "has the permissions of this version",
            (false, true) => "is not as this version writes it",
            (false, false) => "written; the server must be told to reload its configuration",
        };
        outln!("{file}: {state}");
    }
    Ok(if check && !read.is_current { Exit::Negative } else { Exit::Success })
}

fn show(change: &Change) {
    outln!("{} {}", change.role, change.name);
    for (sign, subjects) in [('+', &change.missing), ('-', &change.surplus)] {
        for subject in subjects {
            outln!("  {sign} {subject}");
        }
    }
}

fn to_json(change: &Change) -> Value {
    let Change { role, name, missing, surplus } = change;
    json!({ "role": role.name(), "user": name.as_str(), "missing": missing, "surplus": surplus })
}
