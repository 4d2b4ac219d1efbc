//! Compiled artifacts as messages describe them (size, MAC), and the result of a store lookup.

use crate::verdict::PrepareError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

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

/// An artifact in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    /// Size of the compiled code, bytes.
    pub bytes: u64,
    /// MAC of the sealed artifact.
    pub mac: Mac,
}

/// Result of looking an artifact up in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredArtifact {
    /// The artifact is there.
    Prepared(ArtifactInfo),
    /// The preparation failed before, and the failure was kept.
    Failed(PrepareError),
    /// An object without a valid seal.
    Damaged,
}
