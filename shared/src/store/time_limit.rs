//! Time limits of the store's operations: a store that hangs is an error, not a wait without end.

use super::{BlobStore, StoreError};
use object_store::{Error, path::Path};
use std::{sync::Arc, time::Duration};

/// How long the store may give neither an answer nor more bytes. It is longer than the time limit of one request to a
/// cloud store (30 s), which is repeated.
pub(super) const STALLED: Duration = Duration::from_secs(60);
/// The slowest writing that is still waited for, bytes a second. The store tells nothing while it takes an object.
const SLOWEST_WRITE: u64 = 256 << 10;

/// Operations, as verbs in errors.
pub(super) const READ: &str = "read";
pub(super) const WRITE: &str = "write";
pub(super) const LOOK_UP: &str = "look up";
pub(super) const LIST: &str = "list";
pub(super) const DELETE: &str = "delete";
/// All of them.
pub const OPERATIONS: [&str; 5] = [READ, WRITE, LOOK_UP, LIST, DELETE];

/// How an operation of the store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreResult {
    /// The store did it, or said that there is no such object.
    Ok,
    /// The store failed.
    Failed,
    /// The store gave nothing for too long.
    Stalled,
}

impl StoreResult {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }
}

/// Is told of each operation of a store: what it was, how it ended and how long it took.
pub type StoreWatch = Arc<dyn Fn(&'static str, StoreResult, Duration) + Send + Sync>;

/// How long writing an object of this many bytes may take.
pub(super) fn write_limit(len: u64) -> Duration {
    STALLED + Duration::from_secs(len / SLOWEST_WRITE)
}

impl BlobStore {
    /// Carries out an operation, or a step of one, which must not take longer than `limit`.
    pub(super) async fn within<T>(
        &self,
        action: &'static str,
        key: &Path,
        limit: Duration,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let started = tokio::time::Instant::now();
        let result = tokio::time::timeout(limit, operation).await;
        if let Some(watch) = &self.watch {
            let result = match &result {
                // That there is no such object is an answer.
                Ok(Ok(_) | Err(Error::NotFound { .. })) => StoreResult::Ok,
                Ok(Err(_)) => StoreResult::Failed,
                Err(_) => StoreResult::Stalled,
            };
            watch(action, result, started.elapsed());
        }
        match result {
            Ok(result) => result.map_err(|e| self.error(action, key, e)),
            Err(_) => {
                let (url, key, seconds) = (self.url.to_string(), key.to_string(), limit.as_secs());
                Err(StoreError::Stalled { url, action, key, seconds })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{ArtifactId, CodeHash, EngineId, PrepHash},
        store::hanging::{Answers, hanging_store},
    };
    use bytes::Bytes;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_before_or_within_an_object_is_an_error_that_names_it() {
        for given in [0, 3] {
            let store = hanging_store(Answers::AllButReads(given));
            let key = Path::from("meta/x");
            store.put(&key, Bytes::from_static(b"content")).await.unwrap();
            let error = store.get(&key, 100).await.unwrap_err();
            assert!(matches!(error, StoreError::Stalled { .. }), "{error}");
            assert_eq!(error.to_string(), "store memory://: cannot read meta/x: the store gave nothing for 60 s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_operation_of_a_store_that_hangs_is_an_error_that_names_it() {
        let store = hanging_store(Answers::Nothing);
        let engine = EngineId::parse("a").unwrap();
        let id = ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([0; 32]), engine };
        let large = Bytes::from(vec![0; 1 << 20]);
        let expect = |error: StoreError, action: &str, seconds: u64| {
            let text = error.to_string();
            assert!(matches!(error, StoreError::Stalled { .. }), "{text}");
            assert!(text.contains(action) && text.ends_with(&format!("gave nothing for {seconds} s")), "{text}");
        };
        expect(store.put(&Path::from("meta/x"), large).await.unwrap_err(), "cannot write meta/x", 64);
        expect(store.delete_artifact(&id).await.unwrap_err(), "cannot delete artifacts/", 60);
        expect(store.look_up(&id).await.unwrap_err(), "cannot look up artifacts/", 60);
        expect(store.get_artifact(&id).await.unwrap_err(), "cannot read artifacts/", 60);
        expect(store.list(&Path::from("artifacts")).await.unwrap_err(), "cannot list artifacts", 60);
        expect(store.list_artifacts().await.unwrap_err(), "cannot read meta/", 60);
        expect(store.check().await.unwrap_err(), "cannot write ", 60);
    }
}
