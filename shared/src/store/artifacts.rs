//! Artifacts and kept failures in the store: sealed objects by artifact id.

use super::{
    BlobStore, StoreError, keys,
    seal::{self, Sealed},
    time_limit::{LOOK_UP, STALLED},
};
use crate::{
    artifact::{ArtifactInfo, Mac, StoredArtifact},
    ids::ArtifactId,
    units::MAX_ARTIFACT,
    verdict::PrepareError,
};
use object_store::{GetOptions, ObjectStore as _, ObjectStoreExt as _};

/// The largest kept failure, bytes: its text has a bound that is far below.
const MAX_FAILURE: u64 = 1 << 20;

impl BlobStore {
    /// Seals compiled code and stores it. Returns the MAC of the seal.
    pub async fn put_artifact(&self, id: &ArtifactId, code: &[u8]) -> Result<Mac, StoreError> {
        let (object, mac) = seal::seal_artifact(&self.key, id, code);
        self.put(&keys::artifact(id), object).await?;
        Ok(mac)
    }

    /// Seals a deterministic failure and stores it, so that the preparation is not repeated.
    pub async fn put_failure(&self, id: &ArtifactId, error: &PrepareError) -> Result<(), StoreError> {
        self.put(&keys::artifact(id), seal::seal_failure(&self.key, id, error)).await
    }

    /// Reads an artifact or kept failure and verifies its seal. The error is [`StoreError::NotFound`] if there is none,
    /// [`StoreError::Seal`] if the seal is not valid, and [`StoreError::TooLarge`] if no artifact is so large.
    pub async fn get_artifact(&self, id: &ArtifactId) -> Result<Sealed, StoreError> {
        let key = keys::artifact(id);
        let object = self.get(&key, MAX_ARTIFACT as u64 + seal::CLAIM_LEN as u64).await?;
        // Hashing a large artifact takes milliseconds, which would block the runtime's thread.
        let (seal_key, artifact) = (self.key.clone(), id.clone());
        let opened = tokio::task::spawn_blocking(move || seal::open(&seal_key, &artifact, &object)).await;
        opened.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())).map_err(|source| StoreError::Seal {
            url: self.url.to_string(),
            key: key.to_string(),
            source,
        })
    }

    /// Looks an artifact up by reading its header. The content is not verified: a worker verifies it before mapping it.
    pub async fn look_up(&self, id: &ArtifactId) -> Result<Option<StoredArtifact>, StoreError> {
        let key = keys::artifact(id);
        let options = GetOptions { range: Some((0..seal::CLAIM_LEN as u64).into()), ..Default::default() };
        let full = self.full(&key);
        let got = match self.within(LOOK_UP, &key, STALLED, self.inner.get_opts(&full, options)).await {
            Ok(got) => got,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error @ StoreError::Failed { .. }) => {
                // A range of an empty object is an error of the store.
                let meta = self.within(LOOK_UP, &key, STALLED, self.inner.head(&full)).await;
                let empty = meta.is_ok_and(|meta| meta.size == 0);
                return if empty { Ok(Some(StoredArtifact::Damaged)) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        let len = got.meta.size;
        let head = self.within(LOOK_UP, &key, STALLED, got.bytes()).await?;
        match seal::claim(&head, len) {
            Ok(Some((bytes, mac))) => Ok(Some(StoredArtifact::Prepared(ArtifactInfo { bytes, mac }))),
            Err(_) => Ok(Some(StoredArtifact::Damaged)),
            Ok(None) if len > MAX_FAILURE => Ok(Some(StoredArtifact::Damaged)),
            Ok(None) => match self.get_artifact(id).await {
                Ok(Sealed::Failure(error)) => Ok(Some(StoredArtifact::Failed(error))),
                Ok(Sealed::Artifact { .. }) | Err(StoreError::Seal { .. }) => Ok(Some(StoredArtifact::Damaged)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            },
        }
    }

    /// Deletes an artifact, if it exists.
    pub async fn delete_artifact(&self, id: &ArtifactId) -> Result<(), StoreError> {
        self.delete(&keys::artifact(id)).await
    }
}
