//! Messages of operators to the coordinator, and its answer. The operator is named by the subject, not by the message.

use crate::identity::WorkerId;
use serde::{Deserialize, Serialize};

/// Most workers in one request of an operator; the coordinator ignores more.
pub const MAX_DRAINED: usize = 256;

/// A request of an operator, sent as a bus request and answered by [`OperatorReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromOperator {
    /// These workers are to drain: each takes no new jobs, finishes what it runs, deregisters and ends. Repeated until
    /// they are gone: that does no harm, is how the operator learns what has become of them, and tells a coordinator
    /// that has taken over meanwhile.
    Drain {
        /// The workers, at most [`MAX_DRAINED`].
        workers: Vec<WorkerId>,
    },
}

/// The coordinator's answer to an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorReply {
    /// What has become of each worker that is to drain, in the order of the request.
    Drains(Vec<WorkerDrain>),
}

/// A worker that is to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDrain {
    /// The worker.
    pub worker: WorkerId,
    /// What has become of it.
    pub state: DrainState,
}

/// What has become of a worker that is to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainState {
    /// It gets no more jobs, and every answer to its heartbeats tells it to drain. No heartbeat says yet that it does.
    Told {
        /// Jobs that it has.
        jobs: u32,
    },
    /// Its last heartbeat says that it takes no new jobs.
    Draining {
        /// Jobs that it has.
        jobs: u32,
    },
    /// It has deregistered: it has ended, or is about to.
    Left,
    /// It was silent for too long and is removed. What it had is done elsewhere.
    Lost,
    /// It is not registered, and was not told to drain by this coordinator.
    Unknown,
}
