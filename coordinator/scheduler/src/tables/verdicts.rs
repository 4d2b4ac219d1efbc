//! Verdicts for clients that missed them, and cancellations that overtook their submission.

use crate::{collections::ShardedMap, time::Timestamp};
use lru::LruCache;
use pvf_proto::{
    identity::{ClientId, UserName},
    ids::RequestId,
    verdict::Outcome,
    wire::{AttemptUsage, Verdict},
};
use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

const MAX_CANCELLATIONS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// What a verdict takes up besides its result and the usage of its attempts, about.
const VERDICT_BYTES: usize = 768;
/// What one of two opinions takes up, about.
const OPINION_BYTES: usize = 1024;

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

/// How long a request whose verdict was heard is known: a repetition of its submission may still be on its way.
const REPEATED_WITHIN: Duration = Duration::from_secs(60);
/// What such a request takes up, about.
const HEARD_BYTES: usize = 256;

/// Verdicts that their clients may not have received. Each is kept until its client confirms it, or until no client
/// waits for it any more. If they take up too much memory, those of the user that has the most of it go first, and
/// of these those that are waited for the shortest.
#[derive(Debug)]
pub(crate) struct UnheardVerdicts {
    /// By client too: another client may choose the same id for a request of its own.
    by_id: ShardedMap<(ClientId, RequestId), Kept>,
    by_user: HashMap<UserName, OfUser>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Kept {
    /// `None` once it was heard.
    verdict: Option<Arc<Verdict>>,
    /// From when on its client does not wait for it.
    end: Timestamp,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.verdict.as_deref().map_or(HEARD_BYTES, size)
    }
}

/// The verdicts of one user's clients.
#[derive(Debug, Default)]
struct OfUser {
    /// In the order in which their clients cease to wait for them.
    by_end: BTreeSet<(Timestamp, ClientId, RequestId)>,
    bytes: usize,
}

fn size(verdict: &Verdict) -> usize {
    let result = if let Outcome::Valid(result) = &verdict.outcome { result.inline_len() } else { 0 };
    let opinions = verdict.second_opinion.as_ref().map_or(0, |record| record.opinions.len() * OPINION_BYTES);
    VERDICT_BYTES + verdict.usage.executions.len() * size_of::<AttemptUsage>() + result + opinions
}

impl UnheardVerdicts {
    /// Keeps at most so many bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { by_id: ShardedMap::default(), by_user: HashMap::new(), bytes: 0, limit }
    }

    /// Keeps a verdict until `end`.
    pub(crate) fn insert(&mut self, client: ClientId, verdict: Arc<Verdict>, end: Timestamp, now: Timestamp) {
        self.put((client, verdict.request), Kept { verdict: Some(verdict), end });
        while self.remove_first_of(&client.user, Some(now)) {}
        while self.bytes > self.limit
            && let Some(user) = self.by_user.iter().max_by_key(|(_, own)| own.bytes).map(|(user, _)| *user)
            && self.remove_first_of(&user, None)
        {}
    }

    /// Removes the verdict of a user that is waited for the shortest, if its client does not wait for it at `now`.
    fn remove_first_of(&mut self, user: &UserName, now: Option<Timestamp>) -> bool {
        let first = self.by_user.get(user).and_then(|own| own.by_end.first().copied());
        let Some((_, client, id)) = first.filter(|(end, ..)| now.is_none_or(|now| *end <= now)) else { return false };
        self.remove(client, &id);
        true
    }

    fn put(&mut self, (client, id): (ClientId, RequestId), kept: Kept) {
        self.remove(client, &id);
        let bytes = kept.bytes();
        self.bytes += bytes;
        let own = self.by_user.entry(client.user).or_default();
        own.bytes += bytes;
        own.by_end.insert((kept.end, client, id));
        self.by_id.insert((client, id), kept);
    }

    /// The client of a verdict has it. The request is known for a moment longer.
    pub(crate) fn heard(&mut self, client: ClientId, id: RequestId, now: Timestamp) {
        let Some(kept) = self.by_id.get(&(client, id)).filter(|kept| kept.verdict.is_some()) else { return };
        let end = kept.end.min(now.after(REPEATED_WITHIN));
        self.put((client, id), Kept { verdict: None, end });
    }

    /// Forgets all about a request.
    pub(crate) fn remove(&mut self, client: ClientId, id: &RequestId) {
        let Some(kept) = self.by_id.remove(&(client, *id)) else { return };
        let bytes = kept.bytes();
        self.bytes -= bytes;
        if let Entry::Occupied(mut own) = self.by_user.entry(client.user) {
            own.get_mut().bytes -= bytes;
            own.get_mut().by_end.remove(&(kept.end, client, *id));
            if own.get().by_end.is_empty() {
                own.remove();
            }
        }
    }

    /// The verdict of a request, for the client that submitted it and for no other.
    pub(crate) fn get(&self, request: &RequestId, client: ClientId) -> Option<&Arc<Verdict>> {
        self.by_id.get(&(client, *request))?.verdict.as_ref()
    }

    /// Whether the client of a request has said that it has the verdict.
    pub(crate) fn was_heard(&self, request: &RequestId, client: ClientId) -> bool {
        self.by_id.get(&(client, *request)).is_some_and(|kept| kept.verdict.is_none())
    }

    /// How many there are, and the bytes that they take up, about.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let of_users: usize = self.by_user.values().map(|own| own.bytes).sum();
        assert_eq!(self.bytes, of_users);
        (self.by_user.values().map(|own| own.by_end.len()).sum(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_proto::{
        Bytes,
        blob::BlobRef,
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
            second_opinion: None,
        })
    }

    fn client() -> ClientId {
        ClientId { user: UserName::default(), session: uuid::Uuid::from_u128(1) }
    }

    fn id(n: u128) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::at(Duration::from_secs(seconds))
    }

    fn kept(verdicts: &UnheardVerdicts, of: u128) -> Vec<u128> {
        (0..of).filter(|n| verdicts.get(&id(*n), client()).is_some()).collect()
    }

    #[test]
    fn verdicts_are_kept_until_they_are_heard_or_their_clients_do_not_wait() {
        let mut verdicts = UnheardVerdicts::new(u64::MAX);
        // More than a second's worth of a busy fleet, and every one is there.
        (0..20_000).for_each(|n| verdicts.insert(client(), verdict(n, 0), at(10 + n as u64 % 2), at(1)));
        assert_eq!(verdicts.size(), (20_000, 20_000 * VERDICT_BYTES));
        verdicts.remove(client(), &id(4));
        verdicts.remove(client(), &id(4));
        assert_eq!(kept(&verdicts, 8), [0, 1, 2, 3, 5, 6, 7]);
        verdicts.insert(client(), verdict(4, 0), at(20), at(10));
        assert_eq!(kept(&verdicts, 8), [1, 3, 4, 5, 7]);
        verdicts.insert(client(), verdict(0, 0), at(20), at(11));
        assert_eq!((kept(&verdicts, 20_000), verdicts.size()), (vec![0, 4], (2, 2 * VERDICT_BYTES)));
    }

    #[test]
    fn a_request_whose_verdict_was_heard_is_known_for_a_moment() {
        let mut verdicts = UnheardVerdicts::new(u64::MAX);
        verdicts.insert(client(), verdict(1, 100), at(500), at(1));
        verdicts.heard(client(), id(1), at(2));
        verdicts.heard(client(), id(1), at(5));
        verdicts.heard(client(), id(7), at(5));
        assert!(verdicts.was_heard(&id(1), client()) && !verdicts.was_heard(&id(7), client()));
        assert_eq!((kept(&verdicts, 2), verdicts.size()), (vec![], (1, HEARD_BYTES)));
        verdicts.insert(client(), verdict(2, 0), at(500), at(61));
        assert!(verdicts.was_heard(&id(1), client()));
        verdicts.insert(client(), verdict(2, 0), at(500), at(62));
        assert!(!verdicts.was_heard(&id(1), client()) && !verdicts.was_heard(&id(2), client()));
    }

    #[test]
    fn one_client_neither_gets_nor_replaces_the_verdicts_of_another() {
        let mut verdicts = UnheardVerdicts::new(u64::MAX);
        let other = ClientId { session: uuid::Uuid::from_u128(2), ..client() };
        verdicts.insert(client(), verdict(1, 0), at(10), at(1));
        assert!(verdicts.get(&id(1), other).is_none(), "another client's verdict");
        verdicts.remove(other, &id(1));
        verdicts.insert(other, verdict(1, 7), at(10), at(1));
        assert!(verdicts.get(&id(1), client()).is_some_and(|verdict| size(verdict) == VERDICT_BYTES));
        assert!(verdicts.get(&id(1), other).is_some_and(|verdict| size(verdict) == VERDICT_BYTES + 7));
    }

    #[test]
    fn of_too_many_bytes_those_go_first_that_are_waited_for_the_shortest() {
        const MIB: usize = 1024 * 1024;
        let mut verdicts = UnheardVerdicts::new(64 * MIB as u64);
        (0..10).for_each(|n| verdicts.insert(client(), verdict(n, 10 * MIB), at(100 - n as u64), at(1)));
        assert_eq!(kept(&verdicts, 10), [0, 1, 2, 3, 4, 5]);
        // A verdict that is replaced counts once.
        verdicts.insert(client(), verdict(0, 10 * MIB), at(100), at(1));
        assert_eq!(verdicts.size(), (6, 6 * (10 * MIB + VERDICT_BYTES)));
    }

    #[test]
    fn a_user_that_hears_nothing_takes_no_room_from_others() {
        const MIB: usize = 1024 * 1024;
        let mut verdicts = UnheardVerdicts::new(64 * MIB as u64);
        let deaf = ClientId { user: UserName::parse("deaf").unwrap(), session: uuid::Uuid::from_u128(9) };
        (0..10).for_each(|n| verdicts.insert(deaf, verdict(n, 10 * MIB), at(86_400), at(1)));
        (0..3).for_each(|n| verdicts.insert(client(), verdict(n, 10 * MIB), at(100), at(1)));
        assert_eq!(kept(&verdicts, 3), [0, 1, 2]);
        assert_eq!(verdicts.size().0, 6);
    }
}
