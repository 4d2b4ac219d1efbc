//! The sealed form of an artifact in the store: a header with a keyed BLAKE3 MAC, then the compiled code or
//! the error that preparing it gave.
//!
//! The seal is made outside the compile child by a trusted worker and checked before anything is mapped:
//! `Module::deserialize` on bytes that somebody else wrote is arbitrary code execution.
//!
//! Layout: magic `PVFSEAL1` (8) | kind (1: 0 artifact, 1 failure) | MAC (32) | payload. The MAC is over
//! kind, artifact id, and payload, so that one artifact cannot be put in another's place.

use crate::{ids::ArtifactId, verdict::PrepareError};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

const MAGIC: &[u8; 8] = b"PVFSEAL1";
const HEADER: usize = 8 + 1 + 32;

/// A keyed BLAKE3 MAC, 32 bytes. Compared in constant time.
#[derive(Clone, Copy)]
pub struct Mac(pub [u8; 32]);

impl PartialEq for Mac {
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}
impl Eq for Mac {}
impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({})", hex::encode(&self.0[..6]))
    }
}
impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}
impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(d)?;
        <[u8; 32]>::try_from(bytes.into_vec()).map(Mac).map_err(|_| D::Error::custom("Mac: expected 32 bytes"))
    }
}

/// The fleet's key for seals. Whoever has it can make artifacts that execute workers will map.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// The key of somebody who set none: it detects damage, not forgery.
    pub fn unkeyed() -> Self {
        Self(blake3::derive_key("pvf-fleet 2026 artifact seal without a key", b""))
    }

    /// A key from secret bytes of any length of at least 16.
    pub fn from_secret(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < 16 {
            return Err(format!("seal key: {} bytes, at least 16 are needed", secret.len()));
        }
        Ok(Self(blake3::derive_key("pvf-fleet 2026 artifact seal", secret)))
    }
}

impl SealKey {
    /// The key in this file, or [`SealKey::unkeyed`] without one.
    pub fn from_file(path: Option<&std::path::Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::unkeyed()) };
        let text = std::fs::read_to_string(path).map_err(|e| format!("seal key file {}: {e}", path.display()))?;
        text.parse().map_err(|e| format!("seal key file {}: {e}", path.display()))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl FromStr for SealKey {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::from_secret(s.trim().as_bytes())
    }
}

/// What a sealed object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Compiled code.
    Artifact {
        /// The code, ready to be mapped.
        code: Bytes,
        /// Its MAC.
        mac: Mac,
    },
    /// A preparation that failed for good.
    Failure(PrepareError),
}

/// A seal that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Too short or no seal at all.
    #[error("not a sealed artifact ({len} bytes)")]
    NotSealed {
        /// Size of the object.
        len: usize,
    },
    /// The MAC does not match the content, the artifact's id or the fleet's key.
    #[error("MAC mismatch ({len} bytes): damaged, moved, or sealed with another key")]
    MacMismatch {
        /// Size of the object.
        len: usize,
    },
    /// The MAC matches but the payload is not understood: sealed by a newer version.
    #[error("sealed content is not understood: {0}")]
    Payload(String),
}

pub use blake3::Hash as ContentHash;

/// Hash of bytes that this process wrote itself, to see whether they are still the same.
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    blake3::hash(bytes)
}

/// The same of all that can be read, which need not be in memory at once.
pub fn content_hash_of(from: impl std::io::Read) -> std::io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(from)?;
    Ok(hasher.finalize())
}

fn mac(key: &SealKey, kind: u8, artifact: &ArtifactId, payload: &[u8]) -> Mac {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    let engine = artifact.engine.as_str().as_bytes();
    hasher.update(&[kind]).update(&artifact.code_hash.0).update(&artifact.prep_hash.0);
    hasher.update(&(engine.len() as u64).to_le_bytes()).update(engine).update(payload);
    Mac(*hasher.finalize().as_bytes())
}

fn seal(key: &SealKey, kind: u8, artifact: &ArtifactId, payload: &[u8]) -> (Bytes, Mac) {
    let mac = mac(key, kind, artifact, payload);
    let mut out = BytesMut::with_capacity(HEADER + payload.len());
    out.put_slice(MAGIC);
    out.put_u8(kind);
    out.put_slice(&mac.0);
    out.put_slice(payload);
    (out.freeze(), mac)
}

/// Seals compiled code.
pub fn seal_artifact(key: &SealKey, artifact: &ArtifactId, code: &[u8]) -> (Bytes, Mac) {
    seal(key, 0, artifact, code)
}

/// Seals the error of a preparation that failed for good.
pub fn seal_failure(key: &SealKey, artifact: &ArtifactId, error: &PrepareError) -> Bytes {
    let payload = rmp_serde::to_vec_named(error).unwrap_or_default();
    seal(key, 1, artifact, &payload).0
}

/// How many bytes [`claim`] needs.
pub const CLAIM_LEN: usize = HEADER;

/// What an object of `len` bytes claims to be by its first [`CLAIM_LEN`] bytes: the size of compiled code and
/// its MAC, or nothing if it is a kept failure. Nothing is verified.
pub fn claim(head: &[u8], len: u64) -> Result<Option<(u64, Mac)>, SealError> {
    let not_sealed = || SealError::NotSealed { len: len as usize };
    let head: &[u8; HEADER] = head.try_into().map_err(|_| not_sealed())?;
    if &head[..8] != MAGIC {
        return Err(not_sealed());
    }
    let mut mac = [0; 32];
    mac.copy_from_slice(&head[9..]);
    let payload = len.checked_sub(HEADER as u64).ok_or_else(not_sealed)?;
    Ok((head[8] == 0).then_some((payload, Mac(mac))))
}

/// Checks the seal and takes the content out.
pub fn open(key: &SealKey, artifact: &ArtifactId, object: &Bytes) -> Result<Sealed, SealError> {
    let len = object.len();
    if len < HEADER || &object[..8] != MAGIC {
        return Err(SealError::NotSealed { len });
    }
    let kind = object[8];
    let payload = object.slice(HEADER..);
    let mut claimed = [0; 32];
    claimed.copy_from_slice(&object[9..HEADER]);
    let actual = mac(key, kind, artifact, &payload);
    if actual != Mac(claimed) {
        return Err(SealError::MacMismatch { len });
    }
    match kind {
        0 => Ok(Sealed::Artifact { code: payload, mac: actual }),
        1 => rmp_serde::from_slice(&payload).map(Sealed::Failure).map_err(|e| SealError::Payload(e.to_string())),
        other => Err(SealError::Payload(format!("kind {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CodeHash, EngineId, PrepHash};

    fn id(engine: &str) -> ArtifactId {
        ArtifactId {
            code_hash: CodeHash([1; 32]),
            prep_hash: PrepHash([2; 32]),
            engine: EngineId::parse(engine).unwrap(),
        }
    }

    #[test]
    fn a_seal_holds_only_for_what_was_sealed() {
        let key = SealKey::from_secret(b"sixteen bytes ok").unwrap();
        let (object, mac) = seal_artifact(&key, &id("e"), b"code");
        assert_eq!(open(&key, &id("e"), &object).unwrap(), Sealed::Artifact { code: Bytes::from_static(b"code"), mac });
        assert!(open(&key, &id("f"), &object).is_err());
        assert!(open(&SealKey::unkeyed(), &id("e"), &object).is_err());
        assert_eq!(claim(&object[..CLAIM_LEN], object.len() as u64).unwrap(), Some((4, mac)));
        assert!(claim(&object[..3], 3).is_err());
        assert!(claim(&object[..CLAIM_LEN], CLAIM_LEN as u64 - 1).is_err(), "shorter than its own head");
        for i in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[i] ^= 1;
            assert!(open(&key, &id("e"), &damaged.into()).is_err(), "byte {i}");
        }
        for cut in 0..object.len() {
            assert!(open(&key, &id("e"), &object.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn failures_round_trip() {
        let error = PrepareError::Prevalidation("no".into());
        let object = seal_failure(&SealKey::unkeyed(), &id("e"), &error);
        assert_eq!(open(&SealKey::unkeyed(), &id("e"), &object).unwrap(), Sealed::Failure(error));
        assert_eq!(claim(&object[..CLAIM_LEN], object.len() as u64).unwrap(), None);
        assert!(SealKey::from_secret(b"short").is_err());
    }
}
