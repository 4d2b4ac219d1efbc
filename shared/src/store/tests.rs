//! Tests of the store on the implementations that need no server.

use super::*;
use crate::{
    artifact::{ArtifactInfo, StoredArtifact},
    blob::BlobRef,
    ids::{ArtifactId, BlobHash, CodeHash, EngineId, PrepHash},
    verdict::PrepareError,
};
use bytes::Bytes;
use seal::{SealKey, Sealed};

fn id() -> ArtifactId {
    ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine: EngineId::parse("test").unwrap() }
}

/// The contract of every implementation.
async fn conformance(store: BlobStore) {
    store.check().await.unwrap();
    let blob = store.put_blob(Bytes::from_static(b"pov")).await.unwrap();
    assert_eq!(store.put_blob(Bytes::from_static(b"pov")).await.unwrap(), blob);
    assert_eq!(store.fetch(&blob).await.unwrap(), "pov");
    let absent = BlobRef::Stored { hash: BlobHash([9; 32]), len: 1 };
    assert!(matches!(store.fetch(&absent).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::NotFound { .. })));
    let mac = store.put_artifact(&id(), b"code").await.unwrap();
    let got = store.get_artifact(&id()).await.unwrap();
    assert_eq!(got, Sealed::Artifact { code: Bytes::from_static(b"code"), mac });
    assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Prepared(ArtifactInfo { bytes: 4, mac })));
    store.put_failure(&id(), &PrepareError::OutOfMemory).await.unwrap();
    assert_eq!(store.get_artifact(&id()).await.unwrap(), Sealed::Failure(PrepareError::OutOfMemory));
    assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Failed(PrepareError::OutOfMemory)));
    for damaged in [&b""[..], b"bad"] {
        store.put(&keys::artifact(&id()), Bytes::from_static(damaged)).await.unwrap();
        assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Damaged));
        assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
    }
    // A failure has a bound, so that its claim does not fill the memory of whoever looks it up.
    let failure = seal::seal_failure(&SealKey::unkeyed(), &id(), &PrepareError::OutOfMemory);
    let padded = [&failure[..], &vec![0; 2 << 20]].concat();
    store.put(&keys::artifact(&id()), padded.into()).await.unwrap();
    assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Damaged));
    store.delete_artifact(&id()).await.unwrap();
    assert_eq!(store.look_up(&id()).await.unwrap(), None);
    store.delete_artifact(&id()).await.unwrap();
    assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn memory_and_folder_keep_the_contract() {
    conformance(BlobStore::open("memory://", SealKey::unkeyed()).unwrap()).await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/created/here", dir.path().display());
    conformance(BlobStore::open(&url, SealKey::unkeyed()).unwrap()).await;
    let plain = dir.path().join("plain");
    conformance(BlobStore::open(plain.to_str().unwrap(), SealKey::unkeyed()).unwrap()).await;
}

#[tokio::test]
async fn damage_on_disk_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path().to_str().unwrap(), SealKey::unkeyed()).unwrap();
    let blob = store.put_blob(Bytes::from_static(b"pov")).await.unwrap();
    let BlobRef::Stored { hash, .. } = &blob else { panic!("not a stored blob: {blob:?}") };
    std::fs::write(dir.path().join(keys::blob(hash).as_ref()), b"bad").unwrap();
    assert!(matches!(store.fetch(&blob).await, Err(StoreError::Damaged { .. })));
    store.put_artifact(&id(), b"code").await.unwrap();
    std::fs::write(dir.path().join(keys::artifact(&id()).as_ref()), b"bad").unwrap();
    assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
}
