//! The worker's own copies of artifacts: fetched once, verified before each use, in a folder that only the worker's
//! user can read and write. The least recently used copy is evicted.

use crate::metrics::WorkerMetrics;
use lru::LruCache;
use pvf_shared::{
    artifact::Mac,
    ids::ArtifactId,
    job::ExecuteOutcome,
    store::{
        BlobStore, StoreError,
        seal::{Sealed, content_hash, content_hash_of},
    },
    verdict::{AmbiguousReason, InternalError},
};
use std::{
    fs, io,
    num::NonZeroUsize,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Mutex as AsyncMutex;

/// Copies that are kept.
const MAX_COPIES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// A copy on disk. The file is deleted when the cache has evicted it and no job uses it any more.
pub(super) struct Copy {
    path: PathBuf,
    mac: Mac,
    content: [u8; 32],
}

impl Copy {
    /// Path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The copy of one artifact. The lock is held while it is fetched, so that only one job fetches it.
type Cell = Arc<AsyncMutex<Option<Arc<Copy>>>>;

/// The worker's own copies.
pub(super) struct ArtifactCache {
    store: BlobStore,
    folder: tempfile::TempDir,
    cells: Mutex<LruCache<ArtifactId, Cell>>,
    /// Evicted since the last heartbeat.
    evicted: Mutex<Vec<ArtifactId>>,
    metrics: WorkerMetrics,
}

impl ArtifactCache {
    /// An empty cache in a new private folder, which is deleted with the cache.
    pub(super) fn new(store: BlobStore, metrics: WorkerMetrics) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pvf-artifacts-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let (cells, evicted) = (Mutex::new(LruCache::new(MAX_COPIES)), Mutex::default());
        Ok(Self { store, folder, cells, evicted, metrics })
    }

    /// The folder of the copies.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Artifacts that may have a copy here.
    pub(super) fn list(&self) -> Vec<ArtifactId> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().map(|(id, _)| id.clone()).collect()
    }

    /// Artifacts that were evicted since the last call.
    pub(super) fn take_evicted(&self) -> Vec<ArtifactId> {
        std::mem::take(&mut *self.evicted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cell of an artifact, which is the most recently used one now.
    fn cell(&self, id: &ArtifactId) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(id) {
            return cell.clone();
        }
        let cell = Cell::default();
        if let Some((evicted, _)) = cells.push(id.clone(), cell.clone()) {
            self.metrics.artifact_evicted();
            self.evicted.lock().unwrap_or_else(PoisonError::into_inner).push(evicted);
        }
        cell
    }

    /// A verified copy of the artifact; if `mac` is given, of the artifact with this MAC. A copy that `is_mapped` by a
    /// template is not read again.
    ///
    /// # Errors
    /// The outcome of a job that needs it.
    pub(super) async fn get(
        &self,
        id: &ArtifactId,
        mac: Option<Mac>,
        is_mapped: impl Fn(&Path) -> bool,
    ) -> Result<Arc<Copy>, ExecuteOutcome> {
        let cell = self.cell(id);
        let mut slot = cell.lock().await;
        if let Some(copy) = slot.as_ref().filter(|copy| mac.is_none_or(|mac| mac == copy.mac)) {
            if is_mapped(&copy.path) || is_intact(copy.clone()).await {
                self.metrics.artifact_requested(true);
                return Ok(copy.clone());
            }
            tracing::warn!(artifact = %id, "the copy of an artifact on this disk is damaged: fetching it again");
        }
        self.metrics.artifact_requested(false);
        *slot = None;
        let copy = Arc::new(self.fetch(id, mac).await?);
        *slot = Some(copy.clone());
        Ok(copy)
    }

    async fn fetch(&self, id: &ArtifactId, mac: Option<Mac>) -> Result<Copy, ExecuteOutcome> {
        let corrupted = |why: String| ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(why));
        let internal = ExecuteOutcome::Internal;
        let sealed = self.store.get_artifact(id).await.map_err(|error| match error {
            StoreError::NotFound { .. } => internal(InternalError::ArtifactMissing(error.to_string())),
            StoreError::Seal { .. } => corrupted(error.to_string()),
            other => internal(InternalError::Store(other.to_string())),
        })?;
        let Sealed::Artifact { code, mac: actual } = sealed else {
            let why = "the store has a preparation failure in its place";
            return Err(internal(InternalError::ArtifactMissing(why.into())));
        };
        if mac.is_some_and(|mac| mac != actual) {
            return Err(corrupted("its MAC is not that of the prepared artifact".into()));
        }
        let path = self.folder.path().join(uuid_name());
        let content = *content_hash(&code).as_bytes();
        let copy = Copy { path: path.clone(), mac: actual, content };
        let written = tokio::task::spawn_blocking(move || write_private(&path, &code)).await;
        match written {
            Ok(Ok(())) => Ok(copy),
            Ok(Err(error)) => Err(internal(InternalError::Kernel(format!("copy of the artifact: {error}")))),
            Err(error) => Err(internal(InternalError::Kernel(error.to_string()))),
        }
    }
}

fn uuid_name() -> String {
    pvf_shared::ids::WorkerId::new().to_string()
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(bytes)
}

/// Whether the file still has the content that was written.
async fn is_intact(copy: Arc<Copy>) -> bool {
    let check = move || {
        let hash = fs::File::open(&copy.path).and_then(content_hash_of);
        hash.is_ok_and(|hash| *hash.as_bytes() == copy.content)
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{
        ids::{CodeHash, EngineId, PrepHash},
        store::seal::SealKey,
        verdict::PrepareError,
        wire::WorkerKind,
    };

    fn id() -> ArtifactId {
        let engine = EngineId::parse("test").unwrap();
        ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine }
    }

    fn cache() -> (BlobStore, ArtifactCache) {
        let store = BlobStore::open("memory://", SealKey::unkeyed()).unwrap();
        let metrics = WorkerMetrics::new(WorkerKind::Execute, 1).unwrap();
        (store.clone(), ArtifactCache::new(store, metrics).unwrap())
    }

    #[tokio::test]
    async fn copies_are_private_and_kept() {
        let (store, cache) = cache();
        let mac = store.put_artifact(&id(), b"code").await.unwrap();
        let copy = cache.get(&id(), Some(mac), |_| false).await.ok().unwrap();
        assert_eq!(fs::read(copy.path()).unwrap(), b"code");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(copy.path()), mode(cache.folder.path())), (0o400, 0o700));
        // From the disk, although the store does not have it any more.
        store.delete_artifact(&id()).await.unwrap();
        let again = cache.get(&id(), None, |_| false).await.ok().unwrap();
        assert_eq!(again.path(), copy.path());
    }

    #[tokio::test]
    async fn a_damaged_or_deleted_copy_is_fetched_again() {
        let (store, cache) = cache();
        let mac = store.put_artifact(&id(), b"code").await.unwrap();
        for damage in [Some(&b"c0de"[..]), Some(b"cod"), None] {
            let copy = cache.get(&id(), Some(mac), |_| false).await.ok().unwrap();
            fs::remove_file(copy.path()).unwrap();
            if let Some(bytes) = damage {
                fs::write(copy.path(), bytes).unwrap();
            }
            let again = cache.get(&id(), Some(mac), |_| false).await.ok().unwrap();
            assert_eq!(fs::read(again.path()).unwrap(), b"code");
        }
    }

    #[tokio::test]
    async fn missing_and_replaced_artifacts_have_their_own_outcomes() {
        let (store, cache) = cache();
        let get = async |mac| cache.get(&id(), mac, |_| false).await.err().unwrap();
        assert!(matches!(get(None).await, ExecuteOutcome::Internal(InternalError::ArtifactMissing(_))));
        store.put_failure(&id(), &PrepareError::OutOfMemory).await.unwrap();
        assert!(matches!(get(None).await, ExecuteOutcome::Internal(InternalError::ArtifactMissing(_))));
        let old = store.put_artifact(&id(), b"old").await.unwrap();
        store.put_artifact(&id(), b"new").await.unwrap();
        assert!(matches!(get(Some(old)).await, ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(_))));
    }

    #[tokio::test]
    async fn a_copy_is_kept_while_a_job_uses_it() {
        let (store, cache) = cache();
        let mac = store.put_artifact(&id(), b"code").await.unwrap();
        let copy = cache.get(&id(), Some(mac), |_| false).await.ok().unwrap();
        let new = store.put_artifact(&id(), b"other").await.unwrap();
        cache.get(&id(), Some(new), |_| false).await.ok().unwrap();
        let path = copy.path().to_owned();
        assert!(path.exists(), "a job may be about to map it");
        drop(copy);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_least_recently_used_copy_is_evicted() {
        let (store, cache) = cache();
        let numbered = |n: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_le_bytes());
            ArtifactId { code_hash: CodeHash(hash), ..id() }
        };
        let get = async |n| cache.get(&numbered(n), None, |_| false).await.ok().unwrap().path().to_owned();
        let full = MAX_COPIES.get() as u32;
        for n in 0..=full {
            store.put_artifact(&numbered(n), b"code").await.unwrap();
        }
        let first = get(0).await;
        for n in 1..full {
            get(n).await;
        }
        assert!(cache.take_evicted().is_empty());
        get(0).await;
        get(full).await;
        assert_eq!(cache.take_evicted(), [numbered(1)]);
        assert!(cache.take_evicted().is_empty() && first.exists());
        let mut kept = cache.list();
        kept.sort_unstable();
        let mut expected: Vec<_> = (0..=full).filter(|n| *n != 1).map(numbered).collect();
        expected.sort_unstable();
        assert_eq!(kept, expected);
        let text = cache.metrics.text();
        for line in [
            "pvf_worker_artifact_cache_evictions{kind=\"execute\"} 1",
            "pvf_worker_artifact_cache_hits{kind=\"execute\"} 1",
            &format!("pvf_worker_artifact_cache_misses{{kind=\"execute\"}} {}", full + 1),
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
