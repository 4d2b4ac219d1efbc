//! Verdicts that were given lately, for nodes that did not hear them. Bounded by count and by bytes.

use super::prefetch::prefetch_all;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use pvf_shared::{ids::RequestId, verdict::Outcome, wire::Verdict};
use std::{collections::VecDeque, hash::BuildHasher as _, sync::Arc};

const MAX_CANCELLED: usize = 4096;
const MAX_COUNT: usize = 8192;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Cancellations that came before what they cancel.
#[derive(Debug, Default)]
pub(super) struct Cancelled {
    requests: HashSet<RequestId>,
    order: VecDeque<RequestId>,
}

impl Cancelled {
    /// A request that is not here was cancelled.
    pub(super) fn note(&mut self, request: RequestId) {
        if self.requests.insert(request) {
            self.order.push_back(request);
        }
        if self.order.len() > MAX_CANCELLED
            && let Some(oldest) = self.order.pop_front()
        {
            self.requests.remove(&oldest);
        }
    }

    /// Whether a request was cancelled before it came.
    pub(super) fn has(&self, request: RequestId) -> bool {
        self.requests.contains(&request)
    }
}

/// A verdict's place: the hash of its request, and its number.
type Entry = (u64, u64);

/// Verdicts that were given lately.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// The oldest first.
    ring: VecDeque<Arc<Verdict>>,
    /// The number of the oldest.
    first: u64,
    by_id: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    bytes: usize,
}

fn weight(verdict: &Verdict) -> usize {
    512 + if let Outcome::Valid(result) = &verdict.outcome { result.inline_len() } else { 0 }
}

impl Verdicts {
    /// Keeps a verdict for a while.
    pub(super) fn keep(&mut self, verdict: Arc<Verdict>) {
        self.bytes += weight(&verdict);
        let entry = (self.hasher.hash_one(verdict.request), self.first + self.ring.len() as u64);
        self.ring.push_back(verdict);
        self.by_id.insert_unique(entry.0, entry, |entry| entry.0);
        while self.ring.len() > MAX_COUNT || self.bytes > MAX_BYTES {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.bytes -= weight(&oldest);
            let gone = (self.hasher.hash_one(oldest.request), self.first);
            if let Ok(entry) = self.by_id.find_entry(gone.0, |entry| *entry == gone) {
                entry.remove();
            }
            self.first += 1;
        }
    }

    /// Asks for those that go next.
    pub(super) fn fetch_oldest(&self, n: usize) {
        if self.ring.len() >= MAX_COUNT {
            self.ring.iter().take(n).for_each(|verdict| prefetch_all(&**verdict));
        }
    }

    /// The verdict of a request, if it is still kept.
    pub(super) fn get(&self, request: &RequestId) -> Option<&Arc<Verdict>> {
        let hash = self.hasher.hash_one(request);
        let verdict = |(_, number): &Entry| self.ring.get((number - self.first) as usize);
        let is_it = |entry: &Entry| entry.0 == hash && verdict(entry).is_some_and(|v| v.request == *request);
        self.by_id.find(hash, is_it).and_then(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::{ids::CodeHash, wire::Timings};

    fn verdict(n: u128) -> Arc<Verdict> {
        Arc::new(Verdict {
            request: RequestId(uuid::Uuid::from_u128(n)),
            outcome: Outcome::ExecutionDeadline,
            code_hash: CodeHash([0; 32]),
            artifact: None,
            timings: Timings::default(),
            worker: None,
            attempts: 0,
        })
    }

    #[test]
    fn the_last_ones_are_kept() {
        let mut verdicts = Verdicts::default();
        (0..20_000).for_each(|n| verdicts.keep(verdict(n)));
        let kept = |n| verdicts.get(&RequestId(uuid::Uuid::from_u128(n))).map(|v| v.request.0.as_u128());
        let all: Vec<_> = (0..20_000).filter_map(kept).collect();
        assert_eq!(all, (20_000 - MAX_COUNT as u128..20_000).collect::<Vec<_>>());
        assert_eq!((verdicts.by_id.len(), verdicts.ring.len()), (MAX_COUNT, MAX_COUNT));
    }
}
