//! The sealed form of artifacts and kept failures in the store: a header with a keyed BLAKE3 MAC, then the compiled
//! code or the error of its preparation.
//!
//! A prepare worker seals an artifact outside the sandboxed process that compiled it. An execute worker verifies the
//! seal before it maps the artifact: `Module::deserialize` of untrusted bytes is arbitrary code execution.
//!
//! Layout: magic `PVFSEAL1` (8 bytes) | kind (1 byte: 0 artifact, 1 failure) | MAC (32 bytes) | payload. The MAC covers
//! kind, artifact id and payload, so that one artifact cannot replace another.

use crate::{artifact::Mac, ids::ArtifactId, verdict::PrepareError};
use bytes::{BufMut, Bytes, BytesMut};
use std::{fmt, str::FromStr};

const MAGIC: &[u8; 8] = b"PVFSEAL1";
const HEADER: usize = 8 + 1 + 32;

/// The fleet's key for seals. A holder of the key can create artifacts that execute workers map and run.
#[derive(Clone)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// The built-in key of a fleet without a key of its own. It detects damage, but not forgery.
    pub fn unkeyed() -> Self {
        Self(blake3::derive_key("pvf-fleet 2026 artifact seal without a key", b""))
    }

    /// Derives a key from at least 16 secret bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < 16 {
            return Err(format!("seal key: {} bytes, but at least 16 are required", secret.len()));
        }
        Ok(Self(blake3::derive_key("pvf-fleet 2026 artifact seal", secret)))
    }

    /// Reads the key from a file; without a path it is [`SealKey::unkeyed`].
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

/// Content of a sealed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Compiled code.
    Artifact {
        /// The code as the engine serialized it.
        code: Bytes,
        /// MAC of the seal.
        mac: Mac,
    },
    /// The deterministic failure of a preparation.
    Failure(PrepareError),
}

/// Why a seal is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The object is too short or has no seal.
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
    /// The MAC matches, but the payload cannot be decoded: a newer version sealed it.
    #[error("sealed content cannot be decoded: {0}")]
    Payload(String),
}

pub use blake3::Hash as ContentHash;

/// Hash of bytes that this process wrote itself, for a later comparison.
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    blake3::hash(bytes)
}

/// [`content_hash`] of a reader's bytes, which do not have to fit into memory.
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

/// Seals the deterministic failure of a preparation.
pub fn seal_failure(key: &SealKey, artifact: &ArtifactId, error: &PrepareError) -> Bytes {
    let payload = rmp_serde::to_vec_named(error).unwrap_or_default();
    seal(key, 1, artifact, &payload).0
}

/// Length of an object's head for [`claim`], bytes.
pub const CLAIM_LEN: usize = HEADER;

/// Reads the head of an object of `len` bytes, which is its first [`CLAIM_LEN`] bytes: the size of the compiled code
/// and its MAC, or `None` for a kept failure. The claim is not verified.
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

/// Verifies the seal of an object and returns its content.
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
    // The comparison of hashes takes the same time wherever they differ.
    if blake3::Hash::from_bytes(actual.0) != blake3::Hash::from_bytes(claimed) {
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
    fn a_seal_is_valid_only_for_its_content_artifact_and_key() {
        let key = SealKey::from_secret(b"sixteen bytes ok").unwrap();
        let (object, mac) = seal_artifact(&key, &id("e"), b"code");
        assert_eq!(open(&key, &id("e"), &object).unwrap(), Sealed::Artifact { code: Bytes::from_static(b"code"), mac });
        assert!(open(&key, &id("f"), &object).is_err());
        assert!(open(&SealKey::unkeyed(), &id("e"), &object).is_err());
        assert_eq!(claim(&object[..CLAIM_LEN], object.len() as u64).unwrap(), Some((4, mac)));
        assert!(claim(&object[..3], 3).is_err());
        assert!(claim(&object[..CLAIM_LEN], CLAIM_LEN as u64 - 1).is_err(), "shorter than its head");
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
    fn sealed_failures_round_trip() {
        let error = PrepareError::Prevalidation("no".into());
        let object = seal_failure(&SealKey::unkeyed(), &id("e"), &error);
        assert_eq!(open(&SealKey::unkeyed(), &id("e"), &object).unwrap(), Sealed::Failure(error));
        assert_eq!(claim(&object[..CLAIM_LEN], object.len() as u64).unwrap(), None);
        assert!(SealKey::from_secret(b"short").is_err());
    }
}
