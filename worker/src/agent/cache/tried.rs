//! A folder for copies of artifacts, tried out: what a worker would do there at its start, without leaving a trace.

use super::{MAX_COPIES, folder::CacheFolder};
use crate::machine::{free_files, free_space, maps_executable};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A folder of a worker's own in a folder for copies of artifacts. When this is dropped it is removed, and so are the
/// folders above it that did not exist before.
#[derive(Debug)]
pub struct TriedFolder {
    // Before the folders above it.
    own: CacheFolder,
    base: PathBuf,
    _created: Created,
}

/// Folders that did not exist, the innermost one first; they are removed when this is dropped, if they are empty.
#[derive(Debug)]
struct Created(Vec<PathBuf>);

impl Drop for Created {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl TriedFolder {
    /// Files that a worker may need there at once: its copies and one that is written.
    pub const FILES: u64 = MAX_COPIES.get() as u64 + 1;

    /// Creates the folder as a worker does, and maps a file in it.
    ///
    /// # Errors
    /// What a worker could not do; the error names `base`.
    pub fn open(base: &Path) -> io::Result<Self> {
        let absolute = std::path::absolute(base)?;
        let missing = absolute.ancestors().take_while(|folder| fs::symlink_metadata(folder).is_err());
        // Removed also if something below fails.
        let created = Created(missing.map(Path::to_owned).collect());
        let own = CacheFolder::create(base)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", base.display()));
        maps_executable(&own.path()).map_err(named)?;
        Ok(Self { own, base: base.to_owned(), _created: created })
    }

    /// The folder that was tried.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Path of the worker's own folder in it.
    pub fn path(&self) -> PathBuf {
        self.own.path()
    }

    /// Bytes that copies may take.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn free_space(&self) -> io::Result<u64> {
        free_space(&self.path())
    }

    /// Files that may still be created; `None` for no limit.
    ///
    /// # Errors
    /// The file system does not answer.
    pub fn free_files(&self) -> io::Result<Option<u64>> {
        free_files(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_folder_that_is_tried_is_private_and_leaves_no_trace() {
        let base = tempfile::tempdir().unwrap();
        let tried = TriedFolder::open(&base.path().join("not/there/yet")).unwrap();
        assert!(tried.path().starts_with(base.path().join("not/there/yet")) && tried.free_space().unwrap() > 0);
        assert_eq!(fs::metadata(base.path().join("not")).unwrap().permissions().mode() & 0o777, 0o700);
        drop(tried);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
        // What was there stays.
        fs::create_dir(base.path().join("there")).unwrap();
        drop(TriedFolder::open(&base.path().join("there")).unwrap());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
        let error = TriedFolder::open(Path::new("/dev/null/cache")).unwrap_err();
        assert!(error.to_string().contains("/dev/null/cache"), "{error}");
    }
}
