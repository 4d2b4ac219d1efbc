//! Tests of the store on the implementations that need no server.

use super::*;
use crate::{
    artifact::{ArtifactInfo, StoredArtifact},
    ids::{ArtifactId, CodeHash, EngineId, PrepHash},
    keys::PrivateKey,
    verdict::PrepareError,
};
use bytes::Bytes;
use seal::{Compiled, Sealed};

fn id() -> ArtifactId {
    ArtifactId { code_hash: CodeHash([1; 32]), prep_hash: PrepHash([2; 32]), engine: EngineId::parse("test").unwrap() }
}

fn compiled() -> Compiled {
    Compiled { code: Bytes::from_static(b"code"), has_start: true }
}

/// The contract of every implementation.
async fn conformance(store: BlobStore) {
    store.check().await.unwrap();
    assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::NotFound { .. })));
    let digest = store.put_artifact(&id(), &compiled()).await.unwrap();
    let got = store.get_artifact(&id()).await.unwrap();
    let expected = Sealed::Artifact { compiled: compiled(), content: seal::content_hash(b"code"), digest };
    assert_eq!(got, expected);
    assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Prepared(ArtifactInfo { bytes: 4, digest })));
    store.put_failure(&id(), &PrepareError::OutOfMemory).await.unwrap();
    assert_eq!(store.get_artifact(&id()).await.unwrap(), Sealed::Failure(PrepareError::OutOfMemory));
    assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Failed(PrepareError::OutOfMemory)));
    for damaged in [&b""[..], b"bad"] {
        store.put(&keys::artifact(&id()), Bytes::from_static(damaged)).await.unwrap();
        assert_eq!(store.look_up(&id()).await.unwrap(), Some(StoredArtifact::Damaged));
        assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
    }
    // A failure has a bound, so that its claim does not fill the memory of whoever looks it up.
    let failure = seal::seal_failure(&PrivateKey::unsigned(), &id(), &PrepareError::OutOfMemory);
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
    conformance(BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap()).await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/created/here", dir.path().display());
    conformance(BlobStore::open(&url, ArtifactKeys::unsigned()).unwrap()).await;
    let plain = dir.path().join("plain");
    conformance(BlobStore::open(plain.to_str().unwrap(), ArtifactKeys::unsigned()).unwrap()).await;
}

#[tokio::test]
async fn an_artifact_of_another_key_is_damaged_until_that_key_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let url = dir.path().to_str().unwrap();
    let [old, new] = [1, 2].map(|n| PrivateKey::from_seed([n; 32]));
    let both = [old.public(), new.public()];
    let with = |keys| BlobStore::open(url, keys).unwrap();
    with(ArtifactKeys::of_pair(old)).put_artifact(&id(), &compiled()).await.unwrap();
    let only_new = with(ArtifactKeys::trusting(&both[1..]).unwrap());
    assert_eq!(only_new.look_up(&id()).await.unwrap(), Some(StoredArtifact::Damaged));
    assert!(matches!(only_new.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
    let rotating = with(ArtifactKeys::trusting(&both).unwrap());
    assert!(matches!(rotating.look_up(&id()).await.unwrap(), Some(StoredArtifact::Prepared(_))));
    assert!(rotating.get_artifact(&id()).await.is_ok());
    for verifier in [rotating, only_new] {
        let refused = verifier.put_artifact(&id(), &compiled()).await;
        assert!(matches!(refused, Err(StoreError::NoSigningKey { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn damage_on_disk_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path().to_str().unwrap(), ArtifactKeys::unsigned()).unwrap();
    store.put_artifact(&id(), &compiled()).await.unwrap();
    std::fs::write(dir.path().join(keys::artifact(&id()).as_ref()), b"bad").unwrap();
    assert!(matches!(store.get_artifact(&id()).await, Err(StoreError::Seal { .. })));
}
