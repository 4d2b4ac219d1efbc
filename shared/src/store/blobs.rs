//! The store itself: single objects by key, and blobs by the hash of their content.

use super::{StoreError, keys, seal::SealKey};
use crate::{blob::BlobRef, ids::BlobHash};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};
use std::sync::Arc;

/// The fleet's object store. Clones share one connection.
#[derive(Clone)]
pub struct BlobStore {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// Prefix of every key, from the URL.
    prefix: Path,
    pub(super) url: Arc<str>,
    pub(super) key: SealKey,
}

impl std::fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobStore({})", self.url)
    }
}

impl BlobStore {
    pub(super) fn over(inner: Arc<dyn ObjectStore>, prefix: Path, url: &str, key: SealKey) -> Self {
        Self { inner, prefix, url: url.into(), key }
    }

    /// The URL that the store was opened with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A key with the store's prefix.
    pub(super) fn full(&self, key: &Path) -> Path {
        self.prefix.parts().chain(key.parts()).collect()
    }

    pub(super) fn error(&self, action: &'static str, key: &Path, source: object_store::Error) -> StoreError {
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

    /// Lists the objects under a prefix: key, size in bytes, and time of the last write in seconds since 1970.
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

    /// Deletes an object, if it exists.
    pub(super) async fn delete(&self, key: &Path) -> Result<(), StoreError> {
        match self.inner.delete(&self.full(key)).await.map_err(|e| self.error("delete", key, e)) {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Stores a blob under the hash of its content, unless it is stored already.
    pub async fn put_blob(&self, bytes: Bytes) -> Result<BlobRef, StoreError> {
        let hash = BlobHash::of(&bytes);
        let len = bytes.len() as u64;
        if !self.has_blob(&hash, len).await? {
            self.put(&keys::blob(&hash), bytes).await?;
        }
        Ok(BlobRef::Stored { hash, len })
    }

    /// Deletes a blob, if it exists. An inline blob has nothing to delete.
    pub async fn delete_blob(&self, blob: &BlobRef) -> Result<(), StoreError> {
        match blob {
            BlobRef::Inline(_) => Ok(()),
            BlobRef::Stored { hash, .. } => self.delete(&keys::blob(hash)).await,
        }
    }

    /// Whether the store has a blob of this hash and length.
    pub async fn has_blob(&self, hash: &BlobHash, len: u64) -> Result<bool, StoreError> {
        let key = keys::blob(hash);
        match self.inner.head(&self.full(&key)).await {
            Ok(meta) => Ok(meta.size == len),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.error("look up", &key, e)),
        }
    }

    /// Reads a blob and checks its length and hash.
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
}
