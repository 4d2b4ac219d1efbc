//! A client: it repeats a submission until a coordinator has accepted it, asks for verdicts that do not come, and gives
//! a request up only when an operation says so.

use pvf_shared::{
    identity::ClientId,
    ids::{FencingToken, RequestId},
    time::Timestamp,
    wire::{Submission, Verdict},
};
use std::collections::{BTreeMap, HashSet};

/// A request without a verdict.
#[derive(Debug)]
pub struct PendingRequest {
    pub submission: Submission,
    /// When a coordinator accepted it.
    pub accepted: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    pub pending: BTreeMap<RequestId, PendingRequest>,
    /// Requests whose verdicts have come since its last question.
    pub heard: Vec<RequestId>,
    /// Every id that it has given a request: it gives none twice.
    pub chosen: HashSet<RequestId>,
    /// The highest token that was announced to it.
    pub told: FencingToken,
}

impl Client {
    pub fn new(id: ClientId) -> Self {
        Self { id, pending: BTreeMap::new(), heard: Vec::new(), chosen: HashSet::new(), told: FencingToken(0) }
    }

    /// A verdict arrives, perhaps once more.
    pub fn on_verdict(&mut self, verdict: &Verdict) {
        self.pending.remove(&verdict.request);
        self.heard.push(verdict.request);
    }
}
