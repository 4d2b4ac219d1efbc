//! The worker's own copies of artifacts: fetched once, verified before each use, in a folder that only the worker's
//! user can read and write. Their number and their bytes are bounded: the least recently used copy that no job uses is
//! evicted, and with it the templates that map it, because a mapped file takes space after it is deleted.
//!
//! Whatever fails here is the machine's or the store's trouble: an outcome that says so, never one of the candidate.

mod copy;
mod folder;
#[cfg(test)]
mod tests;
mod tried;

pub(super) use copy::UsedCopy;
pub use tried::TriedFolder;

use super::transfers::{ReadRoom, download};
use crate::{
    metrics::{CacheFootprint, Refused, WorkerMetrics},
    supervise::ArtifactFile,
};
use copy::{Copy, PrivateFile, Reservation, Space};
use folder::CacheFolder;
use lru::LruCache;
use pvf_shared::{
    Bytes,
    artifact::ArtifactDigest,
    ids::ArtifactId,
    job::ExecuteOutcome,
    store::{
        BlobStore, StoreError,
        seal::{Compiled, Sealed},
    },
    units::{GIB, MAX_ARTIFACT, human_bytes},
    verdict::{AmbiguousReason, InternalError},
};
use std::{
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as AsyncMutex;

/// Copies that are kept.
const MAX_COPIES: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Most bytes that copies take unless the settings say otherwise.
const MAX_BYTES: u64 = 16 * GIB as u64;
/// How long a job waits until other jobs have ended that use all the room for copies.
const ROOM_LIMIT: Duration = Duration::from_secs(60);
/// How often a copy is written again when the file system is full: until the processes that map evicted copies are
/// gone.
const FULL_PAUSES: u32 = 10;
/// The first pause before that; each one is longer by as much: 1.4 s in total.
const FULL_PAUSE: Duration = Duration::from_millis(25);

/// Where copies are kept.
#[derive(Debug, Clone)]
pub(super) struct CacheSettings {
    /// The folder that the workers of this machine share; each has one of its own in it.
    pub(super) folder: PathBuf,
    /// Most bytes of copies. The default is 16 GiB, or half of what the file system has free at the start if that is
    /// less, but at least 1 GiB.
    pub(super) bytes: Option<u64>,
}

/// Called with the path of a copy that is evicted.
type OnEvict = Box<dyn Fn(&Path) + Send + Sync>;

/// The copy of one artifact, and how the last attempt to fetch it failed.
#[derive(Default)]
struct Entry {
    copy: Option<Arc<Copy>>,
    failure: Option<Failure>,
}

/// A fetch that failed. It is the answer to all jobs that waited for it.
struct Failure {
    at: Instant,
    digest: Option<ArtifactDigest>,
    outcome: ExecuteOutcome,
}

/// The lock is held while the artifact is fetched, so that only one job fetches it.
type Cell = Arc<AsyncMutex<Entry>>;

/// The worker's own copies.
pub(super) struct ArtifactCache {
    store: BlobStore,
    folder: Arc<CacheFolder>,
    space: Arc<Space>,
    read_room: Arc<ReadRoom>,
    cells: Mutex<LruCache<ArtifactId, Cell>>,
    /// Evicted since the last heartbeat.
    evicted: Mutex<Vec<ArtifactId>>,
    on_evict: OnEvict,
    metrics: WorkerMetrics,
}

/// A name that no other file or folder has.
fn unique_name() -> String {
    pvf_shared::ids::RequestId::new().to_string()
}

impl ArtifactCache {
    /// An empty cache in a new private folder, which is deleted with the cache.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(super) fn new(
        settings: &CacheSettings,
        store: BlobStore,
        read_room: Arc<ReadRoom>,
        on_evict: OnEvict,
        metrics: WorkerMetrics,
    ) -> io::Result<Self> {
        let folder = CacheFolder::create(&settings.folder)?;
        let limit = match settings.bytes {
            Some(bytes) => bytes,
            None => (crate::machine::free_space(&folder.path())? / 2).clamp(MAX_ARTIFACT as u64, MAX_BYTES),
        };
        tracing::info!(folder = %folder.path().display(), limit = human_bytes(limit), "copies of artifacts");
        let (folder, space) = (Arc::new(folder), Arc::new(Space::new(limit)));
        let (cells, evicted) = (Mutex::new(LruCache::new(MAX_COPIES)), Mutex::default());
        Ok(Self { store, folder, space, read_room, cells, evicted, on_evict, metrics })
    }

    /// What the copies take up.
    pub(super) fn footprint(&self) -> CacheFootprint {
        let free = crate::machine::free_space(&self.folder.path()).unwrap_or_default();
        CacheFootprint { bytes: self.space.used_bytes(), bytes_limit: self.space.limit(), free }
    }

    /// The folder of the copies, which is created again if it was removed.
    pub(super) fn folder(&self) -> io::Result<PathBuf> {
        self.folder.existing()
    }

    fn cells(&self) -> MutexGuard<'_, LruCache<ArtifactId, Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Artifacts that have a copy here, or are being fetched.
    pub(super) fn list(&self) -> Vec<ArtifactId> {
        let has_copy = |cell: &Cell| cell.try_lock().map_or(true, |entry| entry.copy.is_some());
        self.cells().iter().filter(|(_, cell)| has_copy(cell)).map(|(id, _)| id.clone()).collect()
    }

    /// Artifacts that were evicted since the last call.
    pub(super) fn take_evicted(&self) -> Vec<ArtifactId> {
        std::mem::take(&mut *self.evicted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cell of an artifact, which is the most recently used one now.
    fn cell(&self, id: &ArtifactId) -> Cell {
        let mut cells = self.cells();
        if let Some(cell) = cells.get(id) {
            return cell.clone();
        }
        let cell = Cell::default();
        let pushed = cells.push(id.clone(), cell.clone());
        drop(cells);
        if let Some((evicted, old)) = pushed {
            self.was_evicted(evicted, &old);
        }
        cell
    }

    fn was_evicted(&self, id: ArtifactId, cell: &Cell) {
        if let Ok(Entry { copy: Some(copy), .. }) = cell.try_lock().as_deref() {
            (self.on_evict)(copy.path());
        }
        self.metrics.artifact_evicted();
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    /// Evicts the least recently used copy that no job uses: its size, or `None` if there is none.
    fn evict_one(&self) -> Option<u64> {
        let mut cells = self.cells();
        let idle = |cell: &Cell| {
            let entry = cell.try_lock().ok()?;
            let copy = entry.copy.as_ref().filter(|copy| Arc::strong_count(copy) == 1)?;
            (Arc::strong_count(cell) == 1).then(|| copy.bytes())
        };
        let (id, bytes) = cells.iter().rev().find_map(|(id, cell)| Some((id.clone(), idle(cell)?)))?;
        let cell = cells.pop(&id)?;
        drop(cells);
        self.was_evicted(id, &cell);
        Some(bytes)
    }

    /// Evicts all copies that no job uses.
    pub(super) fn evict_idle(&self) {
        while self.evict_one().is_some() {}
    }

    /// A copy of the artifact that needs neither the store nor the disk: it has this digest, if one is given, and
    /// `is_mapped` by a template. `None` if there is none.
    pub(super) fn mapped(
        &self,
        id: &ArtifactId,
        digest: Option<ArtifactDigest>,
        is_mapped: impl Fn(&Path) -> bool,
    ) -> Option<UsedCopy> {
        let cell = self.cells().get(id)?.clone();
        let entry = cell.try_lock().ok()?;
        let copy = entry.copy.as_ref().filter(|copy| digest.is_none_or(|digest| digest == copy.digest))?;
        if !is_mapped(copy.path()) {
            return None;
        }
        self.metrics.artifact_requested(true);
        Some(UsedCopy::new(copy.clone()))
    }

    /// A verified copy of the artifact; if `digest` is given, of the artifact with this one. A copy that `is_mapped` by
    /// a template is not read again.
    ///
    /// # Errors
    /// The outcome of a job that needs it.
    pub(super) async fn get(
        &self,
        id: &ArtifactId,
        digest: Option<ArtifactDigest>,
        is_mapped: impl Fn(&Path) -> bool,
    ) -> Result<UsedCopy, ExecuteOutcome> {
        let asked = Instant::now();
        let cell = self.cell(id);
        let mut entry = cell.lock().await;
        if let Some(copy) = entry.copy.as_ref().filter(|copy| digest.is_none_or(|digest| digest == copy.digest)) {
            let used = match is_mapped(copy.path()) {
                true => Some(UsedCopy::new(copy.clone())),
                false => verified(copy.clone()).await,
            };
            if let Some(used) = used {
                self.metrics.artifact_requested(true);
                return Ok(used);
            }
            tracing::warn!(artifact = %id, "the copy of an artifact on this disk is missing or damaged: fetching it again");
        }
        if let Some(failure) = entry.failure.as_ref().filter(|failure| failure.at >= asked && failure.digest == digest)
        {
            return Err(failure.outcome.clone());
        }
        self.metrics.artifact_requested(false);
        if let Some(old) = std::mem::take(&mut *entry).copy {
            (self.on_evict)(old.path());
        }
        match self.fetch(id, digest).await {
            Ok(copy) => {
                let copy = Arc::new(copy);
                entry.copy = Some(copy.clone());
                Ok(UsedCopy::new(copy))
            }
            Err(outcome) => {
                entry.failure = Some(Failure { at: Instant::now(), digest, outcome: outcome.clone() });
                Err(outcome)
            }
        }
    }

    async fn fetch(&self, id: &ArtifactId, digest: Option<ArtifactDigest>) -> Result<Copy, ExecuteOutcome> {
        let corrupted = |why: String| ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(why));
        let internal = ExecuteOutcome::Internal;
        // Until the artifact is in a file.
        let _room = self.read_room.artifact().await;
        let sealed = download(|| self.store.get_artifact(id)).await.map_err(|error| match error {
            StoreError::NotFound { .. } => {
                self.metrics.artifact_refused(Refused::Missing);
                internal(InternalError::ArtifactMissing(error.to_string()))
            }
            StoreError::Seal { .. } | StoreError::TooLarge { .. } => {
                self.metrics.artifact_refused(Refused::Signature);
                corrupted(error.to_string())
            }
            other => {
                self.metrics.artifact_refused(Refused::Store);
                internal(InternalError::Store(other.to_string()))
            }
        })?;
        let Sealed::Artifact { compiled: Compiled { code, has_start }, content, digest: actual } = sealed else {
            let why = "the store has a preparation failure in its place";
            return Err(internal(InternalError::ArtifactMissing(why.into())));
        };
        if digest.is_some_and(|digest| digest != actual) {
            self.metrics.artifact_refused(Refused::OtherVersion);
            return Err(corrupted("it is another version than the one that was prepared last".into()));
        }
        let room = self.room(id, code.len() as u64).await.map_err(internal)?;
        let written = self.write(&code).await;
        let file =
            written.map_err(|error| internal(InternalError::Kernel(format!("copy of the artifact: {error}"))))?;
        let artifact = ArtifactFile::new(file.path(), content, has_start);
        Ok(Copy { _file: file, digest: actual, artifact, room })
    }

    /// Room for a copy of so many bytes: evicts others, and waits for jobs that use theirs.
    async fn room(&self, id: &ArtifactId, bytes: u64) -> Result<Reservation, InternalError> {
        let limit = self.space.limit();
        let refused = |why: &str| {
            let (bytes, limit) = (human_bytes(bytes), human_bytes(limit));
            tracing::error!(artifact = %id, bytes, limit, "no room for a copy of an artifact: {why} (--cache-bytes)");
            InternalError::Kernel(format!("no room for a copy of the artifact, {bytes} of at most {limit}: {why}"))
        };
        if bytes > limit {
            return Err(refused("it is larger than all copies together may be"));
        }
        let waiting = async {
            loop {
                let mut changed = pin!(self.space.changed());
                changed.as_mut().enable();
                if let Some(room) = self.space.reserve(bytes) {
                    return room;
                }
                if self.evict_one().is_none() {
                    changed.await;
                }
            }
        };
        tokio::time::timeout(ROOM_LIMIT, waiting).await.map_err(|_| refused("running jobs use the other copies"))
    }

    /// Writes a file with this content. When the file system is full, copies are evicted and the file is written again.
    async fn write(&self, code: &Bytes) -> io::Result<PrivateFile> {
        let mut pauses = 0;
        loop {
            let (folder, code) = (self.folder.clone(), code.clone());
            let write = move || PrivateFile::write(&folder, &code);
            let error = match tokio::task::spawn_blocking(write).await.map_err(io::Error::other)? {
                Ok(file) => return Ok(file),
                Err(error) => error,
            };
            if !is_full(&error) || pauses == FULL_PAUSES {
                return Err(error);
            }
            pauses += 1;
            let evicted = self.evict_one().is_some();
            tracing::warn!(%error, evicted, "cannot write a copy of an artifact: trying again");
            tokio::time::sleep(FULL_PAUSE * pauses).await;
        }
    }
}

/// Whether a file could not be written for want of space.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The copy, if its file still has the content that was signed.
async fn verified(copy: Arc<Copy>) -> Option<UsedCopy> {
    let artifact = copy.artifact.clone();
    let opened = tokio::task::spawn_blocking(move || artifact.open()).await.ok()?;
    opened.ok().map(|artifact| UsedCopy::verified(copy, artifact))
}
