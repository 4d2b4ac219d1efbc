//! A node: it submits until somebody has its request, asks where its verdicts are, and gives up only when it is
//! told to.

use pvf_coordinator::scheduler::Moment;
use pvf_shared::{
    ids::{NodeId, RequestId},
    wire::{Submission, Verdict},
};
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Waiting {
    pub submission: Submission,
    /// Since when a coordinator has it.
    pub accepted: Option<Moment>,
}

#[derive(Debug)]
pub struct Client {
    pub node: NodeId,
    pub waiting: BTreeMap<RequestId, Waiting>,
    pub answered: u64,
}

impl Client {
    pub fn new(node: NodeId) -> Self {
        Self { node, waiting: BTreeMap::new(), answered: 0 }
    }

    /// A verdict comes; whether it was waited for.
    pub fn on_verdict(&mut self, verdict: &Verdict) {
        if self.waiting.remove(&verdict.request).is_some() {
            self.answered += 1;
        }
    }
}
