//! Whether queued work is still wanted: its deadline, its relay-chain leaf, its client.

use crate::{
    keys::{ClientKey, RequestKey},
    tables::{Clients, Execution, Requests},
    time::Timestamp,
};
use pvf_proto::{
    ids::RelayHash,
    verdict::{Outcome, WireOutcome},
};

/// Why a request is not worked for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Irrelevant {
    /// Its deadline passed, or its leaf was retired: the client is told.
    Expired,
    /// Its client is gone, or it is not here: no verdict is sent.
    Unwanted,
}

impl Irrelevant {
    /// The verdict that the request gets, if it gets one.
    pub(crate) fn outcome(self) -> Option<WireOutcome> {
        match self {
            Self::Expired => Some(Outcome::Expired),
            Self::Unwanted => None,
        }
    }
}

fn relevance(
    clients: &Clients,
    client: ClientKey,
    leaf: Option<&RelayHash>,
    deadline: Timestamp,
    now: Timestamp,
) -> Result<(), Irrelevant> {
    let orphaned = leaf.is_some_and(|leaf| clients.is_retired(client, leaf));
    if deadline <= now || orphaned {
        return Err(Irrelevant::Expired);
    }
    if clients.is_gone(client) { Err(Irrelevant::Unwanted) } else { Ok(()) }
}

/// Whether a request is still to be worked for.
pub(crate) fn request_relevance(
    requests: &Requests,
    clients: &Clients,
    key: &RequestKey,
    now: Timestamp,
) -> Result<(), Irrelevant> {
    let request = requests.get(key).ok_or(Irrelevant::Unwanted)?;
    relevance(clients, key.client, request.leaf.as_ref(), request.deadline, now)
}

/// The same for an execution with a single request, of which it has everything that matters.
pub(crate) fn execution_relevance(clients: &Clients, execution: &Execution, now: Timestamp) -> Result<(), Irrelevant> {
    let first = execution.waiters.first().ok_or(Irrelevant::Unwanted)?;
    relevance(clients, first.client, execution.work.relay_leaf.as_ref(), execution.deadline, now)
}
