//! Verdicts that were given lately, for nodes that did not hear them. Bounded by count and by bytes.

use pvf_shared::{ids::RequestId, verdict::Outcome, wire::Verdict};
use std::collections::{HashMap, VecDeque};

const MAX_CANCELLED: usize = 256;
const MAX_COUNT: usize = 8192;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Cancellations that came before what they cancel.
#[derive(Debug, Default)]
pub(super) struct Cancelled(VecDeque<RequestId>);

impl Cancelled {
    /// A request that is not here was cancelled.
    pub(super) fn note(&mut self, request: RequestId) {
        self.0.push_back(request);
        if self.0.len() > MAX_CANCELLED {
            self.0.pop_front();
        }
    }

    /// Whether a request was cancelled before it came.
    pub(super) fn take(&mut self, request: RequestId) -> bool {
        let found = self.0.iter().rposition(|id| *id == request);
        found.is_some_and(|at| self.0.remove(at).is_some())
    }
}

/// Verdicts that were given lately.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    by_id: HashMap<RequestId, Verdict>,
    order: VecDeque<RequestId>,
    bytes: usize,
}

fn weight(verdict: &Verdict) -> usize {
    512 + if let Outcome::Valid(result) = &verdict.outcome { result.inline_len() } else { 0 }
}

impl Verdicts {
    /// Keeps a verdict for a while.
    pub(super) fn keep(&mut self, verdict: &Verdict) {
        self.bytes += weight(verdict);
        self.order.push_back(verdict.request);
        self.by_id.insert(verdict.request, verdict.clone());
        while self.order.len() > MAX_COUNT || self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.by_id.remove(&oldest) {
                self.bytes -= weight(&gone);
            }
        }
    }

    /// The verdict of a request, if it is still kept.
    pub(super) fn get(&self, request: &RequestId) -> Option<&Verdict> {
        self.by_id.get(request)
    }
}
