//! A job at a worker, and where a pool has a worker.

use crate::{
    keys::{AttemptKey, StagedRank, UserKey},
    time::Timestamp,
};
use pvf_proto::{ids::FencingToken, wire::CompileProgress};
use std::time::Duration;

/// Where a job is at its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// It has one of the worker's slots.
    Running,
    /// It waits there for a slot.
    Staged,
    /// It waited there for a slot and was recalled; the answer is awaited.
    Recalled,
    /// It is being fetched there, by the worker's last heartbeat, and takes neither a slot nor a staging place.
    Fetching,
}

/// What the heartbeats of the worker have said of a job's artifact and input. It only grows: a heartbeat that comes
/// late or twice takes nothing back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FetchStage {
    /// Nothing yet. The job counts as one that has everything.
    Unknown,
    /// They are being fetched: nothing was handed to any process when the heartbeat was sent.
    UnderWay,
    /// They are there: the job may have begun.
    Over,
}

/// A job at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) at: AttemptKey,
    /// The token with which it was dispatched: this coordinator's, or an earlier one's.
    pub(crate) token: FencingToken,
    /// The user for whom the job runs; `None` for a preparation.
    pub(crate) user: Option<UserKey>,
    /// When the worker acknowledged the dispatch, or did not in time: from then on its heartbeats decide.
    pub(crate) taken: Option<Timestamp>,
    /// The worker has acknowledged the dispatch. Until then the job has not begun, as far as is known.
    pub(crate) acknowledged: bool,
    /// How long the job may take once it has one of the worker's slots.
    pub(crate) allowance: Duration,
    /// Until when the worker may have it. The first heartbeat at which the job has a slot begins the lease; the first
    /// one at which it is being fetched begins one for the fetch.
    pub(crate) lease: Option<Timestamp>,
    /// Its rank among the jobs staged there, most urgent first.
    pub(crate) urgency: u8,
    pub(crate) fetch: FetchStage,
    /// How far a preparation has come, by the last heartbeat that says so. For people.
    pub(crate) compiled: Option<CompileProgress>,
    pub(crate) state: SlotState,
}

/// An attempt that takes a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewSlot {
    pub(crate) at: AttemptKey,
    pub(crate) token: FencingToken,
    pub(crate) user: Option<UserKey>,
    pub(crate) urgency: u8,
    /// How long it may take once it has a slot.
    pub(crate) allowance: Duration,
}

impl NewSlot {
    /// Of a job that was just dispatched.
    pub(super) fn slot(self) -> Slot {
        let Self { at, token, user, urgency, allowance } = self;
        Slot {
            at,
            token,
            user,
            taken: None,
            acknowledged: false,
            allowance,
            lease: None,
            urgency,
            fetch: FetchStage::Unknown,
            compiled: None,
            state: SlotState::Running,
        }
    }
}

impl Slot {
    /// Its rank among the staged jobs, if it is one.
    pub(crate) fn rank(&self) -> Option<StagedRank> {
        match self.state {
            SlotState::Running | SlotState::Fetching => None,
            SlotState::Staged | SlotState::Recalled => Some((self.urgency, self.at.job, self.at.attempt)),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == SlotState::Running
    }

    pub(crate) fn is_fetching(&self) -> bool {
        self.state == SlotState::Fetching
    }
}

/// Where a pool has a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WorkerIndex {
    /// It gets no job.
    #[default]
    None,
    /// It has a free slot; the load in 1/1024 of its slots.
    Free(u32),
    /// Its slots are taken and one more job may be staged; how many are.
    Stageable(u32),
}
