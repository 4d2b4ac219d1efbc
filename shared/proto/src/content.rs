//! Names of bytes that one role pulls from another: the hash of what they must be.

use crate::ids::{BlobHash, CodeHash};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes, named by their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Validation code exactly as submitted.
    Code(CodeHash),
    /// An input or output of a job.
    Blob(BlobHash),
}

impl Content {
    /// The name of this code.
    pub fn of_code(code: &[u8]) -> Self {
        Self::Code(CodeHash::of(code))
    }

    /// The name of this blob.
    pub fn of_blob(bytes: &[u8]) -> Self {
        Self::Blob(BlobHash::of(bytes))
    }

    /// Hashes bytes that come in parts, to see whether they are this content.
    pub fn hasher(&self) -> ContentHasher {
        ContentHasher(match self {
            Self::Code(_) => Algorithm::Blake2b(Box::new(blake2b_simd::Params::new().hash_length(32).to_state())),
            Self::Blob(_) => Algorithm::Blake3(Box::new(blake3::Hasher::new())),
        })
    }
}

impl fmt::Display for Content {
    /// `code:` or `blob:` and the hash in lower-case hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(hash) => write!(f, "code:{hash}"),
            Self::Blob(hash) => write!(f, "blob:{hash}"),
        }
    }
}

impl From<CodeHash> for Content {
    fn from(hash: CodeHash) -> Self {
        Self::Code(hash)
    }
}

impl From<BlobHash> for Content {
    fn from(hash: BlobHash) -> Self {
        Self::Blob(hash)
    }
}

/// The hash of the parts that have come so far.
#[derive(Debug, Clone)]
pub struct ContentHasher(Algorithm);

#[derive(Debug, Clone)]
enum Algorithm {
    Blake2b(Box<blake2b_simd::State>),
    Blake3(Box<blake3::Hasher>),
}

impl ContentHasher {
    /// Adds the next part.
    pub fn update(&mut self, part: &[u8]) {
        match &mut self.0 {
            Algorithm::Blake2b(state) => {
                state.update(part);
            }
            Algorithm::Blake3(hasher) => {
                hasher.update(part);
            }
        }
    }

    /// The name of all parts together.
    pub fn content(&self) -> Content {
        match &self.0 {
            Algorithm::Blake2b(state) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(state.finalize().as_bytes());
                Content::Code(CodeHash(hash))
            }
            Algorithm::Blake3(hasher) => Content::Blob(BlobHash(*hasher.finalize().as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_name_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for content in [Content::of_code(&bytes), Content::of_blob(&bytes)] {
            let mut hasher = content.hasher();
            assert_ne!(hasher.content(), content);
            for part in bytes.chunks(7777) {
                hasher.update(part);
            }
            assert_eq!(hasher.content(), content);
        }
        for content in [Content::of_code(b""), Content::of_blob(b"")] {
            assert_eq!(content.hasher().content(), content);
        }
    }

    #[test]
    fn content_is_shown_with_its_kind() {
        assert_eq!(Content::Code(CodeHash([1; 32])).to_string(), format!("code:{}", "01".repeat(32)));
        assert_eq!(Content::Blob(BlobHash([2; 32])).to_string(), format!("blob:{}", "02".repeat(32)));
    }
}
