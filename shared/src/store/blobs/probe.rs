//! Whether a store is there and may be written, and what time it is there.

use super::{BlobStore, StoreError, keys};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use std::time::{Duration, Instant, SystemTime};

/// What a look at a store shows.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// How long a small object took to be written, read and deleted.
    pub took: Duration,
    /// How far this machine's clock is from the store's.
    pub skew: Duration,
    /// This machine's clock is ahead of the store's, not behind.
    pub ahead: bool,
}

impl BlobStore {
    /// Writes, reads and deletes a small object: whether the store is there and may be written.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.probe().await.map(|_| ())
    }

    /// As [`BlobStore::check`]; gives how long it took, and how far this machine's clock is from the store's.
    pub async fn probe(&self) -> Result<Probe, StoreError> {
        let key = keys::write_probe(&uuid::Uuid::now_v7().simple().to_string());
        let started = Instant::now();
        let before = SystemTime::now();
        self.put(&key, Bytes::from_static(b"probe")).await?;
        let after = SystemTime::now();
        let meta = self.inner.head(&self.full(&key)).await.map_err(|e| self.error("look up", &key, e))?;
        self.get(&key).await?;
        self.delete(&key).await?;
        let written = SystemTime::from(meta.last_modified);
        // Between the two it agrees; a store may tell the second only.
        let (skew, ahead) = match (before.duration_since(written), written.duration_since(after)) {
            (Ok(behind_us), _) => (behind_us, true),
            (_, Ok(before_us)) => (before_us, false),
            _ => (Duration::ZERO, true),
        };
        Ok(Probe { took: started.elapsed(), skew, ahead })
    }
}
