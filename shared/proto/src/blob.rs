//! References to input and output bytes, which travel inline in a message or as content-addressed objects of the store.

use crate::ids::BlobHash;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes that travel inline, or a reference to a blob in the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobRef {
    /// The bytes themselves.
    Inline(Bytes),
    /// A content-addressed blob of the store.
    Stored {
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
            Self::Stored { len, .. } => *len,
        }
    }

    /// Whether the blob is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of the blob travel in the message.
    pub fn inline_len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Stored { .. } => 0,
        }
    }
}

impl std::fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} B)", bytes.len()),
            Self::Stored { hash, len } => write!(f, "Stored({hash:?}, {len} B)"),
        }
    }
}
