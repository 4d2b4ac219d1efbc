//! Reading objects. What is read is bounded in bytes, because whoever may write to the store could put anything there,
//! and in time: a store that gives nothing for a while is an error, not a wait without end.

use super::{BlobStore, StoreError};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use object_store::{Error, GetResultPayload, ObjectStoreExt as _, path::Path};
use std::{fs::File, io::Read as _, time::Duration};

/// How long a read may go on without an answer or more bytes. It is longer than the time limit of one request to a
/// cloud store (30 s), which is repeated.
const STALLED: Duration = Duration::from_secs(60);
/// Bytes that are read from a file at once.
const CHUNK: u64 = 8 << 20;

impl BlobStore {
    /// Reads an object of at most so many bytes.
    pub(super) async fn get(&self, key: &Path, most: u64) -> Result<Bytes, StoreError> {
        let full = self.full(key);
        let got = self.step(key, self.inner.get(&full)).await?;
        let size = got.meta.size;
        if size > most {
            let (url, key) = (self.url.to_string(), key.to_string());
            return Err(StoreError::TooLarge { url, key, size, most });
        }
        match got.payload {
            GetResultPayload::File(file, _) => self.read_file(key, file, size).await,
            GetResultPayload::Stream(mut stream) => {
                let mut bytes = BytesMut::new();
                while let Some(chunk) = self.step(key, async { stream.next().await.transpose() }).await? {
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
            (file, bytes, n) = self.step(key, chunk).await?;
            if n == 0 || bytes.len() as u64 == size {
                return Ok(bytes.into());
            }
        }
    }

    /// One step of a read, which must not take longer than [`STALLED`].
    async fn step<T>(&self, key: &Path, step: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        match tokio::time::timeout(STALLED, step).await {
            Ok(result) => result.map_err(|e| self.error("read", key, e)),
            Err(_) => {
                let (url, key, seconds) = (self.url.to_string(), key.to_string(), STALLED.as_secs());
                Err(StoreError::Stalled { url, key, seconds })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::seal::SealKey;
    use futures::stream::BoxStream;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
        PutOptions, PutPayload, PutResult, Result as StoreResult, memory::InMemory,
    };
    use std::sync::Arc;

    /// A store in memory whose reads give so many bytes and then hang.
    #[derive(Debug)]
    struct Hanging(InMemory, usize);

    impl std::fmt::Display for Hanging {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a store that hangs")
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Hanging {
        async fn put_opts(&self, at: &Path, what: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
            self.0.put_opts(at, what, options).await
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> StoreResult<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(at, options).await
        }

        async fn get_opts(&self, at: &Path, options: GetOptions) -> StoreResult<GetResult> {
            if self.1 == 0 {
                return std::future::pending().await;
            }
            let got = self.0.get_opts(at, options).await?;
            let (meta, range, attributes, extensions) =
                (got.meta.clone(), got.range.clone(), got.attributes.clone(), got.extensions.clone());
            let first = got.bytes().await?.slice(..self.1);
            let stream = futures::stream::iter([Ok(first)]).chain(futures::stream::pending());
            Ok(GetResult { payload: GetResultPayload::Stream(stream.boxed()), meta, range, attributes, extensions })
        }

        fn delete_stream(&self, at: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
            self.0.delete_stream(at)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_before_or_within_an_object_is_an_error_that_names_it() {
        for given in [0, 3] {
            let inner = Arc::new(Hanging(InMemory::new(), given));
            let store = BlobStore::over(inner, Path::default(), "memory://", SealKey::unkeyed());
            let key = Path::from("inputs/x");
            store.put(&key, Bytes::from_static(b"content")).await.unwrap();
            let error = store.get(&key, 100).await.unwrap_err();
            assert!(matches!(error, StoreError::Stalled { .. }), "{error}");
            assert_eq!(error.to_string(), "store memory://: cannot read inputs/x: the store gave nothing for 60 s");
        }
    }

    #[tokio::test]
    async fn objects_are_read_up_to_their_bound() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["memory://", dir.path().to_str().unwrap()] {
            let store = BlobStore::open(url, SealKey::unkeyed()).unwrap();
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
