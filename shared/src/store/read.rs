//! Reading objects. What is read is bounded in bytes, because whoever may write to the store could put anything there,
//! and in time: a store that gives nothing for a while is an error, not a wait without end.

use super::{
    BlobStore, StoreError,
    time_limit::{READ, STALLED},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::{Error, GetResultPayload, ObjectStoreExt as _, path::Path};
use std::{fs::File, io::Read as _};

/// Bytes that are read from a file at once.
const CHUNK: u64 = 8 << 20;

impl BlobStore {
    /// Reads an object of at most so many bytes.
    pub(super) async fn get(&self, key: &Path, most: u64) -> Result<Bytes, StoreError> {
        let full = self.full(key);
        let got = self.within(READ, key, STALLED, self.inner.get(&full)).await?;
        let size = got.meta.size;
        if size > most {
            let (url, key) = (self.url.to_string(), key.to_string());
            return Err(StoreError::TooLarge { url, key, size, most });
        }
        match got.payload {
            GetResultPayload::File(file, _) => self.read_file(key, file, size).await,
            GetResultPayload::Stream(mut stream) => {
                let mut bytes = BytesMut::new();
                while let Some(chunk) =
                    self.within(READ, key, STALLED, async { stream.next().await.transpose() }).await?
                {
                    if chunk.len() as u64 == size && bytes.is_empty() {
                        return Ok(chunk);
                    }
                    if bytes.is_empty() {
                        bytes.reserve(usize::try_from(size).unwrap_or(0));
                    }
                    bytes.extend_from_slice(&chunk);
                    if bytes.len() as u64 > size {
                        let (url, key, size) = (self.url.to_string(), key.to_string(), bytes.len() as u64);
                        return Err(StoreError::TooLarge { url, key, size, most });
                    }
                }
                Ok(bytes.freeze())
            }
        }
    }

    async fn read_file(&self, key: &Path, mut file: File, size: u64) -> Result<Bytes, StoreError> {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        loop {
            let read = move || {
                let chunk = CHUNK.min(size.saturating_sub(bytes.len() as u64));
                let read = file.by_ref().take(chunk).read_to_end(&mut bytes);
                read.map(|n| (file, bytes, n)).map_err(|e| Error::Generic { store: "folder", source: Box::new(e) })
            };
            let chunk = async { tokio::task::spawn_blocking(read).await? };
            let n;
            (file, bytes, n) = self.within(READ, key, STALLED, chunk).await?;
            if n == 0 || bytes.len() as u64 == size {
                return Ok(bytes.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ArtifactKeys;

    #[tokio::test]
    async fn objects_are_read_up_to_their_bound() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["memory://", dir.path().to_str().unwrap()] {
            let store = BlobStore::open(url, ArtifactKeys::unsigned()).unwrap();
            let key = Path::from("inputs/x");
            // Over one chunk.
            for len in [0, 5, CHUNK as usize + 1] {
                let content: Bytes = (0..len).map(|n| n as u8).collect();
                store.put(&key, content.clone()).await.unwrap();
                assert!(store.get(&key, len as u64).await.unwrap() == content);
                if len > 0 {
                    let error = store.get(&key, len as u64 - 1).await.unwrap_err();
                    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
                }
            }
        }
    }
}
