//! Who speaks on the bus. The server enforces who may publish on a subject, so the sender of a message is what its
//! subject says: a user of the bus, and one session of that user. Messages do not name their sender.

use crate::ids::IdError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// Longest name of a user, bytes. The public key of an nkey has 56.
const MAX_USER: usize = 63;

/// A user of the bus; one token of a subject.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName {
    /// The name, filled up with zeros.
    bytes: [u8; MAX_USER],
    len: u8,
}

impl UserName {
    /// Parses a name: 1 to 63 letters, digits, `-` or `_`, so that it is one token of a subject.
    ///
    /// # Errors
    /// The text is not such a name.
    pub fn parse(s: &str) -> Result<Self, IdError> {
        let fine = (1..=MAX_USER).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !fine {
            return Err(IdError::new("user of the bus", "1 to 63 of [A-Za-z0-9_-]", s));
        }
        let mut bytes = [0; MAX_USER];
        bytes[..s.len()].copy_from_slice(s.as_bytes());
        Ok(Self { bytes, len: s.len() as u8 })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // It was made of ASCII only.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Default for UserName {
    /// The name of whoever connects without credentials that have a name.
    fn default() -> Self {
        let mut bytes = [0; MAX_USER];
        bytes[..7].copy_from_slice(b"default");
        Self { bytes, len: 7 }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserName({self})")
    }
}
impl FromStr for UserName {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        Self::parse(s)
    }
}

/// The kind of job that a worker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerKind {
    /// Preparations.
    Prepare,
    /// Executions.
    Execute,
}

impl fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Execute => "execute",
        })
    }
}

impl FromStr for WorkerKind {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        match s {
            "prepare" => Ok(Self::Prepare),
            "execute" => Ok(Self::Execute),
            other => Err(IdError::new("kind of worker", "prepare or execute", other)),
        }
    }
}

/// One session of a client: one handle of one process. Its text is the part of its subjects that names it:
/// `<user>.<session>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// The user.
    pub user: UserName,
    /// Distinguishes the sessions of the user.
    pub session: Uuid,
}

/// One run of a worker process. Its text is the part of its subjects that names it: `<kind>.<user>.<session>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId {
    /// The kind of job that it runs. What a user may be is a matter of its permissions.
    pub kind: WorkerKind,
    /// The user.
    pub user: UserName,
    /// Distinguishes the runs of the user's workers.
    pub session: Uuid,
}

impl ClientId {
    /// A new session (UUID version 7).
    #[cfg(feature = "new-ids")]
    pub fn new(user: UserName) -> Self {
        Self { user, session: Uuid::now_v7() }
    }
}

impl WorkerId {
    /// A new run (UUID version 7).
    #[cfg(feature = "new-ids")]
    pub fn new(kind: WorkerKind, user: UserName) -> Self {
        Self { kind, user, session: Uuid::now_v7() }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.user, self.session.simple())
    }
}
impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.kind, self.user, self.session.simple())
    }
}

/// A session as its subjects have it: only that one form, so that one session has one name.
fn parse_session(s: &str) -> Option<Uuid> {
    let session = Uuid::try_parse(s).ok()?;
    (s.len() == 32 && s.bytes().all(|b| !b.is_ascii_uppercase())).then_some(session)
}

impl FromStr for ClientId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let parts = s.split_once('.').and_then(|(user, session)| {
            Some(Self { user: UserName::parse(user).ok()?, session: parse_session(session)? })
        });
        parts.ok_or_else(|| IdError::new("client", "<user>.<session>", s))
    }
}
impl FromStr for WorkerId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let parts = s.split_once('.').and_then(|(kind, rest)| {
            let (user, session) = rest.split_once('.')?;
            let (user, session) = (UserName::parse(user).ok()?, parse_session(session)?);
            Some(Self { kind: kind.parse().ok()?, user, session })
        });
        parts.ok_or_else(|| IdError::new("worker", "<kind>.<user>.<session>", s))
    }
}

/// The traits of an identifier that is its text in messages and logs.
macro_rules! as_text {
    ($($name:ident)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
    )+};
}
as_text!(ClientId WorkerId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_tokens_of_subjects() {
        for good in ["a", "validator-7", "UA_x", &"x".repeat(63)] {
            assert_eq!(UserName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "*", ">", "a b", "é", "a\0", &"x".repeat(64)] {
            assert!(UserName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(UserName::default().as_str(), "default");
        assert_eq!(UserName::parse("default").unwrap(), UserName::default());
    }

    #[test]
    fn an_identity_has_one_text() {
        let user = UserName::parse("u").unwrap();
        let client = ClientId { user, session: Uuid::from_u128(0xab) };
        let text = format!("u.{}ab", "0".repeat(30));
        assert_eq!(client.to_string(), text);
        assert_eq!(text.parse::<ClientId>().unwrap(), client);
        let worker = WorkerId { kind: WorkerKind::Prepare, user, session: client.session };
        assert_eq!(worker.to_string(), format!("prepare.{text}"));
        assert_eq!(worker.to_string().parse::<WorkerId>().unwrap(), worker);
        let hyphenated = format!("u.{}", client.session);
        for other in [text.replace("ab", "AB"), hyphenated, format!("{text}.x"), format!("x.{text}"), "u.".into()] {
            assert!(other.parse::<ClientId>().is_err(), "{other}");
        }
        for other in [text.clone(), format!("other.{text}"), format!("prepare.execute.{text}")] {
            assert!(other.parse::<WorkerId>().is_err(), "{other}");
        }
    }
}
