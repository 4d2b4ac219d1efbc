//! State that survives a coordinator: the artifacts in the store, when each was last used, and the fencing token. With
//! it the next coordinator repeats no preparation and prunes unused artifacts.

use super::{BlobStore, StoreError, keys};
use crate::ids::ArtifactId;
use bytes::Bytes;
use object_store::path::Path;
use std::{
    collections::HashMap,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An artifact in the store, its size in bytes, and how long ago it was last known to be used.
pub type StoredArtifact = (ArtifactId, u64, Duration);

/// Bound of the text of the last token, bytes.
const MAX_TOKEN: u64 = 1 << 10;
/// Bound of the times of last use, bytes: some 400,000 artifacts.
const MAX_LAST_USED: u64 = 64 << 20;

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl BlobStore {
    /// Lists the artifacts and kept failures of all engines. Objects with other keys are ignored.
    pub async fn list_artifacts(&self) -> Result<Vec<StoredArtifact>, StoreError> {
        let last_used = self.read_last_used().await?;
        let now = unix_now();
        let objects: Vec<_> = self.list(&Path::from(keys::ARTIFACTS)).await?;
        let artifacts = objects.into_iter().filter_map(|(key, len, written)| {
            let id = keys::parse_artifact(&key)?;
            // An object without a line counts as used when it was written.
            let last = last_used.get(key.as_ref()).copied().unwrap_or(0).max(written);
            Some((id, len, Duration::from_secs(now.saturating_sub(last))))
        });
        Ok(artifacts.collect())
    }

    /// Saves how long ago each artifact was last used.
    pub async fn save_needed(&self, idle: Vec<(ArtifactId, Duration)>) -> Result<(), StoreError> {
        let now = unix_now();
        let mut text = String::new();
        for (id, idle) in idle {
            let _ = writeln!(text, "{} {}", now.saturating_sub(idle.as_secs()), keys::artifact(&id));
        }
        self.put(&keys::last_needed(), Bytes::from(text)).await
    }

    /// Issues the next fencing token: one more than the last one in the store, or `least` if that is higher. The token
    /// is written to the store, so the sequence grows even if the clock that `least` comes from goes back.
    ///
    /// Limit: the store is read and then written without a condition, so the tokens grow only over calls that do not
    /// overlap. Overlapping calls read the same last token. They return the same token if they pass the same `least`,
    /// or if each `least` is at most one above the last token: workers then obey both coordinators. If they return
    /// different tokens, the store keeps the one that is written last, which may be the lower one, and a later call may
    /// return the higher one again.
    pub async fn next_token(&self, least: u64) -> Result<u64, StoreError> {
        let next = least.max(self.last_token().await?.saturating_add(1));
        self.put_token(next).await?;
        Ok(next)
    }

    /// The last fencing token; 0 if there was none.
    pub async fn last_token(&self) -> Result<u64, StoreError> {
        match self.get(&keys::fencing_token(), MAX_TOKEN).await {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().parse().unwrap_or(0)),
            Err(StoreError::NotFound { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Notes the token of the coordinator that has the lease.
    pub async fn put_token(&self, token: u64) -> Result<(), StoreError> {
        self.put(&keys::fencing_token(), Bytes::from(token.to_string())).await
    }

    /// Times of last use in seconds since 1970, by artifact key. Malformed lines are ignored.
    async fn read_last_used(&self) -> Result<HashMap<String, u64>, StoreError> {
        let text = match self.get(&keys::last_needed(), MAX_LAST_USED).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(HashMap::new()),
            Err(error) => return Err(error),
        };
        let line = |line: &str| {
            let (at, key) = line.split_once(' ')?;
            Some((key.to_owned(), at.parse().ok()?))
        };
        Ok(String::from_utf8_lossy(&text).lines().filter_map(line).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{CodeHash, EngineId, PrepHash},
        store::{ArtifactKeys, seal::Compiled},
        verdict::PrepareError,
    };

    fn id(n: u8, engine: &str) -> ArtifactId {
        ArtifactId {
            code_hash: CodeHash([n; 32]),
            prep_hash: PrepHash([0; 32]),
            engine: EngineId::parse(engine).unwrap(),
        }
    }

    #[tokio::test]
    async fn tokens_grow_even_if_the_clock_goes_back() {
        let store = BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap();
        let mut given = Vec::new();
        for least in [100, 50, 100, 1000, 3] {
            given.push(store.next_token(least).await.unwrap());
        }
        assert_eq!(given, [100, 101, 102, 1000, 1001]);
    }

    #[tokio::test]
    async fn artifacts_are_listed_with_the_time_since_their_last_use() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["memory://", dir.path().to_str().unwrap()] {
            let store = BlobStore::open(url, ArtifactKeys::unsigned()).unwrap();
            let compiled = Compiled { code: Bytes::from_static(b"code"), has_start: false };
            assert_eq!(store.list_artifacts().await.unwrap(), []);
            store.put_artifact(&id(1, "a"), &compiled).await.unwrap();
            store.put_failure(&id(2, "b"), &PrepareError::OutOfMemory).await.unwrap();
            store.put(&Path::from("inputs/left-by-an-earlier-version"), Bytes::from_static(b"pov")).await.unwrap();
            // The saved time of last use is older than the object, so the time of the write counts.
            let idle = vec![(id(1, "a"), Duration::from_secs(500)), (id(3, "gone"), Duration::ZERO)];
            store.save_needed(idle).await.unwrap();
            let mut listed = store.list_artifacts().await.unwrap();
            listed.sort_by_key(|(id, ..)| id.code_hash);
            let [(first, bytes, idle), (second, ..)] = &listed[..] else { panic!("{listed:?}") };
            assert_eq!((first, second), (&id(1, "a"), &id(2, "b")));
            assert!(*bytes > 4 && *idle < Duration::from_secs(60), "{listed:?}");
        }
        let manifest = dir.path().join(keys::last_needed().as_ref());
        std::fs::write(&manifest, "malformed\nx y\n12\n").unwrap();
        let store = BlobStore::open(dir.path().to_str().unwrap(), ArtifactKeys::unsigned()).unwrap();
        assert_eq!(store.list_artifacts().await.unwrap().len(), 2);
    }
}
