//! Every timer of the scheduler except the deadlines of requests (`requests`): one enum, one table.

use crate::{
    keys::{AttemptKey, ClientKey, EngineKey},
    time::Timestamp,
};
use pvf_proto::{identity::WorkerId, ids::JobId};
use std::collections::BTreeSet;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// A worker may have been silent for too long.
    WorkerSilence(WorkerId),
    /// A worker that had failed gets jobs again.
    WorkerPause(WorkerId),
    /// A client may have been silent for too long.
    ClientSilence(ClientKey),
    /// An execution that did not begin is tried again.
    RetryExecution(JobId),
    /// An execution that was decided may have found no other machine.
    SecondOpinion(JobId),
    /// A preparation that did not begin is tried again.
    RetryPreparation(JobId),
    /// A prepare worker of this engine may not have come.
    NoPrepareWorker(EngineKey),
    /// The time in which a job may adopt an attempt of an earlier coordinator is over.
    Unclaimed(WorkerId, AttemptKey),
    /// The coordinator may dispatch jobs from now on.
    DispatchBegins,
    /// Unused artifacts are dropped.
    Prune,
}

/// The timers. The owner of a timer remembers for when it is set.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Timestamp, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.0.insert((at, timer));
    }

    /// Removes a timer that was set for this time; does nothing if it has fired.
    pub(crate) fn clear(&mut self, timer: Timer, at: Timestamp) {
        self.0.remove(&(at, timer));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the next one that is due.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.pop_first().map(|(_, timer)| timer)
    }

    /// Every timer: for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Timestamp, Timer)> {
        self.0.iter()
    }
}
