//! Identifiers: hashes of code, parameters, blobs and relay-chain blocks, and the ids of requests and jobs.
//!
//! Input is parsed into these newtypes at the edge, so that code inside the fleet handles neither raw hashes nor raw
//! ids.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr, sync::Arc};
use uuid::Uuid;

/// Text that is not a valid identifier of the named type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, got {got}")]
pub struct IdError {
    /// Type of the identifier.
    pub what: &'static str,
    /// Expected form.
    pub expected: &'static str,
    /// The input, shortened.
    pub got: String,
}

impl IdError {
    /// This input is no identifier of the type.
    pub(crate) fn new(what: &'static str, expected: &'static str, got: &str) -> Self {
        Self { what, expected, got: shorten(got) }
    }
}

/// blake2b-256 of the concatenated parts. The relay chain hashes code and parameters this way.
pub fn blake2b_256(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = blake2b_simd::Params::new().hash_length(32).to_state();
    for part in parts {
        state.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(state.finalize().as_bytes());
    out
}

/// A 32-byte hash that serializes as a byte string.
macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 32]);

        hash_text!($name);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_bytes(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let bytes = serde_bytes::ByteBuf::deserialize(d)?;
                let len = bytes.len();
                <[u8; 32]>::try_from(bytes.into_vec()).map($name).map_err(|_| {
                    D::Error::custom(format!(concat!(stringify!($name), ": expected 32 bytes, got {}"), len))
                })
            }
        }
    };
}

/// The text forms of a 32-byte hash.
macro_rules! hash_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(&self.0[..6]))
            }
        }
        impl fmt::Display for $name {
            /// Lower-case hex without a prefix, as in object keys.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                let mut out = [0; 32];
                hex::decode_to_slice(s.strip_prefix("0x").unwrap_or(s), &mut out).map_err(|_| IdError {
                    what: stringify!($name),
                    expected: "64 hex digits, with or without 0x",
                    got: shorten(s),
                })?;
                Ok(Self(out))
            }
        }
    };
}

fn shorten(s: &str) -> String {
    let head: String = s.chars().take(40).collect();
    if head.len() < s.len() { format!("{head:?}… ({} bytes)", s.len()) } else { format!("{head:?}") }
}

hash_newtype! {
    /// blake2b-256 of validation code exactly as submitted: in its compressed form, if it is compressed.
    CodeHash
}
hash_newtype! {
    /// Hash of the executor parameters that affect compilation, see
    /// [`ExecutorParams::prep_hash`](crate::params::ExecutorParams::prep_hash).
    PrepHash
}
hash_newtype! {
    /// blake2b-256 of the SCALE encoding of all executor parameters.
    ParamsHash
}
hash_newtype! {
    /// BLAKE3 of an input or result; whoever holds it is asked for it by this name.
    BlobHash
}
hash_newtype! {
    /// BLAKE3 of everything that determines the verdict of an execution. Requests with equal keys are coalesced into
    /// one execution. See [`Submission::validation_key`](crate::wire::Submission::validation_key).
    ValidationKey
}
hash_newtype! {
    /// Root hash of the relay parent's storage trie.
    StorageRoot
}
hash_newtype! {
    /// Hash of a block of the relay chain.
    RelayHash
}

impl CodeHash {
    /// The hash of this code.
    pub fn of(code: &[u8]) -> Self {
        Self(blake2b_256(&[code]))
    }
}

impl BlobHash {
    /// The hash of this blob.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id (UUID version 7). Ids made later sort later.
            #[cfg(feature = "new-ids")]
            #[expect(clippy::new_without_default, reason = "a default id would hide that each one is new")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.simple())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.simple())
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                Uuid::try_parse(s).map(Self).map_err(|_| IdError {
                    what: stringify!($name),
                    expected: "a UUID",
                    got: shorten(s),
                })
            }
        }
    };
}

uuid_newtype! {
    /// One request of a client. The client chooses the id; a re-submission has the same id.
    RequestId
}
/// One preparation or execution of the coordinator. All attempts of a job share the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Number of an attempt of a job, from 1.
pub type Attempt = u32;

/// Fencing token of a coordinator. Each coordinator that takes over has a higher one; a worker obeys only the highest
/// that it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(pub u64);

/// One term of a coordinator: from when it takes the lease until it loses it or gives it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Term {
    /// The fencing token: higher than that of every earlier term.
    pub token: FencingToken,
    /// Random.
    pub id: Uuid,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.token.0, self.id.simple())
    }
}

/// What an artifact was compiled for: version and configuration of wasmtime, target triple and CPU baseline. A worker
/// can only map artifacts of its own engine.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(Arc<str>);

impl EngineId {
    /// Parses an engine id: 1 to 64 letters, digits, `.`, `-` or `_`, so that it is valid in an object key.
    pub fn parse(s: &str) -> Result<Self, IdError> {
        let fine = (1..=64).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
            && !s.starts_with('.');
        if fine {
            Ok(Self(s.into()))
        } else {
            Err(IdError { what: "EngineId", expected: "1 to 64 of [A-Za-z0-9._-]", got: shorten(s) })
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for EngineId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}
impl<'de> Deserialize<'de> for EngineId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}
impl fmt::Debug for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineId({})", self.0)
    }
}
impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of a compiled artifact: the code, the parameters that affect its compilation, and the engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactId {
    /// The validation code.
    pub code_hash: CodeHash,
    /// The executor parameters that affect compilation.
    pub prep_hash: PrepHash,
    /// The engine that it was compiled for.
    pub engine: EngineId,
}

impl fmt::Display for ArtifactId {
    /// `<engine>/<code hash>-<first 16 digits of the prep hash>`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.engine, self.code_hash, hex::encode(&self.prep_hash.0[..8]))
    }
}

/// Name of a fleet; the first token of every subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FleetName(String);

impl TryFrom<String> for FleetName {
    type Error = IdError;
    fn try_from(s: String) -> Result<Self, IdError> {
        Self::parse(&s)
    }
}

impl From<FleetName> for String {
    fn from(name: FleetName) -> Self {
        name.0
    }
}

impl FleetName {
    /// Parses a fleet name: 1 to 32 lower-case letters, digits, `-` or `_`, so that it is valid in a subject.
    pub fn parse(s: &str) -> Result<Self, IdError> {
        let fine = (1..=32).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if fine {
            Ok(Self(s.to_owned()))
        } else {
            Err(IdError { what: "fleet name", expected: "1 to 32 of [a-z0-9_-]", got: shorten(s) })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for FleetName {
    fn default() -> Self {
        Self("pvf".into())
    }
}
impl FromStr for FleetName {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        Self::parse(s)
    }
}
impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_hash_is_blake2b_256() {
        // Published test vector: BLAKE2b with a 32-byte digest of the empty input.
        assert_eq!(CodeHash::of(b"").to_string(), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    }

    #[test]
    fn malformed_ids_are_refused() {
        assert!("0x12".parse::<CodeHash>().unwrap_err().to_string().contains("64 hex digits"));
        assert!(EngineId::parse("../x").is_err());
        assert!(EngineId::parse("").is_err());
        assert!(FleetName::parse("a.b").is_err());
        assert!(FleetName::parse(&"a".repeat(33)).is_err());
        assert!("nonsense".parse::<RequestId>().is_err());
    }

    #[test]
    fn hashes_round_trip_as_text() {
        let h = CodeHash::of(b"x");
        assert_eq!(h.to_string().parse::<CodeHash>().unwrap(), h);
        assert_eq!(format!("0x{h}").parse::<CodeHash>().unwrap(), h);
    }
}
