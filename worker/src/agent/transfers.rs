//! Reads from and writes to the object store that are repeated when they fail.

use pvf_shared::{
    retry::{self, Retryable as _},
    store::StoreError,
};
use std::time::{Duration, Instant};

/// A read is not repeated any more after this time: the store's own client has repeated it by then.
const REPEATED_WITHIN: Duration = Duration::from_secs(10);

/// Stores what a preparation made; a failed upload is repeated.
pub(super) async fn upload<T, F: Future<Output = Result<T, StoreError>>>(
    put: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let log = |error: &StoreError, delay| tracing::warn!(%error, ?delay, "upload failed: repeating it");
    put.retry(retry::ARTIFACT_UPLOAD).notify(log).await
}

/// Reads what a job needs. A read that fails is repeated, unless the store has answered what is there instead, or has
/// taken long to fail.
pub(super) async fn download<T, F: Future<Output = Result<T, StoreError>>>(
    get: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let started = Instant::now();
    let may_pass = |error: &StoreError| match error {
        StoreError::Failed { .. } => started.elapsed() < REPEATED_WITHIN,
        StoreError::Url { .. }
        | StoreError::NotFound { .. }
        | StoreError::NoBucket { .. }
        | StoreError::Stalled { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Damaged { .. }
        | StoreError::Seal { .. } => false,
    };
    let log = |error: &StoreError, delay| tracing::warn!(%error, ?delay, "read failed: repeating it");
    get.retry(retry::INPUT_FETCH).when(may_pass).notify(log).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::store::{BlobStore, seal::SealKey};
    use std::cell::Cell;

    fn missing() -> StoreError {
        StoreError::NotFound { url: "file:///store".into(), key: "artifacts/x".into() }
    }

    fn failed() -> StoreError {
        BlobStore::open("/dev/null/store", SealKey::unkeyed()).unwrap_err()
    }

    /// Something that fails so many times, and how often it was called.
    async fn repeated(
        failures: u32,
        error: fn() -> StoreError,
        transfer: impl AsyncFn(&dyn Fn() -> Result<u32, StoreError>) -> Result<u32, StoreError>,
    ) -> (Option<u32>, u32) {
        let calls = Cell::new(0);
        let once = || {
            calls.set(calls.get() + 1);
            if calls.get() > failures { Ok(7) } else { Err(error()) }
        };
        (transfer(&once).await.ok(), calls.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_upload_is_repeated_with_a_bound() {
        let put = async |failures| repeated(failures, missing, async |once| upload(|| async { once() }).await).await;
        assert_eq!(put(5).await, (Some(7), 6));
        assert_eq!(put(6).await, (None, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_read_is_repeated_and_an_answer_is_not() {
        let get =
            async |failures, error| repeated(failures, error, async |once| download(|| async { once() }).await).await;
        assert_eq!(get(3, failed).await, (Some(7), 4));
        assert_eq!(get(4, failed).await, (None, 4));
        assert_eq!(get(1, missing).await, (None, 1));
    }
}
