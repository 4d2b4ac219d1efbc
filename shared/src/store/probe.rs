//! Checks that a store is reachable and writable, and compares its clock.

use super::{
    BlobStore, StoreError, keys,
    time_limit::{LOOK_UP, STALLED},
};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use std::time::{Duration, Instant, SystemTime};

/// What the small object contains.
const CONTENT: &[u8] = b"probe";

/// Result of probing a store.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Time to write, read and delete a small object.
    pub took: Duration,
    /// Difference between this machine's clock and the store's.
    pub skew: Duration,
    /// Whether this machine's clock is ahead of the store's.
    pub ahead: bool,
}

impl BlobStore {
    /// Checks that the store is reachable and writable, by writing, reading and deleting a small object.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.probe().await.map(|_| ())
    }

    /// Checks that the store is reachable and readable: all that an execute worker does there is read, and it may run
    /// where it may not write, or while the store is full.
    pub async fn check_readable(&self) -> Result<(), StoreError> {
        self.last_token().await.map(|_| ())
    }

    /// Does the same as [`BlobStore::check`] and measures the time that it takes and the difference of the clocks.
    pub async fn probe(&self) -> Result<Probe, StoreError> {
        let key = keys::write_probe(&uuid::Uuid::now_v7().simple().to_string());
        let started = Instant::now();
        let before = SystemTime::now();
        self.put(&key, Bytes::from_static(CONTENT)).await?;
        let after = SystemTime::now();
        let meta = self.within(LOOK_UP, &key, STALLED, self.inner.head(&self.full(&key))).await?;
        self.get(&key, CONTENT.len() as u64).await?;
        self.delete(&key).await?;
        let written = SystemTime::from(meta.last_modified);
        // A time of the write between `before` and `after` is no difference. (Some stores round it to seconds.)
        let (skew, ahead) = match (before.duration_since(written), written.duration_since(after)) {
            (Ok(ahead), _) => (ahead, true),
            (_, Ok(behind)) => (behind, false),
            _ => (Duration::ZERO, true),
        };
        Ok(Probe { took: started.elapsed(), skew, ahead })
    }
}
