//! The sealed form of artifacts and kept failures in the store: a header with an Ed25519 signature, then the compiled
//! code or the error of its preparation.
//!
//! A prepare worker seals an artifact outside the sandboxed process that compiled it. An execute worker verifies the
//! seal before it maps the artifact: `Module::deserialize` of untrusted bytes is arbitrary code execution.
//!
//! Layout of the header, [`HEADER_LEN`] bytes, numbers little-endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | magic `PVFSEAL2` |
//! | 1 | kind: 0 artifact, 1 failure |
//! | 1 | flags: bit 0, the module has a start function; the others are 0 |
//! | 8 | length of the payload, which follows the header |
//! | 32 | BLAKE3 of the payload |
//! | 8 | fingerprint of the key |
//! | 64 | signature |
//!
//! The signature covers the fingerprint and the [`ArtifactDigest`], which covers kind, flags, length and hash of the
//! payload, and the artifact's id, so that one artifact cannot replace another. So the header is verified without the
//! payload, and the payload by one hash.

use crate::{
    artifact::ArtifactDigest,
    ids::ArtifactId,
    keys::{KeyFingerprint, PrivateKey, PublicKey, fingerprint_of, listed},
    verdict::PrepareError,
};
use bytes::{BufMut, Bytes, BytesMut};

const MAGIC: &[u8; 8] = b"PVFSEAL2";
/// Length of a header, bytes.
pub const HEADER_LEN: usize = 8 + 1 + 1 + 8 + 32 + 8 + 64;
/// Keeps signatures of artifacts apart from those of anything else with the same key.
const SIGNED: &[u8] = b"pvf-fleet artifact, version 2\0";
/// The same for their digests.
const DIGEST: &str = "pvf-fleet 2026-11 digest of an artifact";

const ARTIFACT: u8 = 0;
const FAILURE: u8 = 1;
const HAS_START: u8 = 1;

pub use blake3::Hash as ContentHash;

/// Compiled code as the engine serialized it, and what is known of its module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The code.
    pub code: Bytes,
    /// Whether the module has a start function, so that instantiating it runs guest code.
    pub has_start: bool,
}

/// Content of a sealed object whose signature is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Compiled code.
    Artifact {
        /// The code.
        compiled: Compiled,
        /// Hash of the code, as it was signed.
        content: ContentHash,
        /// Digest of the artifact.
        digest: ArtifactDigest,
    },
    /// The deterministic failure of a preparation.
    Failure(PrepareError),
}

/// Why a seal is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The object is too short, or its header is not one.
    #[error("not a sealed artifact ({len} bytes)")]
    NotSealed {
        /// Size of the object.
        len: u64,
    },
    /// It names a key that is not trusted.
    #[error("signed with key {key}, but trusted here: {}", listed(.trusted))]
    Untrusted {
        /// The key that it names.
        key: KeyFingerprint,
        /// The trusted keys.
        trusted: Vec<KeyFingerprint>,
    },
    /// The signature does not match the header and the artifact's id.
    #[error("no valid signature of key {key}: damaged, moved or forged")]
    Signature {
        /// The key that it names.
        key: KeyFingerprint,
    },
    /// The content does not match the signed hash.
    #[error("the content does not match its signature of key {key}: damaged or forged ({len} bytes)")]
    Content {
        /// The key of the signature.
        key: KeyFingerprint,
        /// Size of the content.
        len: u64,
    },
    /// Signature and content match, but the content cannot be decoded: a newer version sealed it.
    #[error("sealed content cannot be decoded: {0}")]
    Payload(String),
}

/// Hash of the content of an artifact.
pub fn content_hash(bytes: &[u8]) -> ContentHash {
    blake3::hash(bytes)
}

/// [`content_hash`] of a reader's bytes, which do not have to fit into memory.
pub fn content_hash_of(from: impl std::io::Read) -> std::io::Result<ContentHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(from)?;
    Ok(hasher.finalize())
}

/// What a header says.
struct Header {
    kind: u8,
    flags: u8,
    len: u64,
    content: ContentHash,
    /// As in the header, without the name of the built-in key.
    key: [u8; 8],
    signature: [u8; 64],
}

impl Header {
    /// Decodes the header of an object of `len` bytes.
    fn decode(head: &[u8], len: u64) -> Result<Self, SealError> {
        let not_sealed = || SealError::NotSealed { len };
        fn take<'a, const N: usize>(from: &mut &'a [u8]) -> Option<&'a [u8; N]> {
            let (part, rest) = from.split_first_chunk::<N>()?;
            *from = rest;
            Some(part)
        }
        let decode = || {
            let mut rest = head.get(..HEADER_LEN)?;
            if take(&mut rest)? != MAGIC {
                return None;
            }
            let [kind, flags] = *take(&mut rest)?;
            let payload = u64::from_le_bytes(*take(&mut rest)?);
            let content = ContentHash::from_bytes(*take(&mut rest)?);
            let (key, signature) = (*take(&mut rest)?, *take(&mut rest)?);
            let is_whole = len.checked_sub(HEADER_LEN as u64) == Some(payload);
            is_whole.then_some(Self { kind, flags, len: payload, content, key, signature })
        };
        decode().ok_or_else(not_sealed)
    }

    fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(HEADER_LEN + self.len as usize);
        out.put_slice(MAGIC);
        out.put_slice(&[self.kind, self.flags]);
        out.put_u64_le(self.len);
        out.put_slice(self.content.as_bytes());
        out.put_slice(&self.key);
        out.put_slice(&self.signature);
        out
    }

    fn digest(&self, artifact: &ArtifactId) -> ArtifactDigest {
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST);
        let engine = artifact.engine.as_str().as_bytes();
        hasher.update(&[self.kind, self.flags]).update(&self.len.to_le_bytes()).update(self.content.as_bytes());
        hasher.update(&artifact.code_hash.0).update(&artifact.prep_hash.0);
        hasher.update(&(engine.len() as u64).to_le_bytes()).update(engine);
        ArtifactDigest(*hasher.finalize().as_bytes())
    }

    fn fingerprint(&self) -> KeyFingerprint {
        fingerprint_of(KeyFingerprint::Key(self.key))
    }

    /// Verifies the signature, and returns what it covers.
    fn verify(&self, trusted: &[PublicKey], artifact: &ArtifactId) -> Result<ArtifactDigest, SealError> {
        let mut known = trusted.iter().filter(|key| raw_fingerprint(key) == self.key).peekable();
        if known.peek().is_none() {
            let trusted = trusted.iter().map(PublicKey::fingerprint).collect();
            return Err(SealError::Untrusted { key: self.fingerprint(), trusted });
        }
        let digest = self.digest(artifact);
        let message = message(&digest, self.key);
        match known.any(|key| key.verifies(&message, &self.signature)) {
            true => Ok(digest),
            false => Err(SealError::Signature { key: self.fingerprint() }),
        }
    }
}

/// The fingerprint as headers have it, also of the built-in key.
fn raw_fingerprint(key: &PublicKey) -> [u8; 8] {
    match KeyFingerprint::of(key.as_bytes()) {
        KeyFingerprint::Key(bytes) => bytes,
        KeyFingerprint::Unsigned => [0; 8],
    }
}

fn message(digest: &ArtifactDigest, key: [u8; 8]) -> Vec<u8> {
    [SIGNED, &key, &digest.0].concat()
}

fn seal(key: &PrivateKey, artifact: &ArtifactId, kind: u8, flags: u8, payload: &[u8]) -> (Bytes, ArtifactDigest) {
    let (content, len) = (content_hash(payload), payload.len() as u64);
    let mut header = Header { kind, flags, len, content, key: raw_fingerprint(&key.public()), signature: [0; 64] };
    let digest = header.digest(artifact);
    header.signature = key.sign(&message(&digest, header.key));
    let mut out = header.encode();
    out.put_slice(payload);
    (out.freeze(), digest)
}

/// Seals compiled code.
pub fn seal_artifact(key: &PrivateKey, artifact: &ArtifactId, compiled: &Compiled) -> (Bytes, ArtifactDigest) {
    let flags = if compiled.has_start { HAS_START } else { 0 };
    seal(key, artifact, ARTIFACT, flags, &compiled.code)
}

/// Seals the deterministic failure of a preparation.
pub fn seal_failure(key: &PrivateKey, artifact: &ArtifactId, error: &PrepareError) -> Bytes {
    let payload = rmp_serde::to_vec_named(error).unwrap_or_default();
    seal(key, artifact, FAILURE, 0, &payload).0
}

/// Verifies the header of an object of `len` bytes, which begins with `head`: the size of the compiled code and the
/// digest, or `None` for a kept failure. The content is not verified.
///
/// # Errors
/// All but [`SealError::Content`].
pub fn verify_header(
    trusted: &[PublicKey],
    artifact: &ArtifactId,
    head: &[u8],
    len: u64,
) -> Result<Option<(u64, ArtifactDigest)>, SealError> {
    let header = Header::decode(head, len)?;
    let digest = header.verify(trusted, artifact)?;
    match header.kind {
        ARTIFACT => Ok(Some((header.len, digest))),
        FAILURE => Ok(None),
        other => Err(SealError::Payload(format!("kind {other}"))),
    }
}

/// Verifies the seal of an object and returns its content.
///
/// # Errors
/// The object has no valid signature of a trusted key.
pub fn open(trusted: &[PublicKey], artifact: &ArtifactId, object: &Bytes) -> Result<Sealed, SealError> {
    let header = Header::decode(object, object.len() as u64)?;
    let digest = header.verify(trusted, artifact)?;
    let payload = object.slice(HEADER_LEN..);
    if content_hash(&payload) != header.content {
        return Err(SealError::Content { key: header.fingerprint(), len: header.len });
    }
    match (header.kind, header.flags) {
        (ARTIFACT, flags @ (0 | HAS_START)) => {
            let compiled = Compiled { code: payload, has_start: flags == HAS_START };
            Ok(Sealed::Artifact { compiled, content: header.content, digest })
        }
        (FAILURE, 0) => {
            rmp_serde::from_slice(&payload).map(Sealed::Failure).map_err(|e| SealError::Payload(e.to_string()))
        }
        (kind, flags) => Err(SealError::Payload(format!("kind {kind}, flags {flags:#x}"))),
    }
}

#[cfg(test)]
mod tests;
