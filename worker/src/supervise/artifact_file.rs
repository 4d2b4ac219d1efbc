//! The file of an artifact: what it must contain, and the open file that was found to contain it.

use pvf_shared::store::seal::{ContentHash, content_hash_of};
use std::{
    fs::File,
    io::{Error, ErrorKind, Result, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file of an artifact. A template gets the very descriptor through which its content was verified, so it does not
/// matter what the path leads to later.
#[derive(Debug, Clone)]
pub struct ArtifactFile {
    path: PathBuf,
    content: ContentHash,
    has_start: bool,
    verified: Option<Arc<File>>,
}

impl ArtifactFile {
    /// The artifact in this file, which must have this content; `has_start` is whether its module has a start function.
    /// What is said here must come from a signature that was verified. The path names the artifact: a runner expects
    /// another path for another one.
    pub fn new(path: &Path, content: ContentHash, has_start: bool) -> Self {
        Self { path: path.to_owned(), content, has_start, verified: None }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn has_start(&self) -> bool {
        self.has_start
    }

    /// Opens the file and reads it to verify the content. What the result is used for next needs no other look at it.
    /// Blocks.
    ///
    /// # Errors
    /// The file cannot be read, or `InvalidData`: it has another content.
    pub fn open(&self) -> Result<Self> {
        let mut file = File::open(&self.path)?;
        if content_hash_of(&file)? != self.content {
            return Err(Error::new(ErrorKind::InvalidData, "the copy of the artifact is damaged"));
        }
        file.rewind()?;
        Ok(Self { verified: Some(Arc::new(file)), ..self.clone() })
    }

    /// A descriptor of the verified content.
    pub(super) async fn verified(&self) -> Result<Arc<File>> {
        if let Some(verified) = &self.verified {
            return Ok(verified.clone());
        }
        let artifact = self.clone();
        let opened = tokio::task::spawn_blocking(move || artifact.open()).await.map_err(Error::other)??;
        opened.verified.ok_or_else(|| Error::other("a verified file is open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::store::seal::content_hash;
    use std::{fs, io::Read as _};

    #[tokio::test]
    async fn what_was_verified_is_what_is_mapped_whatever_the_path_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("artifact");
        fs::write(&path, "code").unwrap();
        let artifact = ArtifactFile::new(&path, content_hash(b"code"), false);
        let opened = artifact.open().unwrap();
        // Another file at the same path.
        fs::write(folder.path().join("other"), "evil").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        let mut content = String::new();
        (&*opened.verified().await.unwrap()).read_to_string(&mut content).unwrap();
        assert_eq!(content, "code");
        for changed in [artifact.open().err(), artifact.verified().await.err()] {
            assert_eq!(changed.unwrap().kind(), ErrorKind::InvalidData);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(artifact.verified().await.unwrap_err().raw_os_error(), Some(2));
    }
}
