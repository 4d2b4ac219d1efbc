//! A store that hangs, for tests.

use super::{ArtifactKeys, BlobStore};
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult, memory::InMemory, path::Path,
};
use std::sync::Arc;

/// What does not hang.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Answers {
    /// Everything but reads of content, which give so many bytes and then hang.
    AllButReads(usize),
    Nothing,
}

/// A store in memory that hangs.
#[derive(Debug)]
struct Hanging(InMemory, Answers);

impl Hanging {
    async fn hang_if_all_does(&self) {
        if self.1 == Answers::Nothing {
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Display for Hanging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a store that hangs")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Hanging {
    async fn put_opts(&self, at: &Path, what: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.hang_if_all_does().await;
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
        let given = match self.1 {
            Answers::AllButReads(_) if options.head => return self.0.get_opts(at, options).await,
            Answers::Nothing | Answers::AllButReads(0) => return std::future::pending().await,
            Answers::AllButReads(given) => given,
        };
        let got = self.0.get_opts(at, options).await?;
        let (meta, range, attributes, extensions) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone(), got.extensions.clone());
        let first = got.bytes().await?.slice(..given);
        let stream = futures::stream::iter([Ok(first)]).chain(futures::stream::pending());
        Ok(GetResult { payload: GetResultPayload::Stream(stream.boxed()), meta, range, attributes, extensions })
    }

    fn delete_stream(&self, at: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        match self.1 {
            Answers::Nothing => futures::stream::pending().boxed(),
            Answers::AllButReads(_) => self.0.delete_stream(at),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.1 {
            Answers::Nothing => futures::stream::pending().boxed(),
            Answers::AllButReads(_) => self.0.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// A store that hangs in everything but what `answers` says.
pub(crate) fn hanging_store(answers: Answers) -> BlobStore {
    let inner = Arc::new(Hanging(InMemory::new(), answers));
    BlobStore::over(inner, Path::default(), "memory://", ArtifactKeys::unsigned())
}
