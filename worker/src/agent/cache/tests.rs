//! Tests of the cache on a store in memory.

use super::*;
use futures::FutureExt as _;
use pvf_shared::{
    ids::{CodeHash, EngineId, PrepHash},
    store::ArtifactKeys,
    verdict::PrepareError,
    wire::WorkerKind,
};
use std::{fs, os::unix::fs::PermissionsExt as _};

struct Fixture {
    store: BlobStore,
    cache: ArtifactCache,
    read_room: Arc<ReadRoom>,
    /// Paths whose templates were given up.
    given_up: Arc<Mutex<Vec<PathBuf>>>,
    _folder: tempfile::TempDir,
}

fn fixture(bytes: u64) -> Fixture {
    let store = BlobStore::open("memory://", ArtifactKeys::unsigned()).unwrap();
    let metrics = WorkerMetrics::new(WorkerKind::Execute, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = CacheSettings { folder: folder.path().to_owned(), bytes: Some(bytes) };
    let given_up = Arc::new(Mutex::new(Vec::new()));
    let list = given_up.clone();
    let on_evict = Box::new(move |path: &Path| list.lock().unwrap().push(path.to_owned()));
    let read_room = Arc::new(ReadRoom::new());
    let cache = ArtifactCache::new(&settings, store.clone(), read_room.clone(), on_evict, metrics).unwrap();
    Fixture { store, cache, read_room, given_up, _folder: folder }
}

fn numbered(n: u32) -> ArtifactId {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&n.to_le_bytes());
    let engine = EngineId::parse("test").unwrap();
    ArtifactId { code_hash: CodeHash(hash), prep_hash: PrepHash([2; 32]), engine }
}

impl Fixture {
    async fn put(&self, n: u32, code: &[u8]) -> ArtifactDigest {
        let compiled = Compiled { code: Bytes::copy_from_slice(code), has_start: false };
        self.store.put_artifact(&numbered(n), &compiled).await.unwrap()
    }

    async fn get(&self, n: u32) -> UsedCopy {
        self.cache.get(&numbered(n), None, |_| false).await.unwrap()
    }

    async fn fails(&self, n: u32, digest: Option<ArtifactDigest>) -> ExecuteOutcome {
        self.cache.get(&numbered(n), digest, |_| false).await.err().unwrap()
    }

    fn kept(&self) -> Vec<ArtifactId> {
        let mut kept = self.cache.list();
        kept.sort_unstable();
        kept
    }

    /// Bytes of the files in the folder.
    fn on_disk(&self) -> u64 {
        let files = fs::read_dir(self.cache.folder.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

#[tokio::test]
async fn copies_are_private_and_kept() {
    let f = fixture(100);
    let digest = f.put(1, b"code").await;
    let path = f.cache.get(&numbered(1), Some(digest), |_| false).await.unwrap().file().path().to_owned();
    assert_eq!(fs::read(&path).unwrap(), b"code");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&f.cache.folder.path())), (0o400, 0o700));
    // From the disk, although the store does not have it any more.
    f.store.delete_artifact(&numbered(1)).await.unwrap();
    assert_eq!(f.get(1).await.file().path(), path);
}

#[tokio::test]
async fn only_a_mapped_copy_with_the_right_mac_is_had_at_once() {
    let f = fixture(100);
    let digest = f.put(1, b"code").await;
    let at_once = |digest, mapped| f.cache.mapped(&numbered(1), digest, |_| mapped).is_some();
    assert!(!at_once(Some(digest), true));
    f.get(1).await;
    assert!(at_once(Some(digest), true) && at_once(None, true));
    assert!(!at_once(Some(digest), false) && !at_once(Some(ArtifactDigest([0; 32])), true));
}

#[tokio::test]
async fn an_artifact_waits_for_room_in_memory_and_a_copy_does_not() {
    let f = fixture(100);
    let digest = f.put(1, b"one").await;
    f.put(2, b"two").await;
    f.get(1).await;
    let mut held: Vec<_> = std::iter::from_fn(|| f.read_room.artifact().now_or_never()).collect();
    assert!(!held.is_empty());
    let mut waiting = pin!(f.get(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(f.cache.mapped(&numbered(1), Some(digest), |_| true).is_some());
    assert_eq!(fs::read(f.get(1).await.file().path()).unwrap(), b"one");
    assert!(waiting.as_mut().now_or_never().is_none());
    held.pop();
    assert_eq!(fs::read(waiting.await.file().path()).unwrap(), b"two");
    // The room is free again.
    assert!(f.read_room.artifact().now_or_never().is_some());
}

#[tokio::test]
async fn a_damaged_or_deleted_copy_is_fetched_again() {
    let f = fixture(100);
    f.put(1, b"code").await;
    for damage in [Some(&b"c0de"[..]), Some(b"cod"), None] {
        let copy = f.get(1).await;
        fs::remove_file(copy.file().path()).unwrap();
        if let Some(bytes) = damage {
            fs::write(copy.file().path(), bytes).unwrap();
        }
        drop(copy);
        assert_eq!(fs::read(f.get(1).await.file().path()).unwrap(), b"code");
    }
}

#[tokio::test]
async fn a_folder_that_was_removed_is_created_again() {
    let f = fixture(100);
    f.put(1, b"one").await;
    f.put(2, b"two").await;
    let folder = f.cache.folder.path();
    f.get(1).await;
    fs::remove_dir_all(&folder).unwrap();
    // One that was there and one that was not.
    for (n, code) in [(1, b"one"), (2, b"two")] {
        assert_eq!(fs::read(f.get(n).await.file().path()).unwrap(), code);
    }
    assert_ne!(f.cache.folder.path(), folder);
    fs::remove_dir_all(f.cache.folder.path()).unwrap();
    assert!(f.cache.folder().unwrap().is_dir());
}

#[tokio::test]
async fn missing_and_replaced_artifacts_have_their_own_outcomes() {
    let f = fixture(100);
    let missing = |outcome| matches!(outcome, ExecuteOutcome::Internal(InternalError::ArtifactMissing(_)));
    assert!(missing(f.fails(1, None).await));
    assert!(f.cache.list().is_empty());
    f.store.put_failure(&numbered(1), &PrepareError::OutOfMemory).await.unwrap();
    assert!(missing(f.fails(1, None).await));
    let old = f.put(1, b"old").await;
    f.put(1, b"new").await;
    let outcome = f.fails(1, Some(old)).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::CorruptedArtifact(_))));
}

/// Jobs that wait for a fetch of the same artifact that fails do not repeat it one after the other; a later one does.
#[tokio::test]
async fn a_failed_fetch_fails_all_that_waited_for_it() {
    let f = fixture(100);
    let (id, entry) = (numbered(1), f.cache.cell(&numbered(1)));
    let mut fetching = entry.lock().await;
    let mut waiting = pin!(f.cache.get(&id, None, |_| false));
    assert!(waiting.as_mut().now_or_never().is_none());
    let outcome = ExecuteOutcome::Internal(InternalError::Store("it hangs".into()));
    fetching.failure = Some(Failure { at: Instant::now(), digest: None, outcome: outcome.clone() });
    drop(fetching);
    f.put(1, b"code").await;
    assert_eq!(waiting.await.err(), Some(outcome));
    assert_eq!(fs::read(f.get(1).await.file().path()).unwrap(), b"code");
}

#[tokio::test]
async fn a_copy_is_kept_while_a_job_uses_it() {
    let f = fixture(100);
    f.put(1, b"code").await;
    let copy = f.get(1).await;
    let new = f.put(1, b"other").await;
    f.cache.get(&numbered(1), Some(new), |_| false).await.unwrap();
    let path = copy.file().path().to_owned();
    assert!(path.exists(), "a job may be about to map it");
    assert_eq!(*f.given_up.lock().unwrap(), std::slice::from_ref(&path), "later jobs use the new one");
    drop(copy);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_number_of_copies_is_bounded() {
    let f = fixture(u64::MAX);
    let full = MAX_COPIES.get() as u32;
    for n in 0..=full {
        f.put(n, b"code").await;
    }
    let first = f.get(0).await.file().path().to_owned();
    for n in 1..full {
        f.get(n).await;
    }
    assert!(f.cache.take_evicted().is_empty());
    f.get(0).await;
    f.get(full).await;
    assert_eq!(f.cache.take_evicted(), [numbered(1)]);
    assert!(f.cache.take_evicted().is_empty() && first.exists());
    let mut expected: Vec<_> = (0..=full).filter(|n| *n != 1).map(numbered).collect();
    expected.sort_unstable();
    assert_eq!(f.kept(), expected);
    let text = f.cache.metrics.text();
    for line in [
        "pvf_worker_artifact_cache_evictions_total{kind=\"execute\"} 1",
        "pvf_worker_artifact_cache_hits_total{kind=\"execute\"} 1",
        &format!("pvf_worker_artifact_cache_misses_total{{kind=\"execute\"}} {}", full + 1),
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[tokio::test]
async fn the_bytes_of_copies_are_bounded() {
    let f = fixture(10);
    for n in 0..5 {
        f.put(n, b"code").await;
        f.get(n).await;
        assert!(f.on_disk() <= 10);
    }
    assert_eq!((f.kept(), f.on_disk()), (vec![numbered(3), numbered(4)], 8));
    assert_eq!(f.cache.take_evicted(), [numbered(0), numbered(1), numbered(2)]);
    assert_eq!(f.given_up.lock().unwrap().len(), 3);
    // One that is in use is not evicted, though it is the least recently used one.
    let used = f.get(3).await;
    f.get(4).await;
    f.put(5, b"other").await;
    f.get(5).await;
    assert!(used.file().path().exists());
    assert_eq!(f.kept(), [numbered(3), numbered(5)]);
    drop(used);
    f.cache.evict_idle();
    assert_eq!((f.kept(), f.on_disk()), (vec![], 0));
}

#[tokio::test]
async fn an_artifact_larger_than_all_copies_may_be_is_the_workers_trouble() {
    let f = fixture(10);
    f.put(1, b"code").await;
    f.put(2, b"eleven byte").await;
    f.get(1).await;
    let ExecuteOutcome::Internal(InternalError::Kernel(why)) = f.fails(2, None).await else { panic!("it fits") };
    assert!(why.contains("11 B of at most 10 B"), "{why}");
    assert_eq!(f.kept(), [numbered(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_the_room_of_copies_that_others_use_and_not_for_ever() {
    let f = fixture(10);
    for n in 0..3 {
        f.put(n, b"12345678").await;
    }
    let used = f.get(0).await;
    let ExecuteOutcome::Internal(InternalError::Kernel(why)) = f.fails(1, None).await else { panic!("it fits") };
    assert!(why.contains("running jobs use the other copies"), "{why}");
    let id = numbered(2);
    let (waits, ()) = tokio::join!(f.cache.get(&id, None, |_| false), async {
        tokio::time::sleep(ROOM_LIMIT / 2).await;
        drop(used);
    });
    assert!(waits.unwrap().file().path().exists());
    assert_eq!(f.on_disk(), 8);
}
