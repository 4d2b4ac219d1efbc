//! The users of a NATS server: a part of its configuration, rendered and read back.

use pvf_shared::{
    identity::UserName,
    ids::FleetName,
    permissions::{Permissions, Role, permissions},
};
use std::fmt;

/// A user. The server knows only a hash of its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) role: Role,
    pub(super) name: UserName,
    /// Bcrypt.
    pub(super) hash: String,
}

/// The users of one fleet's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Users {
    pub(super) fleet: FleetName,
    pub(super) users: Vec<User>,
}

impl User {
    /// What is to be changed of these permissions.
    fn change(&self, fleet: &FleetName, have: [Vec<String>; 2]) -> Option<Change> {
        let Permissions { publish, subscribe } = permissions(self.role, &self.name, fleet);
        let (mut missing, mut surplus) = (Vec::new(), Vec::new());
        for (what, have, want) in [("publish", &have[0], &publish), ("subscribe", &have[1], &subscribe)] {
            let without = |these: &[String], others: &[String]| -> Vec<String> {
                these.iter().filter(|it| !others.contains(it)).map(|it| format!("{what} {it}")).collect()
            };
            missing.extend(without(want, have));
            surplus.extend(without(have, want));
        }
        let differs = !missing.is_empty() || !surplus.is_empty();
        differs.then_some(Change { role: self.role, name: self.name, missing, surplus })
    }
}

/// The subjects in permissions as they are written: those to publish on, and those to subscribe to.
fn subjects(permissions: &str) -> Option<[Vec<String>; 2]> {
    let lists = permissions.strip_prefix("{ publish: { allow: [")?.strip_suffix("] } }")?;
    let (publish, subscribe) = lists.split_once("] }, subscribe: { allow: [")?;
    let list = |text: &str| -> Option<Vec<String>> {
        text.split(", ").map(|subject| quoted(subject, "").map(str::to_owned)).collect()
    };
    Some([list(publish)?, list(subscribe)?])
}

const FOREIGN: &str = "change it by hand from now on, or begin again in another folder";

const FLEET: &str = "# fleet: ";
const ROLE: &str = "# role: ";

/// A file with users, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) users: Users,
    /// The users whose permissions are not those that would be written.
    pub(super) changes: Vec<Change>,
    /// Whether the file is to the letter what would be written.
    pub(super) is_current: bool,
}

/// What the permissions of a user in a file lack, and what they have too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) role: Role,
    pub(super) name: UserName,
    /// Each with `publish` or `subscribe` before it.
    pub(super) missing: Vec<String>,
    /// The same.
    pub(super) surplus: Vec<String>,
}

impl Users {
    /// Reads what [`Users::fmt`] has written, also that of a version with other permissions.
    ///
    /// # Errors
    /// The text has what no version writes.
    pub(super) fn read(text: &str) -> Result<Read, String> {
        let wrong = |n: usize| format!("line {}: not as `pvf nats` wrote it: {FOREIGN}", n + 1);
        let (mut fleet, mut role, mut name) = (None, None, None);
        let (mut users, mut permissions) = (Vec::new(), Vec::new());
        for (n, line) in text.lines().map(str::trim).enumerate() {
            if let Some(value) = line.strip_prefix(FLEET) {
                fleet = FleetName::parse(value).ok();
            } else if let Some(value) = line.strip_prefix(ROLE) {
                role = value.parse().ok();
            } else if let Some(value) = quoted(line, "user: ") {
                name = UserName::parse(value).ok();
            } else if let Some(hash) = quoted(line, "password: ") {
                let (Some(role), Some(name)) = (role.take(), name.take()) else { return Err(wrong(n)) };
                users.push(User { role, name, hash: hash.to_owned() });
            } else if let Some(value) = line.strip_prefix("permissions: ")
                && permissions.len() + 1 == users.len()
            {
                permissions.push(subjects(value).ok_or_else(|| wrong(n))?);
            } else if !line.starts_with("# ") && !["users: [", "{", "}", "]"].contains(&line) {
                return Err(wrong(n));
            }
        }
        let fleet = fleet.ok_or_else(|| format!("no fleet is named: not as `pvf nats` wrote it: {FOREIGN}"))?;
        if permissions.len() != users.len() {
            return Err(format!("a user without permissions: not as `pvf nats` wrote it: {FOREIGN}"));
        }
        let users = Self { fleet, users };
        let is_current = users.to_string() == text;
        let changes = users.users.iter().zip(permissions).filter_map(|(user, have)| user.change(&users.fleet, have));
        Ok(Read { changes: changes.collect(), users, is_current })
    }

    pub(super) fn find(&mut self, name: &UserName) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.name == *name)
    }
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fleet, users } = self;
        writeln!(f, "# Users of the NATS server of a fleet, for its `authorization` or one of its `accounts`.")?;
        writeln!(f, "# Written by `pvf nats`, which also adds users and changes passwords.")?;
        writeln!(f, "{FLEET}{fleet}\nusers: [")?;
        for User { role, name, hash } in users {
            let permissions = permissions(*role, name, fleet);
            writeln!(f, "  {ROLE}{role}\n  {{\n    user: \"{name}\"\n    password: \"{hash}\"")?;
            writeln!(f, "    permissions: {permissions}\n  }}")?;
        }
        writeln!(f, "]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let user = |role: Role, name: &str| User {
            role,
            name: UserName::parse(name).unwrap(),
            hash: format!("$2a$04$hash-of-{name}"),
        };
        let users = vec![user(Role::Coordinator, "coordinator"), user(Role::Client, "alice")];
        Users { fleet: FleetName::parse("f").unwrap(), users }
    }

    #[test]
    fn users_are_read_as_they_were_written() {
        let written = users().to_string();
        let read = Read { users: users(), changes: vec![], is_current: true };
        assert_eq!(Users::read(&written).unwrap(), read);
        assert!(written.contains("user: \"alice\"\n    password: \"$2a$04$hash-of-alice\"\n"), "{written}");
        assert!(written.contains("\"f.v4.client.alice.*.req\""), "{written}");
    }

    #[test]
    fn users_with_other_permissions_are_read_with_the_difference() {
        let written = users().to_string();
        let wider = written.replace("\"f.v4.client.alice.*.req\"", "\"f.v4.client.*.*.req\"");
        let older = wider.replace("\"f.v4.client.alice.*.verdict\", ", "");
        let Read { users: read, changes, is_current } = Users::read(&older).unwrap();
        assert!(!is_current && read == users());
        let [change] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!((change.role, change.name.as_str()), (Role::Client, "alice"));
        assert_eq!(change.missing, ["publish f.v4.client.alice.*.req", "subscribe f.v4.client.alice.*.verdict"]);
        assert_eq!(change.surplus, ["publish f.v4.client.*.*.req"]);
        // A comment of another version.
        let read = Users::read(&written.replace("Written by", "Made by")).unwrap();
        assert!(!read.is_current && read.changes.is_empty() && read.users == users());
    }

    #[test]
    fn a_file_with_what_no_version_writes_is_not_read() {
        let written = users().to_string();
        let (old, new) = ("permissions: {", "permissions: { allow_responses: true, ");
        for changed in [
            String::new(),
            written.replace("  # role: client\n", ""),
            written.replace("# role: client", "# role: admin"),
            written.replace(old, new),
            written.replace("    permissions:", "    allowed_connection_types: [STANDARD]\n    permissions:"),
            written.replacen("    permissions:", "    # permissions:", 1),
        ] {
            assert!(Users::read(&changed).unwrap_err().contains("as `pvf nats` wrote it"), "{changed}");
        }
    }
}
