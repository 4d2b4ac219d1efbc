//! What a node keeps in the place of a compiled artifact: a file that names the code, the executor parameters and the
//! limits, and has the code, so that every execution can bring it to a fleet that does not have it any more.
//!
//! The file is authenticated with a key of this installation: who can write to the node's cache of artifacts, and cannot
//! read the key, cannot have another code executed. (The checksum that the node compares is no cryptographic hash.)
//!
//! Layout: [`MAGIC`], a keyed BLAKE3 hash of all that follows (32 bytes), the length of the header (u32, little
//! endian), the header as MessagePack, the code.

use crate::code_call::CodeCall;
use bytes::Bytes;
use pvf_shared::config::MAX_PULLED;
use std::{
    fmt,
    io::{Error, ErrorKind, Read as _},
    path::Path,
};

/// The first bytes of a file, with the version of its layout.
pub const MAGIC: &[u8; 26] = b"pvf-fleet node artifact 1\n";

/// Longest header, bytes.
const MAX_HEADER: usize = 64 << 10;
/// The largest file, bytes.
const MAX_FILE: u64 = (MAGIC.len() + 32 + 4 + MAX_HEADER) as u64 + MAX_PULLED;

/// The key that authenticates the files.
#[derive(Clone)]
pub struct ArtifactKey([u8; 32]);

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactKey(…)")
    }
}

impl ArtifactKey {
    /// A new key.
    ///
    /// # Errors
    /// The machine has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }

    /// Reads a key: 64 hexadecimal digits.
    ///
    /// # Errors
    /// The file that cannot be read, or has no key.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut key = [0; 32];
        hex::decode_to_slice(text.trim(), &mut key)
            .map_err(|_| format!("{}: is not a key of 64 hexadecimal digits", file.display()))?;
        Ok(Self(key))
    }

    /// The content of a key file.
    pub fn to_text(&self) -> String {
        hex::encode(self.0) + "\n"
    }
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeArtifact {
    /// What is asked of the code, with the executor parameters that it was prepared with: the header.
    pub call: CodeCall,
    /// The validation code as submitted.
    pub code: Bytes,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It cannot be read.
    #[error("artifact {file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// Why not.
        error: Error,
    },
    /// It has another checksum than the one that the node has for it.
    #[error("artifact: its checksum is not the one that the node has for it")]
    Corrupted,
    /// It is what the node has, but not what an executable with this key wrote: another installation, another version or
    /// another program did.
    #[error("artifact: {0}; a node that is started again has all codes prepared again")]
    Foreign(&'static str),
}

impl NodeArtifact {
    /// The content of the file.
    ///
    /// # Errors
    /// The parameters cannot be encoded.
    pub fn encode(&self, key: &ArtifactKey) -> Result<Vec<u8>, String> {
        let header = rmp_serde::to_vec_named(&self.call).map_err(|e| format!("header of the artifact: {e}"))?;
        let mut file = Vec::with_capacity(MAGIC.len() + 36 + header.len() + self.code.len());
        file.extend(MAGIC);
        file.extend([0; 32]);
        file.extend((header.len() as u32).to_le_bytes());
        file.extend(header);
        file.extend(&self.code);
        let (before, authenticated) = file.split_at_mut(MAGIC.len() + 32);
        before[MAGIC.len()..].copy_from_slice(blake3::keyed_hash(&key.0, authenticated).as_bytes());
        Ok(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`ArtifactError`] says. `checksum` is what the node says of the file.
    pub fn read(file: &Path, checksum: &[u8; 32], key: &ArtifactKey) -> Result<Self, ArtifactError> {
        let failed = |error| ArtifactError::Io { file: file.display().to_string(), error };
        let mut content = Vec::new();
        let opened = std::fs::File::open(file).map_err(failed)?;
        opened.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > MAX_FILE {
            return Err(failed(Error::new(ErrorKind::InvalidData, format!("is over the limit of {MAX_FILE} bytes"))));
        }
        if checksum_of(&content) != *checksum {
            return Err(ArtifactError::Corrupted);
        }
        Self::decode(content.into(), key)
    }

    fn decode(file: Bytes, key: &ArtifactKey) -> Result<Self, ArtifactError> {
        use ArtifactError::Foreign;
        let rest = file.strip_prefix(MAGIC).ok_or(Foreign("it was not written by pvf-fleet, or by another version"))?;
        let (mac, rest) = rest.split_at_checked(32).ok_or(Foreign("it is too short"))?;
        // The comparison of BLAKE3's hashes takes the same time wherever they differ.
        let mac = blake3::Hash::from_slice(mac).map_err(|_| Foreign("it is too short"))?;
        if blake3::keyed_hash(&key.0, rest) != mac {
            return Err(Foreign("it is not authenticated by the key of this machine"));
        }
        let (len, rest) = rest.split_first_chunk().ok_or(Foreign("it has no header"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let header = rest.get(..len).filter(|_| len <= MAX_HEADER).ok_or(Foreign("it has no whole header"))?;
        let call = rmp_serde::from_slice(header).map_err(|_| Foreign("its header does not decode"))?;
        let code = file.slice(file.len() - rest.len() + len..);
        Ok(Self { call, code })
    }
}

/// The checksum that a node compares: twox-256.
pub fn checksum_of(file: &[u8]) -> [u8; 32] {
    sp_crypto_hashing::twox_256(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{
        ids::CodeHash,
        params::{ExecutorParam, ExecutorParams},
    };

    fn artifact() -> NodeArtifact {
        let code = Bytes::from_static(b"\0asm\x01\0\0\0");
        let executor_params = ExecutorParams(vec![ExecutorParam::StackLogicalMax(2048)]);
        NodeArtifact { call: CodeCall { hash: CodeHash::of(&code), bomb_limit: 1 << 20, executor_params }, code }
    }

    fn read(content: &[u8], checksum: &[u8; 32], key: &ArtifactKey) -> Result<NodeArtifact, ArtifactError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        NodeArtifact::read(file.path(), checksum, key)
    }

    #[test]
    fn a_file_round_trips_and_no_byte_of_it_can_be_changed() {
        let key = ArtifactKey::generate().unwrap();
        let file = artifact().encode(&key).unwrap();
        assert_eq!(read(&file, &checksum_of(&file), &key).unwrap(), artifact());
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(matches!(read(&changed, &checksum_of(&file), &key), Err(ArtifactError::Corrupted)), "{at}");
            // A change of both the file and the checksum is found out by the key.
            assert!(matches!(read(&changed, &checksum_of(&changed), &key), Err(ArtifactError::Foreign(_))), "{at}");
            let cut = &file[..at];
            assert!(matches!(read(cut, &checksum_of(cut), &key), Err(ArtifactError::Foreign(_))), "{at}");
        }
        let other = ArtifactKey::generate().unwrap();
        assert!(matches!(read(&file, &checksum_of(&file), &other), Err(ArtifactError::Foreign(_))));
    }

    #[test]
    fn a_missing_file_is_not_a_corrupted_one() {
        let key = ArtifactKey::generate().unwrap();
        let error = NodeArtifact::read(Path::new("/nonexistent/artifact"), &[0; 32], &key).unwrap_err();
        assert!(matches!(error, ArtifactError::Io { .. }), "{error}");
    }

    #[test]
    fn a_key_round_trips_and_is_never_shown() {
        let key = ArtifactKey::generate().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key.to_text()).unwrap();
        assert_eq!(ArtifactKey::read(file.path()).unwrap().0, key.0);
        assert!(!format!("{key:?}").contains(key.to_text().trim()));
        std::fs::write(file.path(), "abc").unwrap();
        assert!(ArtifactKey::read(file.path()).unwrap_err().contains("64 hexadecimal digits"));
    }
}
