//! Validation code in the object store. After [`CodeStore::ensure_stored`] the scheduler only sees code that is in the
//! store and has the hash that its submission claims.

use lru::LruCache;
use pvf_shared::{
    blob::BlobRef,
    ids::CodeHash,
    store::{BlobStore, StoreError},
    wire::{CodeRef, Refusal},
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Codes that are remembered as stored; the least recently used one is forgotten first.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Code that was last seen in the store longer ago than this is looked up again: the object may have expired.
const TRUSTED: Duration = Duration::from_secs(600);
/// Largest blob that a submission may refer to, bytes.
const MAX_REFERENCED: u64 = 256 << 20;

/// Where a code is in the store, and when it was last seen there.
struct Seen {
    blob: BlobRef,
    at: Instant,
}

/// Brings validation code into the store and remembers what is there. Clones share what they remember.
#[derive(Clone)]
pub(crate) struct CodeStore {
    store: BlobStore,
    seen: Arc<Mutex<LruCache<CodeHash, Seen>>>,
}

impl CodeStore {
    pub(crate) fn new(store: BlobStore) -> Self {
        Self { store, seen: Arc::new(Mutex::new(LruCache::new(REMEMBERED))) }
    }

    /// Checks that the code has its hash, stores it if it is inline, and makes `code` refer to the stored blob.
    pub(crate) async fn ensure_stored(&self, code: &mut CodeRef) -> Result<(), Refusal> {
        let seen = self.seen().get(&code.hash).map(|seen| (seen.blob.clone(), seen.at.elapsed() < TRUSTED));
        code.blob = match seen {
            Some((blob, true)) => blob,
            Some((blob, false)) if self.require("code", &blob).await.is_ok() => self.remember(code.hash, blob),
            _ => {
                let blob = self.store_checked(code).await?;
                self.remember(code.hash, blob)
            }
        };
        Ok(())
    }

    /// Refuses a reference to a blob that is too large or not in the store. Inline bytes pass.
    pub(crate) async fn require(&self, field: &str, blob: &BlobRef) -> Result<(), Refusal> {
        let BlobRef::Stored { hash, len } = blob else { return Ok(()) };
        if *len > MAX_REFERENCED {
            let (field, unit) = (field.into(), "bytes".into());
            return Err(Refusal::OutOfRange { field, value: *len, min: 0, max: MAX_REFERENCED, unit });
        }
        if self.store.has_blob(hash, *len).await.map_err(unavailable)? {
            return Ok(());
        }
        Err(Refusal::BlobMissing { field: field.into(), blob: hash.to_string(), len: *len })
    }

    /// Forgets a code whose blob is missing or damaged, and gives that blob, for [`CodeStore::delete`].
    pub(crate) fn forget(&self, code: &CodeHash) -> Option<BlobRef> {
        self.seen().pop(code).map(|seen| seen.blob)
    }

    /// Deletes the blob of a forgotten code, so that the next submission can write an intact one.
    pub(crate) async fn delete(self, code: CodeHash, blob: BlobRef) {
        if let Err(error) = self.store.delete_blob(&blob).await {
            tracing::warn!(%error, %code, "damaged code could not be deleted from the store");
        }
    }

    async fn store_checked(&self, code: &CodeRef) -> Result<BlobRef, Refusal> {
        self.require("code", &code.blob).await?;
        let bytes = self.store.fetch(&code.blob).await.map_err(unavailable)?;
        let actual = CodeHash::of(&bytes);
        if actual != code.hash {
            return Err(Refusal::CodeHash { claimed: code.hash, actual });
        }
        match &code.blob {
            BlobRef::Inline(_) => self.store.put_blob(bytes).await.map_err(unavailable),
            stored @ BlobRef::Stored { .. } => Ok(stored.clone()),
        }
    }

    fn remember(&self, code: CodeHash, blob: BlobRef) -> BlobRef {
        self.seen().put(code, Seen { blob: blob.clone(), at: Instant::now() });
        blob
    }

    fn seen(&self) -> MutexGuard<'_, LruCache<CodeHash, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a submission whose blobs cannot be stored or read.
#[expect(clippy::needless_pass_by_value, reason = "used in map_err")]
pub(crate) fn unavailable(error: StoreError) -> Refusal {
    Refusal::StoreUnavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{Bytes, store::ArtifactKeys};

    fn code(bytes: &'static [u8]) -> CodeRef {
        CodeRef { hash: CodeHash::of(bytes), blob: BlobRef::Inline(Bytes::from_static(bytes)) }
    }

    fn memory() -> CodeStore {
        CodeStore::new(BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap())
    }

    #[tokio::test]
    async fn inline_code_is_stored_and_checked_against_its_hash() {
        let codes = memory();
        let mut good = code(b"code");
        codes.ensure_stored(&mut good).await.unwrap();
        assert!(matches!(good.blob, BlobRef::Stored { len: 4, .. }));
        assert_eq!(codes.store.fetch(&good.blob).await.unwrap(), "code");
        let mut wrong = CodeRef { hash: CodeHash::of(b"other"), ..code(b"code") };
        let refusal = codes.ensure_stored(&mut wrong).await.unwrap_err();
        assert_eq!(refusal, Refusal::CodeHash { claimed: wrong.hash, actual: good.hash });
    }

    #[tokio::test(start_paused = true)]
    async fn stored_code_is_looked_up_again_after_a_while() {
        let codes = memory();
        let mut first = code(b"code");
        codes.ensure_stored(&mut first).await.unwrap();
        codes.store.delete_blob(&first.blob).await.unwrap();
        // Seen a moment ago: the store is not asked.
        let mut again = first.clone();
        codes.ensure_stored(&mut again).await.unwrap();
        tokio::time::advance(TRUSTED).await;
        let refusal = codes.ensure_stored(&mut again).await.unwrap_err();
        assert!(matches!(&refusal, Refusal::BlobMissing { field, len: 4, .. } if field == "code"), "{refusal}");
        // The bytes come with the next submission.
        codes.ensure_stored(&mut code(b"code")).await.unwrap();
        assert_eq!(codes.store.fetch(&first.blob).await.unwrap(), "code");
    }

    #[tokio::test]
    async fn references_are_limited_in_size() {
        let BlobRef::Stored { hash, .. } = memory().store.put_blob(Bytes::new()).await.unwrap() else {
            panic!("inline")
        };
        let refusal = memory().require("block data", &BlobRef::Stored { hash, len: MAX_REFERENCED + 1 }).await;
        assert!(matches!(refusal, Err(Refusal::OutOfRange { max: MAX_REFERENCED, .. })), "{refusal:?}");
    }

    #[tokio::test]
    async fn at_most_so_many_codes_are_remembered_and_the_recently_used_ones_stay() {
        let codes = memory();
        let hash = |n: usize| CodeHash::of(&n.to_le_bytes());
        for n in 0..REMEMBERED.get() + 10 {
            codes.remember(hash(n), BlobRef::Inline(Bytes::new()));
            codes.seen().get(&hash(0));
        }
        assert_eq!(codes.seen().len(), REMEMBERED.get());
        assert!(codes.seen().contains(&hash(0)) && codes.seen().contains(&hash(11)));
        assert!(!codes.seen().contains(&hash(1)) && !codes.seen().contains(&hash(10)));
    }
}
