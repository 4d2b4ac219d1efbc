//! Recent verdicts, for clients that missed them, and cancellations that overtook their submission.

use lru::LruCache;
use pvf_proto::{
    identity::ClientId,
    ids::RequestId,
    verdict::Outcome,
    wire::{AttemptUsage, Verdict},
};
use std::{num::NonZeroUsize, sync::Arc};

const MAX_CANCELLATIONS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const MAX_VERDICTS: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a verdict takes up besides its result and the usage of its attempts, about.
const VERDICT_BYTES: usize = 768;

/// Cancellations of requests that are not known, by client. At most 4,096: the oldest one goes first.
#[derive(Debug)]
pub(crate) struct EarlyCancellations(LruCache<(RequestId, ClientId), ()>);

impl Default for EarlyCancellations {
    fn default() -> Self {
        Self(LruCache::new(MAX_CANCELLATIONS))
    }
}

impl EarlyCancellations {
    pub(crate) fn note(&mut self, request: RequestId, client: ClientId) {
        self.0.put((request, client), ());
    }

    pub(crate) fn contains(&self, request: RequestId, client: ClientId) -> bool {
        self.0.contains(&(request, client))
    }
}

/// The last verdicts: at most 8,192 and 64 MiB, the oldest one goes first.
#[derive(Debug)]
pub(crate) struct RecentVerdicts {
    /// By client too: another client may choose the same id for a request of its own.
    by_id: LruCache<(ClientId, RequestId), Arc<Verdict>>,
    bytes: usize,
}

impl Default for RecentVerdicts {
    fn default() -> Self {
        Self { by_id: LruCache::new(MAX_VERDICTS), bytes: 0 }
    }
}

fn size(verdict: &Verdict) -> usize {
    let result = if let Outcome::Valid(result) = &verdict.outcome { result.inline_len() } else { 0 };
    VERDICT_BYTES + verdict.usage.executions.len() * size_of::<AttemptUsage>() + result
}

impl RecentVerdicts {
    pub(crate) fn insert(&mut self, client: ClientId, verdict: Arc<Verdict>) {
        self.bytes += size(&verdict);
        if let Some((_, replaced)) = self.by_id.push((client, verdict.request), verdict) {
            self.bytes -= size(&replaced);
        }
        while self.bytes > MAX_BYTES
            && let Some((_, oldest)) = self.by_id.pop_lru()
        {
            self.bytes -= size(&oldest);
        }
    }

    /// The verdict of a request, for the client that submitted it and for no other.
    pub(crate) fn get(&self, request: &RequestId, client: ClientId) -> Option<&Arc<Verdict>> {
        self.by_id.peek(&(client, *request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::{
        Bytes,
        blob::BlobRef,
        identity::UserName,
        ids::CodeHash,
        wire::{Timings, VerdictUsage},
    };

    fn verdict(n: u128, result: usize) -> Arc<Verdict> {
        Arc::new(Verdict {
            request: RequestId(uuid::Uuid::from_u128(n)),
            outcome: Outcome::Valid(BlobRef::Inline(Bytes::from(vec![0; result]))),
            code_hash: CodeHash([0; 32]),
            artifact: None,
            timings: Timings::default(),
            worker: None,
            attempts: 0,
            usage: VerdictUsage::default(),
        })
    }

    fn client() -> ClientId {
        ClientId { user: UserName::default(), session: uuid::Uuid::from_u128(1) }
    }

    fn kept(verdicts: &RecentVerdicts, of: u128) -> Vec<u128> {
        (0..of).filter(|n| verdicts.get(&RequestId(uuid::Uuid::from_u128(*n)), client()).is_some()).collect()
    }

    #[test]
    fn the_last_verdicts_are_kept_by_count_and_by_bytes() {
        let mut verdicts = RecentVerdicts::default();
        (0..20_000).for_each(|n| verdicts.insert(client(), verdict(n, 0)));
        let count = MAX_VERDICTS.get() as u128;
        assert_eq!(kept(&verdicts, 20_000), (20_000 - count..20_000).collect::<Vec<_>>());
        // Another client's verdict of the same id is beside it.
        let other = ClientId { session: uuid::Uuid::from_u128(2), ..client() };
        assert!(verdicts.get(&RequestId(uuid::Uuid::from_u128(19_999)), other).is_none(), "another client's verdict");
        let last = RequestId(uuid::Uuid::from_u128(19_999));
        verdicts.insert(other, verdict(19_999, 7));
        assert!(verdicts.get(&last, client()).is_some_and(|verdict| size(verdict) == VERDICT_BYTES));
        assert!(verdicts.get(&last, other).is_some_and(|verdict| size(verdict) == VERDICT_BYTES + 7));
        let mut verdicts = RecentVerdicts::default();
        (0..20_000).for_each(|n| verdicts.insert(client(), verdict(n, 0)));
        assert_eq!(verdicts.bytes, MAX_VERDICTS.get() * VERDICT_BYTES);
        let mut verdicts = RecentVerdicts::default();
        (0..10).for_each(|n| verdicts.insert(client(), verdict(n, 10 * 1024 * 1024)));
        assert_eq!(kept(&verdicts, 10), [4, 5, 6, 7, 8, 9]);
    }
}
