//! Artifacts and kept failures in the store: sealed objects by artifact id.

use super::{
    BlobStore, StoreError, keys,
    seal::{self, Compiled, Sealed},
    time_limit::{LOOK_UP, STALLED},
};
use crate::{
    artifact::{ArtifactDigest, ArtifactInfo, StoredArtifact},
    ids::ArtifactId,
    keys::PrivateKey,
    units::MAX_ARTIFACT,
    verdict::PrepareError,
};
use object_store::{GetOptions, ObjectStore as _, ObjectStoreExt as _};

/// The largest kept failure, bytes: its text has a bound that is far below.
const MAX_FAILURE: u64 = 1 << 20;

impl BlobStore {
    fn signing_key(&self) -> Result<&PrivateKey, StoreError> {
        self.artifact_keys.private().ok_or_else(|| StoreError::NoSigningKey { url: self.url.to_string() })
    }

    /// Signs compiled code and stores it. Returns the digest of the artifact.
    ///
    /// # Errors
    /// Those of the store, and [`StoreError::NoSigningKey`].
    pub async fn put_artifact(&self, id: &ArtifactId, compiled: &Compiled) -> Result<ArtifactDigest, StoreError> {
        let (object, digest) = seal::seal_artifact(self.signing_key()?, id, compiled);
        self.put(&keys::artifact(id), object).await?;
        Ok(digest)
    }

    /// Signs a deterministic failure and stores it, so that the preparation is not repeated.
    ///
    /// # Errors
    /// Those of the store, and [`StoreError::NoSigningKey`].
    pub async fn put_failure(&self, id: &ArtifactId, error: &PrepareError) -> Result<(), StoreError> {
        self.put(&keys::artifact(id), seal::seal_failure(self.signing_key()?, id, error)).await
    }

    /// Reads an artifact or kept failure and verifies its seal. The error is [`StoreError::NotFound`] if there is none,
    /// [`StoreError::Seal`] if the seal is not valid, and [`StoreError::TooLarge`] if no artifact is so large.
    pub async fn get_artifact(&self, id: &ArtifactId) -> Result<Sealed, StoreError> {
        let key = keys::artifact(id);
        let object = self.get(&key, MAX_ARTIFACT as u64 + seal::HEADER_LEN as u64).await?;
        // Hashing a large artifact takes milliseconds, which would block the runtime's thread.
        let (trusted, artifact) = (self.artifact_keys.clone(), id.clone());
        let opened = tokio::task::spawn_blocking(move || seal::open(trusted.trusted(), &artifact, &object)).await;
        opened.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())).map_err(|source| StoreError::Seal {
            url: self.url.to_string(),
            key: key.to_string(),
            source,
        })
    }

    /// Looks an artifact up by reading its header, and verifies the signature. The content is not verified: a worker
    /// verifies it before mapping it.
    pub async fn look_up(&self, id: &ArtifactId) -> Result<Option<StoredArtifact>, StoreError> {
        let key = keys::artifact(id);
        let options = GetOptions { range: Some((0..seal::HEADER_LEN as u64).into()), ..Default::default() };
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
        match seal::verify_header(self.artifact_keys.trusted(), id, &head, len) {
            Ok(Some((bytes, digest))) => Ok(Some(StoredArtifact::Prepared(ArtifactInfo { bytes, digest }))),
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
