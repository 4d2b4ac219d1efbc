//! The lifecycle of a job at a worker.

use crate::{FetchId, RunId};
use pvf_proto::{subjects::Subject, time::Timestamp, wire::Dispatch, wire::JobReport};
use std::{sync::Arc, time::Duration};

/// Pause before the first repetition of a report; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two repetitions.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How far a job has come. [`JobState::transition`] is the only place that moves it on:
///
/// ```text
/// Fetching ---- Failed ------------------------------------------------------+
///   | Fetched                                                                |
///   v         Started                    SlotReleased             Ended      v
/// Queued ------------------> Running -----------------> Finishing ------> Finished
///   | ^                         ^                           ^                |
///   | | Displaced               | SlotGranted               | SlotReleased   | Acknowledged
///   | +------------ Staged -----+---------------------------+                v
///   +--------------->                                        (Withdrawn) -> Gone
///        Staged
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// What it needs is being fetched. It has neither a slot nor a process.
    Fetching {
        /// The fetch.
        fetch: FetchId,
        /// Its place in the queue when it is fetched.
        place: i64,
    },
    /// It is fetched, and has neither a slot nor a process.
    Queued {
        /// Order among queued jobs of the same urgency, lowest first.
        place: i64,
    },
    /// It has a process, or is about to get one, that begins when the run before it has ended.
    Staged {
        /// The run.
        run: RunId,
        /// The run that holds the slot. It is in state `Running`.
        behind: RunId,
    },
    /// It holds a slot.
    Running {
        /// The run.
        run: RunId,
        /// Grows with each job that gets a slot: the lowest has held its slot for the longest time.
        order: u64,
    },
    /// It holds no slot any more; its outcome is not known yet.
    Finishing {
        /// The run.
        run: RunId,
    },
    /// Its report is not acknowledged.
    Finished(Box<PendingReport>),
    /// The worker has nothing to do for it any more.
    Gone,
}

/// What moves a job on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// What it needs is on this machine.
    Fetched,
    /// What it needs could not be fetched: its outcome is known.
    Failed(Box<JobReport>),
    /// It gets a free slot.
    Started {
        /// Its run.
        run: RunId,
        /// As in [`JobState::Running`].
        order: u64,
    },
    /// It is staged.
    Staged {
        /// Its run.
        run: RunId,
        /// The run before it.
        behind: RunId,
    },
    /// A more urgent job is staged instead.
    Displaced {
        /// Its place in the queue.
        place: i64,
    },
    /// It gets a slot: another one than that it was staged for, or that of the run before it, which has ended.
    SlotGranted {
        /// As in [`JobState::Running`].
        order: u64,
    },
    /// Its process has ended, or it failed before it got one.
    SlotReleased,
    /// Its outcome is known.
    Ended(Box<JobReport>),
    /// The coordinator has its report.
    Acknowledged,
    /// It was recalled, cancelled or superseded by another attempt, or the worker leaves.
    Withdrawn,
}

/// An event that a job's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("job event {event} is illegal in state {state}")]
pub struct IllegalTransition {
    /// Name of the state.
    pub state: &'static str,
    /// Name of the event.
    pub event: &'static str,
}

impl JobState {
    /// The state that follows.
    ///
    /// # Errors
    /// The event is not one of this state; the state stays as it is.
    pub fn transition(&self, event: JobEvent) -> Result<Self, IllegalTransition> {
        let illegal = IllegalTransition { state: self.name(), event: event.name() };
        Ok(match (self, event) {
            (Self::Fetching { place, .. }, JobEvent::Fetched) => Self::Queued { place: *place },
            (Self::Fetching { .. }, JobEvent::Failed(report)) => Self::Finished(Box::new(PendingReport::new(*report))),
            (Self::Queued { .. }, JobEvent::Started { run, order }) => Self::Running { run, order },
            (Self::Queued { .. }, JobEvent::Staged { run, behind }) => Self::Staged { run, behind },
            (Self::Staged { .. }, JobEvent::Displaced { place }) => Self::Queued { place },
            (Self::Staged { run, .. }, JobEvent::SlotGranted { order }) => Self::Running { run: *run, order },
            // A staged job may fail before it begins, or begin and end before the worker looks; and the end of a
            // running job may be known already from the beginning of the one behind it.
            (
                Self::Staged { run, .. } | Self::Running { run, .. } | Self::Finishing { run },
                JobEvent::SlotReleased,
            ) => Self::Finishing { run: *run },
            (Self::Finishing { .. }, JobEvent::Ended(report)) => Self::Finished(Box::new(PendingReport::new(*report))),
            (Self::Finished(_), JobEvent::Acknowledged) => Self::Gone,
            (
                Self::Fetching { .. }
                | Self::Queued { .. }
                | Self::Staged { .. }
                | Self::Running { .. }
                | Self::Finishing { .. }
                | Self::Finished(_),
                JobEvent::Withdrawn,
            ) => Self::Gone,
            _ => return Err(illegal),
        })
    }

    /// The run that the shell has for it.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::Staged { run, .. } | Self::Running { run, .. } | Self::Finishing { run } => Some(*run),
            Self::Fetching { .. } | Self::Queued { .. } | Self::Finished(_) | Self::Gone => None,
        }
    }

    /// The fetch that is under way for it.
    pub fn fetch(&self) -> Option<FetchId> {
        match self {
            Self::Fetching { fetch, .. } => Some(*fetch),
            Self::Queued { .. }
            | Self::Staged { .. }
            | Self::Running { .. }
            | Self::Finishing { .. }
            | Self::Finished(_)
            | Self::Gone => None,
        }
    }

    /// Whether it has not begun: it is fetched, or waits for a slot.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Fetching { .. } | Self::Queued { .. } | Self::Staged { .. })
    }

    /// Name of the state, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetching { .. } => "fetching",
            Self::Queued { .. } => "queued",
            Self::Staged { .. } => "staged",
            Self::Running { .. } => "running",
            Self::Finishing { .. } => "finishing",
            Self::Finished(_) => "finished",
            Self::Gone => "gone",
        }
    }
}

impl JobEvent {
    /// Name of the event, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Failed(_) => "failed",
            Self::Started { .. } => "started",
            Self::Staged { .. } => "staged",
            Self::Displaced { .. } => "displaced",
            Self::SlotGranted { .. } => "slot-granted",
            Self::SlotReleased => "slot-released",
            Self::Ended(_) => "ended",
            Self::Acknowledged => "acknowledged",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A report on its way to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingReport {
    report: JobReport,
    delivery: Delivery,
    pause: Duration,
}

/// What is under way for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// A request with it.
    Requested,
    /// It was the answer to its dispatch. It is sent again at this time.
    Answered(Timestamp),
    /// A request with it failed. It is sent again at this time.
    BackingOff(Timestamp),
}

impl PendingReport {
    fn new(report: JobReport) -> Self {
        Self { report, delivery: Delivery::Requested, pause: FIRST_PAUSE }
    }

    /// The report.
    pub fn report(&self) -> &JobReport {
        &self.report
    }

    /// When it is sent again, unless it is acknowledged before. None while a request with it is under way.
    pub fn repeat_at(&self) -> Option<Timestamp> {
        match self.delivery {
            Delivery::Requested => None,
            Delivery::Answered(at) | Delivery::BackingOff(at) => Some(at),
        }
    }

    /// Sent as the answer to its dispatch; whether it is acknowledged shows later.
    pub(crate) fn sent_as_answer(&mut self, repeat_at: Timestamp) {
        self.delivery = Delivery::Answered(repeat_at);
    }

    /// Sent as a request; gives what was under way before.
    pub(crate) fn sent_as_request(&mut self) -> Delivery {
        std::mem::replace(&mut self.delivery, Delivery::Requested)
    }

    /// The request with it failed.
    pub(crate) fn back_off(&mut self, now: Timestamp) {
        self.delivery = Delivery::BackingOff(now.after(self.pause));
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }
}

/// A job that the worker has.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) dispatch: Arc<Dispatch>,
    /// The answer to the dispatch, as long as it is held back.
    pub(crate) answer: Option<HeldAnswer>,
    pub(crate) state: JobState,
}

/// An answer to a dispatch that is held back, so that it can be the report.
#[derive(Debug)]
pub(crate) struct HeldAnswer {
    pub(crate) to: Subject,
    pub(crate) until: Timestamp,
}

impl Job {
    /// When something is due for it.
    pub(crate) fn timeout(&self) -> Option<Timestamp> {
        let report = if let JobState::Finished(report) = &self.state { report.repeat_at() } else { None };
        [self.answer.as_ref().map(|answer| answer.until), report].into_iter().flatten().min()
    }
}
