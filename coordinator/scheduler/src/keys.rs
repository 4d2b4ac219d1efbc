//! Keys of the tables, and small values that name a place: each is defined here once, so that tables do not depend on
//! each other.

use crate::time::Timestamp;
use pvf_proto::{
    identity::WorkerId,
    ids::{Attempt, EngineId, JobId, RequestId},
    priority::PreparePriority,
};
use std::sync::Arc;

/// An engine, by the order in which the scheduler first saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EngineKey(pub(crate) u32);

slotmap::new_key_type! {
    /// A client: slot and generation, so that a client that was forgotten is never taken for a later one.
    pub(crate) struct ClientKey;

    /// A user of the bus, likewise.
    pub(crate) struct UserKey;

    /// An artifact of the table: slot and generation, so that a forgotten one is never taken for a later one.
    pub(crate) struct ArtifactKey;
}

/// A request: the id that its client has chosen, and that client. Nothing keeps two clients from the same id, so an id
/// alone names no request. Requests are ordered by their ids first, which begin with the time at which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestKey {
    pub(crate) id: RequestId,
    pub(crate) client: ClientKey,
}

/// What waits for an artifact, in the order in which it is served: prechecks have the shorter time limit, so a
/// preparation that timed out answers them before it is repeated for an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Waiter {
    /// A precheck or a heads-up.
    Preparation(RequestKey),
    /// An execution.
    Execution(JobId),
}

/// One attempt of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptKey {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
}

/// A machine: the coordinator's own number for it, for as long as it remembers the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostKey(pub(crate) u64);

/// Where a worker runs, and what it is built from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) host: HostKey,
    /// The name of its machine, for people.
    pub(crate) host_name: Box<str>,
    pub(crate) engine: EngineId,
    /// The version of its build.
    pub(crate) version: Box<str>,
    /// Its host functions.
    pub(crate) host_functions: Box<str>,
}

/// Where an attempt was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptSite {
    pub(crate) worker: WorkerId,
    pub(crate) origin: Arc<Origin>,
}

impl AttemptSite {
    /// Its machine.
    pub(crate) fn host(&self) -> HostKey {
        self.origin.host
    }
}

/// An attempt that ended, and where it was.
#[derive(Debug)]
pub(crate) struct EndedAttempt {
    pub(crate) at: AttemptKey,
    pub(crate) site: AttemptSite,
}

/// Attempts of a preparation that were lost at these workers without a report: what one of them reports late may still
/// count.
pub(crate) type LostAttempts = Vec<(Attempt, WorkerId)>;

/// Workers, with their machines, that must not get a job again while others can.
pub(crate) type ExcludedWorkers = Vec<AttemptSite>;

/// Order in which staged jobs are recalled: the greatest first, so less urgent and then later ones.
pub(crate) type StagedRank = (u8, JobId, Attempt);

/// A queued execution's order within its user: the earliest deadline first, then arrival (jobs are numbered in that
/// order).
pub(crate) type DeadlineOrder = (Timestamp, JobId);

/// Where an execution is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) place: DeadlineOrder,
    /// The user whose fair share it uses; `None` for a job that was dispatched before and has used it.
    pub(crate) user: Option<UserKey>,
}

/// A queued preparation's order within its priority: when it was queued first, then arrival.
pub(crate) type ArrivalOrder = (Timestamp, JobId);

/// Where a preparation is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrepareSpot {
    pub(crate) priority: PreparePriority,
    pub(crate) place: ArrivalOrder,
}
