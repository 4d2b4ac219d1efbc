//! Copies of artifacts on disk, and the room that they take.

use super::folder::CacheFolder;
use crate::supervise::ArtifactFile;
use pvf_shared::artifact::ArtifactDigest;
use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, futures::Notified};

/// How many bytes copies may take, and how many they do.
#[derive(Debug)]
pub(super) struct Space {
    limit: u64,
    used: Mutex<u64>,
    /// A copy was deleted, or a job does not use its copy any more.
    changed: Notify,
}

/// Room for a copy, until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    space: Arc<Space>,
    bytes: u64,
}

impl Space {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: Mutex::new(0), changed: Notify::new() }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of all copies.
    pub(super) fn used_bytes(&self) -> u64 {
        *self.used()
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a copy of so many bytes, if there is.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut used = self.used();
        let sum = used.checked_add(bytes).filter(|sum| *sum <= self.limit)?;
        *used = sum;
        Some(Reservation { space: self.clone(), bytes })
    }

    /// Completes when a copy was deleted or is not used any more.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut used = self.space.used();
        *used = used.saturating_sub(self.bytes);
        drop(used);
        self.space.changed.notify_waiters();
    }
}

/// A file that is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateFile(PathBuf);

impl PrivateFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file that only this user can read. If the folder was removed, or another one is in its place, another
    /// one is created.
    pub(super) fn write(folder: &CacheFolder, bytes: &[u8]) -> io::Result<Self> {
        Self::write_in(&folder.existing()?, bytes)
    }

    fn write_in(folder: &Path, bytes: &[u8]) -> io::Result<Self> {
        use std::io::Write as _;
        let file = Self(folder.join(super::unique_name()));
        let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&file.0)?;
        open.write_all(bytes)?;
        Ok(file)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A copy on disk. It is deleted when the cache has evicted it and no job uses it any more.
#[derive(Debug)]
pub(super) struct Copy {
    // Deleted before the room that it takes is free.
    pub(super) _file: PrivateFile,
    pub(super) digest: ArtifactDigest,
    /// The file, as its signature says that it is.
    pub(super) artifact: ArtifactFile,
    pub(super) room: Reservation,
}

impl Copy {
    pub(super) fn path(&self) -> &Path {
        self.artifact.path()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.room.bytes
    }
}

/// A copy that a job uses: it is not evicted.
#[derive(Debug, Clone)]
pub(in crate::agent) struct UsedCopy {
    /// `None` only while this is dropped.
    copy: Option<Arc<Copy>>,
    space: Arc<Space>,
    artifact: ArtifactFile,
}

impl UsedCopy {
    /// A copy that is mapped already.
    pub(super) fn new(copy: Arc<Copy>) -> Self {
        let artifact = copy.artifact.clone();
        Self::verified(copy, artifact)
    }

    /// A copy whose file was just opened and verified.
    pub(super) fn verified(copy: Arc<Copy>, artifact: ArtifactFile) -> Self {
        let space = copy.room.space.clone();
        Self { copy: Some(copy), space, artifact }
    }

    /// The file.
    pub(in crate::agent) fn file(&self) -> &ArtifactFile {
        &self.artifact
    }
}

impl Drop for UsedCopy {
    fn drop(&mut self) {
        drop(self.copy.take());
        self.space.changed.notify_waiters();
    }
}
