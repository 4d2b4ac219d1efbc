//! The artifacts that an execute worker has read. The node links the same files again and again; a file that has not
//! changed is not read and checked twice.

use crate::artifact::{ArtifactError, ArtifactKey, NodeArtifact};
use std::{
    collections::VecDeque,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The most bytes of codes that are kept; the last one is always kept.
const MAX_BYTES: usize = 64 << 20;

/// What tells a file apart from any other, with the checksum that the node has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    checksum: [u8; 32],
}

/// Reads artifacts.
pub(super) struct Artifacts {
    file: PathBuf,
    key: ArtifactKey,
    read: Mutex<VecDeque<(FileIdentity, Arc<NodeArtifact>)>>,
}

impl Artifacts {
    /// Those that the node links into this folder.
    pub(super) fn new(folder: &Path, key: ArtifactKey) -> Self {
        Self { file: folder.join("artifact"), key, read: Mutex::default() }
    }

    /// The artifact of a request with this checksum. Blocks.
    pub(super) fn read(&self, checksum: [u8; 32]) -> Result<Arc<NodeArtifact>, ArtifactError> {
        let failed = |error| ArtifactError::Io { file: self.file.display().to_string(), error };
        let meta = std::fs::metadata(&self.file).map_err(failed)?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        let identity = FileIdentity { device: meta.dev(), inode: meta.ino(), len: meta.len(), modified, checksum };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = read.iter().position(|(of, _)| *of == identity)
            && let Some(found) = read.remove(at)
        {
            let artifact = found.1.clone();
            read.push_back(found);
            return Ok(artifact);
        }
        let artifact = Arc::new(NodeArtifact::read(&self.file, &checksum, &self.key)?);
        read.push_back((identity, artifact.clone()));
        let mut bytes: usize = read.iter().map(|(_, artifact)| artifact.code.len()).sum();
        while bytes > MAX_BYTES && read.len() > 1 {
            bytes -= read.pop_front().map_or(0, |(_, artifact)| artifact.code.len());
        }
        Ok(artifact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{artifact::checksum_of, code_call::CodeCall};
    use pvf_shared::{Bytes, ids::CodeHash, params::ExecutorParams};

    #[test]
    fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = ArtifactKey::generate().unwrap();
        let artifacts = Artifacts::new(folder.path(), key.clone());
        let write = |code: &'static [u8]| {
            let code = Bytes::from_static(code);
            let executor_params = ExecutorParams::default();
            let call = CodeCall { hash: CodeHash::of(&code), bomb_limit: 1, executor_params };
            let artifact = NodeArtifact { call, code };
            let content = artifact.encode(&key).unwrap();
            // As the node does it: another file under the same name.
            std::fs::write(folder.path().join("new"), &content).unwrap();
            std::fs::rename(folder.path().join("new"), folder.path().join("artifact")).unwrap();
            checksum_of(&content)
        };
        let first = write(b"first");
        assert!(Arc::ptr_eq(&artifacts.read(first).unwrap(), &artifacts.read(first).unwrap()));
        let second = write(b"second one");
        assert_eq!(artifacts.read(second).unwrap().code, &b"second one"[..]);
        assert!(matches!(artifacts.read(first), Err(ArtifactError::Corrupted)));
        std::fs::remove_file(folder.path().join("artifact")).unwrap();
        assert!(matches!(artifacts.read(second), Err(ArtifactError::Io { .. })));
    }
}
