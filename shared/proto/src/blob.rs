//! References to input and output bytes, which travel in a message or are pulled from whoever holds them.

use crate::ids::BlobHash;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes that travel in the message, or the name of bytes that are pulled (see [`crate::wire::Pull`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobRef {
    /// The bytes themselves, at most [`INLINE_MAX`](crate::config::INLINE_MAX).
    Inline(Bytes),
    /// Bytes that their holder keeps: an input at the clients that submitted it, a result at the worker that made it.
    Held {
        /// BLAKE3 of the bytes.
        hash: BlobHash,
        /// Length, bytes.
        len: u64,
    },
}

impl BlobRef {
    /// Length of the blob, bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Held { len, .. } => *len,
        }
    }

    /// Whether the blob is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// BLAKE3 of the bytes, wherever they are.
    pub fn hash(&self) -> BlobHash {
        match self {
            Self::Inline(bytes) => BlobHash::of(bytes),
            Self::Held { hash, .. } => *hash,
        }
    }

    /// How many bytes of the blob travel in the message.
    pub fn inline_len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Held { .. } => 0,
        }
    }
}

impl std::fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} B)", bytes.len()),
            Self::Held { hash, len } => write!(f, "Held({hash:?}, {len} B)"),
        }
    }
}
