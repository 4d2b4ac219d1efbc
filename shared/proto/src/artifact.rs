//! Compiled artifacts as messages describe them (size, digest), and the result of a store lookup.

use crate::verdict::PrepareError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// BLAKE3 of what the signature of an artifact covers, 32 bytes: the artifact's id, its content, and what its header
/// says about it. It names one version of an artifact, whichever key it is signed with. It is no proof: whoever has it
/// still verifies the signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ArtifactDigest(pub [u8; 32]);

impl fmt::Debug for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactDigest({})", hex::encode(&self.0[..6]))
    }
}
impl Serialize for ArtifactDigest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}
impl<'de> Deserialize<'de> for ArtifactDigest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(d)?;
        let bytes = <[u8; 32]>::try_from(bytes.into_vec());
        bytes.map(ArtifactDigest).map_err(|_| D::Error::custom("ArtifactDigest: expected 32 bytes"))
    }
}

/// An artifact in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    /// Size of the compiled code, bytes.
    pub bytes: u64,
    /// Digest of the artifact.
    pub digest: ArtifactDigest,
}

/// Result of looking an artifact up in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredArtifact {
    /// The artifact is there.
    Prepared(ArtifactInfo),
    /// The preparation failed before, and the failure was kept.
    Failed(PrepareError),
    /// An object without a valid signature of a trusted key.
    Damaged,
}
