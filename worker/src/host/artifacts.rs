//! The worker's own copies of artifacts: fetched once, verified before each use, in a folder that nobody else can
//! read or write.

use pvf_shared::{
    ids::ArtifactId,
    job::ExecuteOutcome,
    store::{
        BlobStore, StoreError,
        seal::{Mac, Sealed, content_hash, content_hash_of},
    },
    verdict::{AmbiguousReason, InternalError},
};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Mutex as AsyncMutex;

/// Copies that are kept; the one that was used least recently goes first.
const MAX_COPIES: usize = 256;

/// A copy on disk; deleted when nobody uses it any more.
pub(super) struct Copy {
    path: PathBuf,
    mac: Mac,
    content: [u8; 32],
}

impl Copy {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Default)]
struct Entry {
    /// Only one job fetches.
    copy: AsyncMutex<Option<Arc<Copy>>>,
}

/// A counter of uses, and for each artifact when it was last used.
type Entries = (u64, HashMap<ArtifactId, (u64, Arc<Entry>)>);

/// The worker's own copies.
pub(super) struct ArtifactCache {
    store: BlobStore,
    folder: tempfile::TempDir,
    entries: Mutex<Entries>,
    /// Evicted, and not told the coordinator yet.
    gone: Mutex<Vec<ArtifactId>>,
}

impl ArtifactCache {
    /// An empty cache in a fresh private folder, which goes with it.
    pub(super) fn new(store: BlobStore) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("pvf-artifacts-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        Ok(Self { store, folder, entries: Mutex::default(), gone: Mutex::default() })
    }

    /// Artifacts that may have a copy here.
    pub(super) fn list(&self) -> Vec<ArtifactId> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).1.keys().cloned().collect()
    }

    /// Artifacts that were evicted since this was asked last.
    pub(super) fn take_gone(&self) -> Vec<ArtifactId> {
        std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn entry(&self, id: &ArtifactId) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (clock, map) = &mut *entries;
        *clock += 1;
        let slot = map.entry(id.clone()).or_default();
        slot.0 = *clock;
        let entry = slot.1.clone();
        while map.len() > MAX_COPIES {
            let Some(oldest) = map.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| id.clone()) else { break };
            map.remove(&oldest);
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(oldest);
        }
        entry
    }

    /// A verified copy of the artifact, and no other than the one with this MAC, if one is given.
    /// One that `is_mapped` already is not read again.
    pub(super) async fn get(
        &self,
        id: &ArtifactId,
        mac: Option<Mac>,
        is_mapped: impl Fn(&Path) -> bool,
    ) -> Result<Arc<Copy>, ExecuteOutcome> {
        let entry = self.entry(id);
        let mut slot = entry.copy.lock().await;
        if let Some(copy) = slot.as_ref().filter(|copy| mac.is_none_or(|mac| mac == copy.mac)) {
            if is_mapped(&copy.path) || intact(copy.clone()).await {
                return Ok(copy.clone());
            }
            tracing::warn!(artifact = %id, "the copy of an artifact on this disk is damaged: fetching it again");
        }
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
            let why = "the store has a kept failure in its place";
            return Err(internal(InternalError::ArtifactMissing(why.into())));
        };
        if mac.is_some_and(|mac| mac != actual) {
            return Err(corrupted("it is not the one that was prepared (another MAC)".into()));
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

/// Whether the file still has the bytes that were written.
async fn intact(copy: Arc<Copy>) -> bool {
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
    };

    fn id() -> ArtifactId {
        let engine = EngineId::parse("test").unwrap();
        ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine }
    }

    fn cache() -> (BlobStore, ArtifactCache) {
        let store = BlobStore::open("memory://", SealKey::unkeyed()).unwrap();
        (store.clone(), ArtifactCache::new(store).unwrap())
    }

    #[tokio::test]
    async fn copies_are_private_and_kept() {
        let (store, cache) = cache();
        let mac = store.put_artifact(&id(), b"code").await.unwrap();
        let copy = cache.get(&id(), Some(mac), |_| false).await.ok().unwrap();
        assert_eq!(fs::read(copy.path()).unwrap(), b"code");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(copy.path()), mode(cache.folder.path())), (0o400, 0o700));
        // From the disk: the store has it no more.
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
    async fn what_the_store_has_instead() {
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
    async fn a_copy_lives_as_long_as_somebody_uses_it() {
        let (store, cache) = cache();
        let mac = store.put_artifact(&id(), b"code").await.unwrap();
        let copy = cache.get(&id(), Some(mac), |_| false).await.ok().unwrap();
        let new = store.put_artifact(&id(), b"other").await.unwrap();
        cache.get(&id(), Some(new), |_| false).await.ok().unwrap();
        let path = copy.path().to_owned();
        assert!(path.exists(), "a job may not have mapped it yet");
        drop(copy);
        assert!(!path.exists());
    }
}
