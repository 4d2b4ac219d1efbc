//! The store itself: single objects by key.

use super::{
    ArtifactKeys, StoreError,
    time_limit::{DELETE, LIST, STALLED, StoreWatch, WRITE, write_limit},
};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};
use std::sync::Arc;

/// The fleet's object store. Clones share one connection.
#[derive(Clone)]
pub struct BlobStore {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// Prefix of every key, from the URL.
    prefix: Path,
    pub(super) url: Arc<str>,
    pub(super) artifact_keys: ArtifactKeys,
    /// The bucket of a cloud store.
    bucket: Option<Arc<Bucket>>,
    /// Is told of each operation.
    pub(super) watch: Option<StoreWatch>,
}

/// The bucket (or container) of a cloud store.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) name: String,
    /// The server or provider that is asked for it.
    pub(super) endpoint: String,
}

/// The codes with which cloud stores say that a bucket does not exist: S3 and Google, Azure.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

impl std::fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStore({})", self.url)
    }
}

impl BlobStore {
    pub(super) fn over(inner: Arc<dyn ObjectStore>, prefix: Path, url: &str, artifact_keys: ArtifactKeys) -> Self {
        Self { inner, prefix, url: url.into(), artifact_keys, bucket: None, watch: None }
    }

    #[cfg(feature = "cloud-client")]
    pub(super) fn in_bucket(self, bucket: Bucket) -> Self {
        Self { bucket: Some(Arc::new(bucket)), ..self }
    }

    /// The same store, with each of its operations told to `watch`.
    pub fn watched_by(self, watch: StoreWatch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The URL that the store was opened with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The keys that artifacts are signed and verified with.
    pub fn artifact_keys(&self) -> &ArtifactKeys {
        &self.artifact_keys
    }

    /// A key with the store's prefix.
    pub(super) fn full(&self, key: &Path) -> Path {
        self.prefix.parts().chain(key.parts()).collect()
    }

    pub(super) fn error(&self, action: &'static str, key: &Path, source: object_store::Error) -> StoreError {
        let (url, key) = (self.url.to_string(), key.to_string());
        match source {
            object_store::Error::NotFound { source, .. } => match &self.bucket {
                // A store does not answer that an object is missing that is about to be written.
                Some(bucket) if action == WRITE || NO_BUCKET.iter().any(|code| source.to_string().contains(code)) => {
                    StoreError::NoBucket { url, bucket: bucket.name.clone(), endpoint: bucket.endpoint.clone() }
                }
                _ => StoreError::NotFound { url, key },
            },
            source => StoreError::Failed { url, action, key, source: Box::new(source) },
        }
    }

    pub(super) async fn put(&self, key: &Path, bytes: Bytes) -> Result<(), StoreError> {
        let (full, limit) = (self.full(key), write_limit(bytes.len() as u64));
        self.within(WRITE, key, limit, self.inner.put(&full, PutPayload::from_bytes(bytes))).await.map(drop)
    }

    /// Lists the objects under a prefix: key, size in bytes, and time of the last write in seconds since 1970.
    pub(super) async fn list(&self, under: &Path) -> Result<Vec<(Path, u64, u64)>, StoreError> {
        let skip = self.prefix.parts().count();
        let mut listing = self.inner.list(Some(&self.full(under)));
        let mut objects = Vec::new();
        while let Some(object) = self.within(LIST, under, STALLED, listing.try_next()).await? {
            let key = object.location.parts().skip(skip).collect();
            objects.push((key, object.size, u64::try_from(object.last_modified.timestamp()).unwrap_or(0)));
        }
        Ok(objects)
    }

    /// Deletes an object, if it exists.
    pub(super) async fn delete(&self, key: &Path) -> Result<(), StoreError> {
        match self.within(DELETE, key, STALLED, self.inner.delete(&self.full(key))).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }
}
