//! Verdicts that were given lately, for nodes that did not hear them. Bounded by count and by bytes.

use hashbrown::{HashMap, HashSet};
use pvf_shared::{ids::RequestId, verdict::Outcome, wire::Verdict};
use std::{collections::VecDeque, sync::Arc};

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

/// Verdicts that were given lately.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    by_id: HashMap<RequestId, Arc<Verdict>>,
    order: VecDeque<RequestId>,
    bytes: usize,
}

fn weight(verdict: &Verdict) -> usize {
    512 + if let Outcome::Valid(result) = &verdict.outcome { result.inline_len() } else { 0 }
}

impl Verdicts {
    /// Keeps a verdict for a while.
    pub(super) fn keep(&mut self, verdict: Arc<Verdict>) {
        self.bytes += weight(&verdict);
        self.order.push_back(verdict.request);
        self.by_id.insert(verdict.request, verdict);
        while self.order.len() > MAX_COUNT || self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.by_id.remove(&oldest) {
                self.bytes -= weight(&gone);
            }
        }
    }

    /// The verdict of a request, if it is still kept.
    pub(super) fn get(&self, request: &RequestId) -> Option<&Arc<Verdict>> {
        self.by_id.get(request)
    }
}
