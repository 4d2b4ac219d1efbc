//! Requests that ended.

use pvf_scheduler::{Answered, RetryReason, WorkKind};
use pvf_shared::{
    identity::{ClientId, WorkerId},
    ids::{ArtifactId, Attempt, CodeHash, RequestId},
    wire::{Timings, Verdict, VerdictUsage},
};
use std::{cmp::Reverse, collections::VecDeque, sync::Arc, time::Duration};

/// Requests that are remembered as the last ones.
const LAST: usize = 1000;
/// Requests that are remembered because they failed.
const FAILED: usize = 200;
/// Requests that are remembered because they were slow, for [`SLOW_FOR_MS`].
const SLOWEST: usize = 100;
const SLOW_FOR_MS: u64 = 30 * 60 * 1000;

/// A request that has its verdict, without its result.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) request: RequestId,
    pub(crate) client: ClientId,
    pub(crate) work: WorkKind,
    pub(crate) code: CodeHash,
    pub(crate) artifact: Option<ArtifactId>,
    pub(crate) ended_ms: u64,
    pub(crate) outcome: &'static str,
    /// Whether it is neither valid nor ok.
    pub(crate) has_failed: bool,
    pub(crate) reason: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) worker: Option<WorkerId>,
    /// The worker's machine.
    pub(crate) host: Option<String>,
    pub(crate) timings: Timings,
    pub(crate) second_opinion: Option<&'static str>,
    pub(crate) usage: VerdictUsage,
    pub(crate) retries: Vec<Retry>,
}

impl Ended {
    pub(super) fn new(
        (client, verdict, about): (ClientId, &Verdict, Answered),
        retries: Vec<Retry>,
        host: Option<String>,
        ended_ms: u64,
    ) -> Self {
        let reason = verdict.outcome.reason();
        Self {
            request: verdict.request,
            client,
            work: about.work,
            code: verdict.code_hash,
            artifact: verdict.artifact.as_ref().map(|artifact| artifact.id.clone()),
            ended_ms,
            outcome: verdict.outcome.name(),
            has_failed: reason.is_some(),
            reason,
            attempts: verdict.attempts,
            worker: verdict.worker,
            host,
            timings: verdict.timings,
            second_opinion: verdict.second_opinion.as_ref().map(|record| record.result.name()),
            usage: verdict.usage.clone(),
            retries,
        }
    }

    /// The most that one of its jobs has used of the limit of its CPU time.
    pub(crate) fn cpu_ratio(&self) -> f64 {
        let jobs = self.usage.preparation.iter().map(|of| &of.usage);
        let jobs = jobs.chain(self.usage.executions.iter().map(|of| &of.usage));
        jobs.map(|usage| ratio(usage.cpu, usage.cpu_limit)).fold(0.0, f64::max)
    }
}

/// What part of a limit was used; 0 without a limit.
pub(super) fn ratio(used: Duration, limit: Duration) -> f64 {
    if limit.is_zero() { 0.0 } else { used.as_secs_f64() / limit.as_secs_f64() }
}

/// An attempt that was followed by another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Retry {
    pub(crate) at_ms: u64,
    pub(crate) attempt: Attempt,
    pub(crate) worker: WorkerId,
    pub(crate) host: Option<String>,
    pub(crate) reason: &'static str,
    pub(crate) detail: Option<String>,
}

impl Retry {
    pub(super) fn new(
        (attempt, worker): (Attempt, WorkerId),
        host: Option<String>,
        why: &RetryReason,
        at_ms: u64,
    ) -> Self {
        Self { at_ms, attempt, worker, host, reason: why.name(), detail: why.detail().map(str::to_owned) }
    }
}

/// The requests that are remembered.
#[derive(Debug, Default)]
pub(super) struct EndedRequests {
    last: VecDeque<Arc<Ended>>,
    failed: VecDeque<Arc<Ended>>,
    /// Slowest first.
    slowest: Vec<Arc<Ended>>,
}

impl EndedRequests {
    pub(super) fn push(&mut self, ended: Ended) {
        let ended = Arc::new(ended);
        push(&mut self.last, ended.clone(), LAST);
        if ended.has_failed {
            push(&mut self.failed, ended.clone(), FAILED);
        }
        let total = |ended: &Arc<Ended>| Reverse(ended.timings.total);
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|last| total(&ended) < total(last)) {
            self.drop_old(ended.ended_ms);
            let at = self.slowest.partition_point(|other| total(other) <= total(&ended));
            self.slowest.insert(at, ended);
            self.slowest.truncate(SLOWEST);
        }
    }

    fn drop_old(&mut self, now_ms: u64) {
        self.slowest.retain(|ended| now_ms.saturating_sub(ended.ended_ms) < SLOW_FOR_MS);
    }

    pub(super) fn last(&self) -> Vec<Arc<Ended>> {
        self.last.iter().rev().cloned().collect()
    }

    pub(super) fn failed(&self) -> Vec<Arc<Ended>> {
        self.failed.iter().rev().cloned().collect()
    }

    pub(super) fn slowest(&mut self, now_ms: u64) -> Vec<Arc<Ended>> {
        self.drop_old(now_ms);
        self.slowest.clone()
    }

    /// The last one with this id.
    pub(super) fn with_id(&self, id: RequestId) -> Option<Arc<Ended>> {
        let mut all = self.last.iter().rev().chain(self.failed.iter().rev()).chain(&self.slowest);
        all.find(|ended| ended.request == id).cloned()
    }
}

fn push(to: &mut VecDeque<Arc<Ended>>, ended: Arc<Ended>, most: usize) {
    to.push_back(ended);
    if to.len() > most {
        to.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_shared::identity::UserName;

    fn ended(n: u128, total: u64, has_failed: bool, ended_ms: u64) -> Ended {
        Ended {
            request: uuid::Uuid::from_u128(n).simple().to_string().parse().unwrap(),
            client: ClientId::new(UserName::default()),
            work: WorkKind::Precheck,
            code: CodeHash::of(b"code"),
            artifact: None,
            ended_ms,
            outcome: if has_failed { "internal" } else { "ok" },
            has_failed,
            reason: None,
            attempts: 1,
            worker: None,
            host: None,
            timings: Timings { total: Duration::from_millis(total), ..Timings::default() },
            second_opinion: None,
            usage: VerdictUsage::default(),
            retries: Vec::new(),
        }
    }

    fn totals(of: &[Arc<Ended>]) -> Vec<u128> {
        of.iter().map(|ended| ended.timings.total.as_millis()).collect()
    }

    #[test]
    fn the_last_the_failed_and_the_slowest_requests_are_remembered() {
        let mut requests = EndedRequests::default();
        requests.push(ended(1, 1_000_000, true, 0));
        for n in 0..2 * LAST as u64 {
            requests.push(ended(u128::from(n) + 2, n, false, n));
        }
        assert_eq!((requests.last().len(), totals(&requests.last())[0]), (LAST, 2 * LAST as u128 - 1));
        assert_eq!(totals(&requests.failed()), [1_000_000]);
        let slowest = totals(&requests.slowest(3000));
        assert_eq!((slowest.len(), slowest[0], slowest[1], slowest[99]), (SLOWEST, 1_000_000, 1999, 1901));
        let first = requests.failed()[0].request;
        assert_eq!(requests.with_id(first).map(|ended| ended.timings.total.as_millis()), Some(1_000_000));
        assert_eq!(totals(&requests.slowest(SLOW_FOR_MS + 1950))[0], 1999, "slow requests are forgotten after a while");
    }
}
