//! The users of a NATS server: a part of its configuration, rendered and read back.

use pvf_shared::{
    identity::UserName,
    ids::FleetName,
    permissions::{Role, permissions},
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

const FLEET: &str = "# fleet: ";
const ROLE: &str = "# role: ";

impl Users {
    /// Reads what [`Users::fmt`] has written.
    ///
    /// # Errors
    /// The text is not what would be written: it was changed by hand, or by another version of this program.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let changed = "not as `pvf nats` wrote it: change it by hand from now on, or begin again in another folder";
        let (mut fleet, mut role, mut name) = (None, None, None);
        let mut users = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(value) = line.strip_prefix(FLEET) {
                fleet = FleetName::parse(value).ok();
            } else if let Some(value) = line.strip_prefix(ROLE) {
                role = value.parse().ok();
            } else if let Some(value) = quoted(line, "user: ") {
                name = UserName::parse(value).ok();
            } else if let Some(hash) = quoted(line, "password: ") {
                let (Some(role), Some(name)) = (role.take(), name.take()) else { return Err(changed.into()) };
                users.push(User { role, name, hash: hash.to_owned() });
            }
        }
        let read = Self { fleet: fleet.ok_or(changed)?, users };
        if read.to_string() == text { Ok(read) } else { Err(changed.into()) }
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
        assert_eq!(Users::parse(&written).unwrap(), users());
        assert!(written.contains("user: \"alice\"\n    password: \"$2a$04$hash-of-alice\"\n"), "{written}");
        assert!(written.contains("\"f.v4.client.alice.*.req\""), "{written}");
    }

    #[test]
    fn a_file_that_was_changed_by_hand_is_not_read() {
        let written = users().to_string();
        for changed in [
            String::new(),
            written.replace("client.alice.*.req", "client.*.*.req"),
            written.replace("# role: client", "# role: observer"),
            written.replace("  # role: client\n", ""),
            written + "\n",
        ] {
            assert!(Users::parse(&changed).unwrap_err().contains("as `pvf nats` wrote it"));
        }
    }
}
