//! What a process made for somebody, who pulls it soon or never.

use crate::{content::Content, units::MIB};
use bytes::Bytes;
use lru::LruCache;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How much [`Results`] keep, and for how long.
#[derive(Debug, Clone)]
pub struct ResultLimits {
    /// All contents together, bytes. The oldest make room for a new one.
    pub bytes: usize,
    /// How long each is kept.
    pub time: Duration,
}

impl Default for ResultLimits {
    fn default() -> Self {
        Self { bytes: 256 * MIB, time: Duration::from_secs(600) }
    }
}

/// Content that can be pulled until it is forgotten, is too old, or has to make room. Clones share it.
#[derive(Clone)]
pub struct Results {
    limits: ResultLimits,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    /// In the order in which they were kept last.
    entries: LruCache<Content, (Bytes, Instant)>,
    /// All entries together.
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, content: &Content) {
        if let Some((bytes, _)) = self.entries.pop(content) {
            self.bytes -= bytes.len();
        }
    }

    fn remove_oldest(&mut self) {
        if let Some((_, (bytes, _))) = self.entries.pop_lru() {
            self.bytes -= bytes.len();
        }
    }

    fn remove_expired(&mut self, now: Instant) {
        while self.entries.peek_lru().is_some_and(|(_, (_, expires))| *expires <= now) {
            self.remove_oldest();
        }
    }
}

impl Results {
    /// Nothing yet.
    pub fn new(limits: ResultLimits) -> Self {
        Self { limits, kept: Arc::new(Mutex::new(Kept { entries: LruCache::unbounded(), bytes: 0 })) }
    }

    /// Keeps content, or keeps it for longer if it is kept already. Whether there is room for it: not if it alone is
    /// over the limit.
    #[must_use = "content that is too large is not kept"]
    pub fn keep(&self, content: Content, bytes: Bytes) -> bool {
        if bytes.len() > self.limits.bytes {
            return false;
        }
        let now = Instant::now();
        let mut kept = self.lock();
        kept.remove_expired(now);
        kept.remove(&content);
        while kept.bytes > self.limits.bytes - bytes.len() {
            kept.remove_oldest();
        }
        kept.bytes += bytes.len();
        kept.entries.put(content, (bytes, now + self.limits.time));
        true
    }

    /// The bytes of this content, if it is kept.
    pub fn find(&self, content: &Content) -> Option<Bytes> {
        let mut kept = self.lock();
        kept.remove_expired(Instant::now());
        kept.entries.peek(content).map(|(bytes, _)| bytes.clone())
    }

    /// Keeps this content no longer.
    pub fn forget(&self, content: &Content) {
        self.lock().remove(content);
    }

    /// How many bytes are kept. This also frees what is too old, so whoever reports it frees it in time.
    pub fn bytes(&self) -> usize {
        let mut kept = self.lock();
        kept.remove_expired(Instant::now());
        kept.bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.lock();
        write!(f, "Results({} with {} B)", kept.entries.len(), kept.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8, len: usize) -> (Content, Bytes) {
        let bytes = Bytes::from(vec![n; len]);
        (Content::of_blob(&bytes), bytes)
    }

    fn results() -> Results {
        Results::new(ResultLimits { bytes: 100, time: Duration::from_secs(60) })
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room() {
        let results = results();
        let [(a, bytes_a), (b, bytes_b), (c, bytes_c)] = [entry(1, 40), entry(2, 60), entry(3, 30)];
        assert!(results.keep(a, bytes_a.clone()) && results.keep(b, bytes_b.clone()));
        // Kept again, `a` is the newer one, whoever was looked for last.
        assert!(results.keep(a, bytes_a.clone()));
        assert_eq!(results.find(&b), Some(bytes_b));
        assert!(results.keep(c, bytes_c.clone()));
        assert_eq!((results.find(&a), results.find(&b), results.find(&c)), (Some(bytes_a), None, Some(bytes_c)));
        assert_eq!(results.bytes(), 70);
        let (large, bytes) = entry(4, 101);
        assert!(!results.keep(large, bytes));
        assert_eq!(results.bytes(), 70);
        let (all, bytes) = entry(5, 100);
        assert!(results.keep(all, bytes));
        assert_eq!((results.bytes(), results.find(&a)), (100, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_and_the_forgotten_are_gone() {
        let results = results();
        let [(a, bytes_a), (b, bytes_b)] = [entry(1, 40), entry(2, 60)];
        assert!(results.keep(a, bytes_a.clone()));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(results.keep(b, bytes_b) && results.find(&a).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((results.find(&a), results.bytes()), (None, 60));
        results.forget(&b);
        results.forget(&a);
        assert_eq!((results.find(&b), results.bytes()), (None, 0));
    }
}
