//! Blobs over the `object_store` crate: inputs by their content, artifacts sealed.

mod probe;

use super::{
    keys,
    seal::{self, Mac, SealError, SealKey, Sealed},
};
use crate::{
    ids::{ArtifactId, BlobHash},
    job::{ArtifactInfo, BlobRef},
    verdict::PrepareError,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};
use std::{path::PathBuf, sync::Arc};
use url::Url;

pub use probe::Probe;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one of a store.
    #[error("store URL {url:?}: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store did not do what it was asked.
    #[error("store {url}: cannot {action} {key}: {source}")]
    Failed {
        /// The store.
        url: String,
        /// What was tried.
        action: &'static str,
        /// With which object.
        key: String,
        /// Why not.
        source: Box<object_store::Error>,
    },
    /// The object is not there.
    #[error("store {url}: no object {key}")]
    NotFound {
        /// The store.
        url: String,
        /// The missing object.
        key: String,
    },
    /// A blob's content does not match its name.
    #[error("store {url}: object {key} is damaged: its content has another hash or length")]
    Damaged {
        /// The store.
        url: String,
        /// The damaged object.
        key: String,
    },
    /// An artifact's seal does not hold.
    #[error("store {url}: object {key}: {source}")]
    Seal {
        /// The store.
        url: String,
        /// The object.
        key: String,
        /// Why not.
        source: SealError,
    },
}

/// What the store has for an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Compiled code.
    Prepared(ArtifactInfo),
    /// A failure that is kept.
    Failed(PrepareError),
    /// Something that was not sealed by this fleet.
    Damaged,
}

/// The fleet's object store. Cheap to clone.
#[derive(Clone)]
pub struct BlobStore {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
    key: SealKey,
}

impl std::fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStore({})", self.url)
    }
}

impl BlobStore {
    /// Opens `file:///path`, a plain path, `memory://`, `s3://bucket/prefix`, `gs://…` or `az://…`. Cloud
    /// credentials come from the usual environment variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    ///
    /// A local folder that does not exist is made. Nothing else is touched: see [`BlobStore::check`].
    pub fn open(url: &str, key: SealKey) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::Url { url: url.to_owned(), why };
        if !url.contains("://") {
            if url.is_empty() {
                return Err(wrong("empty".into()));
            }
            return Self::open_folder(url, url.into(), key);
        }
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let path = parsed.to_file_path().map_err(|()| wrong("file URLs need an absolute path".into()))?;
                Self::open_folder(url, path, key)
            }
            "memory" => Ok(Self::over(Arc::new(object_store::memory::InMemory::new()), Path::default(), url, key)),
            "s3" | "gs" | "az" => open_cloud(url, &parsed, key),
            other => Err(wrong(format!("unknown scheme {other:?}; known: file, memory, s3, gs, az"))),
        }
    }

    /// As [`BlobStore::open`], for what is in a process of its own: a store in the memory of one process is refused,
    /// because nobody else would find anything in it.
    pub fn open_shared(url: &str, key: SealKey) -> Result<Self, StoreError> {
        if url.starts_with("memory:") {
            let why = "is in the memory of one process, a fleet needs a store that all its processes can reach".into();
            return Err(StoreError::Url { url: url.to_owned(), why });
        }
        Self::open(url, key)
    }

    fn open_folder(url: &str, path: PathBuf, key: SealKey) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Failed {
            url: url.to_owned(),
            action: "open",
            key: "its folder".into(),
            source: Box::new(source),
        };
        std::fs::create_dir_all(&path)
            .map_err(|e| failed(object_store::Error::Generic { store: "folder", source: Box::new(e) }))?;
        let local = object_store::local::LocalFileSystem::new_with_prefix(&path)
            .map_err(failed)?
            // A rename without fsync may leave an empty artifact after a power failure.
            .with_fsync(true);
        Ok(Self::over(Arc::new(local), Path::default(), url, key))
    }

    fn over(inner: Arc<dyn ObjectStore>, prefix: Path, url: &str, key: SealKey) -> Self {
        Self { inner, prefix, url: url.into(), key }
    }

    /// The URL it was opened with.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn full(&self, key: &Path) -> Path {
        self.prefix.parts().chain(key.parts()).collect()
    }

    fn error(&self, action: &'static str, key: &Path, source: object_store::Error) -> StoreError {
        let (url, key) = (self.url.to_string(), key.to_string());
        match source {
            object_store::Error::NotFound { .. } => StoreError::NotFound { url, key },
            source => StoreError::Failed { url, action, key, source: Box::new(source) },
        }
    }

    pub(super) async fn get(&self, key: &Path) -> Result<Bytes, StoreError> {
        let got = self.inner.get(&self.full(key)).await.map_err(|e| self.error("read", key, e))?;
        got.bytes().await.map_err(|e| self.error("read", key, e))
    }

    pub(super) async fn put(&self, key: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.inner.put(&self.full(key), PutPayload::from_bytes(bytes)).await;
        put.map(drop).map_err(|e| self.error("write", key, e))
    }

    /// The objects under a prefix: key, size in bytes, and when each was written, seconds since 1970.
    pub(super) fn list(&self, under: &Path) -> impl Stream<Item = Result<(Path, u64, u64), StoreError>> + '_ {
        let under = under.clone();
        let skip = self.prefix.parts().count();
        self.inner.list(Some(&self.full(&under))).map(move |object| match object {
            Ok(object) => {
                let key = object.location.parts().skip(skip).collect();
                Ok((key, object.size, u64::try_from(object.last_modified.timestamp()).unwrap_or(0)))
            }
            Err(error) => Err(self.error("list", &under, error)),
        })
    }

    async fn delete(&self, key: &Path) -> Result<(), StoreError> {
        match self.inner.delete(&self.full(key)).await.map_err(|e| self.error("delete", key, e)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Stores a blob under its content's hash, unless it is there already.
    pub async fn put_blob(&self, bytes: Bytes) -> Result<BlobRef, StoreError> {
        let hash = BlobHash::of(&bytes);
        let len = bytes.len() as u64;
        if !self.has_blob(&hash, len).await? {
            self.put(&keys::blob(&hash), bytes).await?;
        }
        Ok(BlobRef::Stored { hash, len })
    }

    /// Deletes a blob, if it is there.
    pub async fn delete_blob(&self, blob: &BlobRef) -> Result<(), StoreError> {
        match blob {
            BlobRef::Inline(_) => Ok(()),
            BlobRef::Stored { hash, .. } => self.delete(&keys::blob(hash)).await,
        }
    }

    /// Whether a blob of this name and length is there.
    pub async fn has_blob(&self, hash: &BlobHash, len: u64) -> Result<bool, StoreError> {
        let key = keys::blob(hash);
        match self.inner.head(&self.full(&key)).await {
            Ok(meta) => Ok(meta.size == len),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.error("look up", &key, e)),
        }
    }

    /// The bytes of a blob, checked against its name.
    pub async fn fetch(&self, blob: &BlobRef) -> Result<Bytes, StoreError> {
        match blob {
            BlobRef::Inline(bytes) => Ok(bytes.clone()),
            BlobRef::Stored { hash, len } => {
                let key = keys::blob(hash);
                let bytes = self.get(&key).await?;
                if bytes.len() as u64 != *len || BlobHash::of(&bytes) != *hash {
                    return Err(StoreError::Damaged { url: self.url.to_string(), key: key.to_string() });
                }
                Ok(bytes)
            }
        }
    }

    /// Seals compiled code and stores it; gives its MAC.
    pub async fn put_artifact(&self, id: &ArtifactId, code: &[u8]) -> Result<Mac, StoreError> {
        let (object, mac) = seal::seal_artifact(&self.key, id, code);
        self.put(&keys::artifact(id), object).await?;
        Ok(mac)
    }

    /// Keeps a failure, so that broken code is not tried again.
    pub async fn put_failure(&self, id: &ArtifactId, error: &PrepareError) -> Result<(), StoreError> {
        self.put(&keys::artifact(id), seal::seal_failure(&self.key, id, error)).await
    }

    /// The artifact or the kept failure; [`StoreError::NotFound`] if there is none, [`StoreError::Seal`] if
    /// it is not what was sealed.
    pub async fn get_artifact(&self, id: &ArtifactId) -> Result<Sealed, StoreError> {
        let key = keys::artifact(id);
        let object = self.get(&key).await?;
        // Large ones take some time: not on a thread that others wait for.
        let (seal_key, artifact) = (self.key.clone(), id.clone());
        let opened = tokio::task::spawn_blocking(move || seal::open(&seal_key, &artifact, &object)).await;
        opened.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())).map_err(|source| StoreError::Seal {
            url: self.url.to_string(),
            key: key.to_string(),
            source,
        })
    }

    /// What the store has for this artifact, by its header alone: whoever maps it verifies it.
    pub async fn look_up(&self, id: &ArtifactId) -> Result<Option<Found>, StoreError> {
        let key = keys::artifact(id);
        let options = GetOptions { range: Some((0..seal::CLAIM_LEN as u64).into()), ..Default::default() };
        let got = match self.inner.get_opts(&self.full(&key), options).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => {
                // An empty object has no first bytes, and asking for them is an error.
                let meta = self.inner.head(&self.full(&key)).await;
                let empty = meta.is_ok_and(|meta| meta.size == 0);
                return if empty { Ok(Some(Found::Damaged)) } else { Err(self.error("look up", &key, e)) };
            }
        };
        let len = got.meta.size;
        let head = got.bytes().await.map_err(|e| self.error("look up", &key, e))?;
        match seal::claim(&head, len) {
            Ok(Some((bytes, mac))) => Ok(Some(Found::Prepared(ArtifactInfo { bytes, mac }))),
            Err(_) => Ok(Some(Found::Damaged)),
            Ok(None) => match self.get_artifact(id).await {
                Ok(Sealed::Failure(error)) => Ok(Some(Found::Failed(error))),
                Ok(Sealed::Artifact { .. }) | Err(StoreError::Seal { .. }) => Ok(Some(Found::Damaged)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            },
        }
    }

    /// Drops an artifact; it does not matter if there is none.
    pub async fn delete_artifact(&self, id: &ArtifactId) -> Result<(), StoreError> {
        self.delete(&keys::artifact(id)).await
    }
}

#[cfg(not(any(feature = "s3", feature = "gs", feature = "az")))]
fn open_cloud(url: &str, parsed: &Url, _: SealKey) -> Result<BlobStore, StoreError> {
    let why = format!("built without support for {}:// (cargo features s3, gs, az)", parsed.scheme());
    Err(StoreError::Url { url: url.to_owned(), why })
}

#[cfg(any(feature = "s3", feature = "gs", feature = "az"))]
fn open_cloud(url: &str, parsed: &Url, key: SealKey) -> Result<BlobStore, StoreError> {
    let wrong = |why: String| StoreError::Url { url: url.to_owned(), why };
    let bucket = parsed.host_str().filter(|b| !b.is_empty()).ok_or_else(|| wrong("names no bucket".into()))?;
    let prefix = Path::parse(parsed.path().trim_matches('/')).map_err(|e| wrong(e.to_string()))?;
    let inner: Arc<dyn ObjectStore> = match parsed.scheme() {
        #[cfg(feature = "s3")]
        "s3" => Arc::new(
            object_store::aws::AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
        ),
        #[cfg(feature = "gs")]
        "gs" => Arc::new(
            object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
        ),
        #[cfg(feature = "az")]
        "az" => Arc::new(
            object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
        ),
        other => return Err(wrong(format!("built without support for {other}://"))),
    };
    Ok(BlobStore::over(inner, prefix, url, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CodeHash, EngineId, PrepHash};

    fn id() -> ArtifactId {
        ArtifactId {
            code_hash: CodeHash([1; 32]),
            prep_hash: PrepHash([2; 32]),
            engine: EngineId::parse("test").unwrap(),
        }
    }

    /// The same for every kind of store.
    async fn conformance(store: BlobStore) {
        store.check().await.unwrap();
        let blob = store.put_blob(Bytes::from_static(b"pov")).await.unwrap();
        assert_eq!(store.put_blob(Bytes::from_static(b"pov")).await.unwrap(), blob);
        assert_eq!(store.fetch(&blob).await.unwrap(), "pov");
        let absent = BlobRef::Stored { hash: BlobHash([9; 32]), len: 1 };
        assert!(matches!(store.fetch(&absent).await, Err(StoreError::NotFound { .. })));
        assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::NotFound { .. })));
        let mac = store.put_artifact(&id(), b"code").await.unwrap();
        let got = store.get_artifact(&id()).await.unwrap();
        assert_eq!(got, Sealed::Artifact { code: Bytes::from_static(b"code"), mac });
        assert_eq!(store.look_up(&id()).await.unwrap(), Some(Found::Prepared(ArtifactInfo { bytes: 4, mac })));
        store.put_failure(&id(), &PrepareError::OutOfMemory).await.unwrap();
        assert_eq!(store.get_artifact(&id()).await.unwrap(), Sealed::Failure(PrepareError::OutOfMemory));
        assert_eq!(store.look_up(&id()).await.unwrap(), Some(Found::Failed(PrepareError::OutOfMemory)));
        for damaged in [&b""[..], b"bad"] {
            store.put(&keys::artifact(&id()), Bytes::from_static(damaged)).await.unwrap();
            assert_eq!(store.look_up(&id()).await.unwrap(), Some(Found::Damaged));
            assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
        }
        store.delete_artifact(&id()).await.unwrap();
        assert_eq!(store.look_up(&id()).await.unwrap(), None);
        store.delete_artifact(&id()).await.unwrap();
        assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::NotFound { .. })));
    }

    #[tokio::test]
    async fn memory_and_folder_keep_the_contract() {
        conformance(BlobStore::open("memory://", SealKey::unkeyed()).unwrap()).await;
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}/made/here", dir.path().display());
        conformance(BlobStore::open(&url, SealKey::unkeyed()).unwrap()).await;
        let plain = dir.path().join("plain");
        conformance(BlobStore::open(plain.to_str().unwrap(), SealKey::unkeyed()).unwrap()).await;
    }

    #[tokio::test]
    async fn damage_on_disk_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().to_str().unwrap(), SealKey::unkeyed()).unwrap();
        let blob = store.put_blob(Bytes::from_static(b"pov")).await.unwrap();
        let BlobRef::Stored { hash, .. } = &blob else { panic!("put_blob gives a stored blob") };
        std::fs::write(dir.path().join(keys::blob(hash).as_ref()), b"bad").unwrap();
        assert!(matches!(store.fetch(&blob).await, Err(StoreError::Damaged { .. })));
        store.put_artifact(&id(), b"code").await.unwrap();
        std::fs::write(dir.path().join(keys::artifact(&id()).as_ref()), b"bad").unwrap();
        assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
    }

    #[test]
    fn urls_are_checked() {
        for (url, word) in
            [("ftp://x", "unknown scheme"), ("file://relative/x", "absolute"), ("", "empty"), ("/dev/null/x", "folder")]
        {
            let error = BlobStore::open(url, SealKey::unkeyed()).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }
}
