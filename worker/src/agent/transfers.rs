//! What comes from elsewhere: inputs that are pulled from clients, and reads from and writes to the object store that
//! are repeated when they fail. What is read is in memory until it is written to a file, or until its job begins, so
//! there is a bound of what is read at once.

use crate::{
    metrics::WorkerMetrics,
    supervise::{BlockData, BlockDataWriter},
};
use pvf_shared::{
    Bytes,
    blob::BlobRef,
    bus::SharedBus,
    config::MAX_PULLED,
    content::Content,
    identity::ClientId,
    ids::{CodeHash, FleetName},
    pull::{PullError, PullSettings, Puller, Wanted},
    retry::{self, Retryable as _},
    store::StoreError,
    subjects,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A read is not repeated any more after this time: the store's own client has repeated it by then.
const REPEATED_WITHIN: Duration = Duration::from_secs(10);

/// Artifacts that are read at once; each may have up to 1 GiB.
const ARTIFACTS: usize = 4;
/// Inputs that are read at once, MiB, together.
const INPUTS_MIB: u32 = 256;

/// Room in memory for reads. Whoever waits for it holds nothing else that another job needs.
#[derive(Debug)]
pub(super) struct ReadRoom {
    artifacts: Semaphore,
    inputs_mib: Semaphore,
}

impl ReadRoom {
    pub(super) fn new() -> Self {
        Self { artifacts: Semaphore::new(ARTIFACTS), inputs_mib: Semaphore::new(INPUTS_MIB as usize) }
    }

    /// Room for an artifact, until this is dropped. `None` never happens: the semaphore is not closed.
    pub(super) async fn artifact(&self) -> Option<SemaphorePermit<'_>> {
        self.artifacts.acquire().await.ok()
    }

    /// Room for an input of so many bytes; one that is larger than all the room takes all of it.
    pub(super) async fn input(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let mib = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(INPUTS_MIB).min(INPUTS_MIB);
        self.inputs_mib.acquire_many(mib).await.ok()
    }
}

/// Pulls the inputs of jobs from the clients that hold them.
pub(super) struct Inputs {
    fleet: FleetName,
    puller: Puller,
    room: Arc<ReadRoom>,
    metrics: WorkerMetrics,
}

impl Inputs {
    pub(super) fn new(fleet: FleetName, bus: SharedBus, room: Arc<ReadRoom>, metrics: WorkerMetrics) -> Self {
        Self { fleet, puller: Puller::new(bus, PullSettings::default()), room, metrics }
    }

    /// Validation code. How long it is, only its holders tell: the claim of one client must not decide for others.
    pub(super) async fn code(&self, hash: CodeHash, holders: &[ClientId]) -> Result<Bytes, PullError> {
        let wanted = self.wanted(Content::Code(hash), None, holders);
        self.bytes(&wanted).await
    }

    /// Block data, which may have come with the dispatch.
    pub(super) async fn block_data(&self, blob: &BlobRef, holders: &[ClientId]) -> Result<BlockData, PullError> {
        match blob {
            BlobRef::Inline(bytes) => Ok(bytes.clone().into()),
            BlobRef::Held { hash, len } => {
                let content = Content::Blob(*hash);
                let wanted = self.wanted(content, Some(*len), holders);
                if *len == 0 {
                    return self.bytes(&wanted).await.map(BlockData::Bytes);
                }
                let writer = |_| BlockDataWriter::new();
                let fetched = self.puller.fetch_into(&wanted, |len| self.room.input(len), writer).await;
                self.metrics.pulled(fetched.is_ok().then_some(*len));
                let (written, _room) = fetched?;
                let file = written.finish();
                file.map(BlockData::File).map_err(|error| PullError::NoRoom { content, error: error.into() })
            }
        }
    }

    async fn bytes(&self, wanted: &Wanted) -> Result<Bytes, PullError> {
        let fetched = self.puller.fetch(wanted, |len| self.room.input(len)).await.map(|(bytes, _room)| bytes);
        self.metrics.pulled(fetched.as_ref().ok().map(|bytes| bytes.len() as u64));
        fetched
    }

    fn wanted(&self, content: Content, expected_len: Option<u64>, holders: &[ClientId]) -> Wanted {
        let holders = holders.iter().map(|client| subjects::client_pulls(&self.fleet, client)).collect();
        Wanted { content, expected_len, max_len: MAX_PULLED, holders }
    }
}

/// Stores what a preparation made; a failed upload is repeated.
pub(super) async fn upload<T, F: Future<Output = Result<T, StoreError>>>(
    put: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let log = |error: &StoreError, delay| tracing::warn!(%error, ?delay, "upload failed: repeating it");
    put.retry(retry::ARTIFACT_UPLOAD).notify(log).await
}

/// Reads an artifact. A read that fails is repeated, unless the store has answered what is there instead, or has
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
        | StoreError::NoSigningKey { .. }
        | StoreError::Seal { .. } => false,
    };
    let log = |error: &StoreError, delay| tracing::warn!(%error, ?delay, "read failed: repeating it");
    get.retry(retry::INPUT_FETCH).when(may_pass).notify(log).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use pvf_shared::store::{ArtifactKeys, BlobStore};
    use std::cell::Cell;

    fn missing() -> StoreError {
        StoreError::NotFound { url: "file:///store".into(), key: "artifacts/x".into() }
    }

    fn failed() -> StoreError {
        BlobStore::open("/dev/null/store", ArtifactKeys::unsigned()).unwrap_err()
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

    #[tokio::test]
    async fn reads_wait_for_room_in_memory() {
        let room = ReadRoom::new();
        let mut held: Vec<_> = (0..ARTIFACTS).map(|_| room.artifact().now_or_never().unwrap()).collect();
        assert!(room.artifact().now_or_never().is_none());
        held.pop();
        assert!(room.artifact().now_or_never().is_some());
        let half = u64::from(INPUTS_MIB) << 19;
        let first = room.input(half).now_or_never().unwrap();
        let second = room.input(half - 1).now_or_never().unwrap();
        assert!(room.input(1).now_or_never().is_none());
        drop(first);
        assert!(room.input(half + 1).now_or_never().is_none());
        assert!(room.input(half).now_or_never().is_some());
        drop(second);
        // Larger than the room: it is read alone.
        let largest = room.input(u64::MAX).now_or_never().unwrap();
        assert!(room.input(1).now_or_never().is_none());
        drop(largest);
        assert!(room.input(0).now_or_never().is_some());
    }
}
