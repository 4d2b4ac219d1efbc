//! Inputs and results of requests: inline in a bus message if they fit, otherwise through the store.

use super::ClientError;
use crate::{
    blob::BlobRef,
    bus::SharedBus,
    config::ENVELOPE_RESERVE,
    ids::CodeHash,
    retry::{self, Retryable as _},
    store::BlobStore,
    wire::{self, CodeRef, FromClient, Submission, Work},
};
use bytes::Bytes;
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a code counts as stored. After that it is looked for in the store again, because it may have expired there.
const STORED_FOR: Duration = Duration::from_secs(600);
/// Most codes that are remembered as stored.
const MAX_STORED_CODES: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Moves the inputs and results of a client.
pub(super) struct Payloads {
    bus: SharedBus,
    store: Option<BlobStore>,
    stored_codes: StoredCodes,
}

impl Payloads {
    pub(super) fn new(bus: SharedBus, store: Option<BlobStore>) -> Self {
        Self { bus, store, stored_codes: StoredCodes::default() }
    }

    /// Encodes a submission. Code and block data that do not fit the message are stored: the larger one first, the
    /// other one only if it still does not fit.
    pub(super) async fn encode(&self, mut submission: Submission) -> Result<Bytes, ClientError> {
        let limit = self.bus.max_payload();
        let room = limit.saturating_sub(ENVELOPE_RESERVE);
        let (mut code, mut data) = (submission.code.blob.inline_len(), 0);
        if let Work::Execute(execute) = &mut submission.work {
            data = execute.block_data.inline_len();
            if data > room || (code + data > room && data >= code) {
                execute.block_data = self.store("block data", &execute.block_data, room).await?;
                data = 0;
            }
        }
        if code + data > room {
            submission.code.blob = self.store_code(&submission.code, room).await?;
            code = 0;
        }
        let message = wire::encode(&FromClient::Submit(Box::new(submission)));
        if message.len() > limit {
            let len = (message.len() - code - data) as u64;
            return Err(ClientError::TooLarge { field: "parent head and parameters", len, limit: limit as u64 });
        }
        Ok(message)
    }

    /// Notes that the store does not have a code. Returns whether it was remembered as stored.
    pub(super) fn code_is_missing(&self, code: &CodeHash) -> bool {
        self.stored_codes.remove(code)
    }

    /// Fetches the bytes of a result. Failed reads of the store are retried.
    pub(super) async fn fetch(&self, blob: &BlobRef) -> Result<Bytes, ClientError> {
        let len = match blob {
            BlobRef::Inline(bytes) => return Ok(bytes.clone()),
            BlobRef::Stored { len, .. } => *len,
        };
        let limit = self.bus.max_payload() as u64;
        let Some(store) = &self.store else { return Err(ClientError::TooLarge { field: "result", len, limit }) };
        let fetched = (|| store.fetch(blob))
            .retry(retry::RESULT_FETCH)
            .notify(|error, _| tracing::warn!(%error, "cannot fetch a result, retrying"))
            .await;
        Ok(fetched?)
    }

    async fn store_code(&self, code: &CodeRef, room: usize) -> Result<BlobRef, ClientError> {
        if let Some(blob) = self.stored_codes.get(&code.hash) {
            return Ok(blob);
        }
        let blob = self.store("code", &code.blob, room).await?;
        self.stored_codes.insert(code.hash, blob.clone());
        Ok(blob)
    }

    async fn store(&self, field: &'static str, blob: &BlobRef, room: usize) -> Result<BlobRef, ClientError> {
        let BlobRef::Inline(bytes) = blob else { return Ok(blob.clone()) };
        match &self.store {
            Some(store) => Ok(store.put_blob(bytes.clone()).await?),
            None => Err(ClientError::TooLarge { field, len: bytes.len() as u64, limit: room as u64 }),
        }
    }
}

/// Codes that this client put into the store, with the time. It saves hashing the code and asking the store for each
/// request. Beyond [`MAX_STORED_CODES`] the least recently used one is dropped.
struct StoredCodes(Mutex<LruCache<CodeHash, (BlobRef, Instant)>>);

impl Default for StoredCodes {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_STORED_CODES)))
    }
}

impl StoredCodes {
    fn lock(&self) -> MutexGuard<'_, LruCache<CodeHash, (BlobRef, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, code: &CodeHash) -> Option<BlobRef> {
        let mut codes = self.lock();
        codes.get(code).filter(|(_, at)| at.elapsed() < STORED_FOR).map(|(blob, _)| blob.clone())
    }

    fn insert(&self, code: CodeHash, blob: BlobRef) {
        self.lock().put(code, (blob, Instant::now()));
    }

    fn remove(&self, code: &CodeHash) -> bool {
        self.lock().pop(code).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BlobHash;

    fn blob(n: u64) -> BlobRef {
        BlobRef::Stored { hash: BlobHash::of(&n.to_le_bytes()), len: n }
    }

    fn code(n: u64) -> CodeHash {
        CodeHash::of(&n.to_le_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn stored_codes_are_forgotten_after_a_while() {
        let codes = StoredCodes::default();
        assert_eq!(codes.get(&code(1)), None);
        codes.insert(code(1), blob(1));
        tokio::time::advance(STORED_FOR - Duration::from_millis(1)).await;
        assert_eq!(codes.get(&code(1)), Some(blob(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(codes.get(&code(1)), None);
        codes.insert(code(1), blob(1));
        assert_eq!(codes.get(&code(1)), Some(blob(1)));
        assert!(codes.remove(&code(1)) && !codes.remove(&code(1)));
        assert_eq!(codes.get(&code(1)), None);
    }

    #[tokio::test]
    async fn a_full_cache_drops_the_least_recently_used_code_only() {
        let codes = StoredCodes::default();
        let max = MAX_STORED_CODES.get() as u64;
        for n in 0..max {
            codes.insert(code(n), blob(n));
        }
        assert_eq!(codes.get(&code(0)), Some(blob(0)));
        codes.insert(code(max), blob(max));
        assert_eq!(codes.get(&code(1)), None);
        assert_eq!((0..=max).filter(|n| codes.get(&code(*n)) == Some(blob(*n))).count() as u64, max);
    }
}
