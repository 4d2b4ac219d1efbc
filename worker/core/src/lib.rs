//! The core of a worker's agent: a synchronous state machine without clock, I/O or tasks.
//!
//! Contract: after each [`Agent::handle`] or [`Agent::handle_timeout`], drain [`Agent::poll_action`] until it gives
//! nothing, execute the actions in their order, then wait until the next event or until [`Agent::poll_timeout`]. Time
//! is an argument and never goes back. Nothing that the network sends makes the core panic; if the shell reports
//! something that cannot be, the core emits [`Notice::Inconsistent`] and goes on.
//!
//! The core decides: whether the worker is registered, which dispatches it takes, which job gets a slot, which job is
//! staged behind which, and what is reported when. The shell (`pvf-worker`, `agent/`) owns the bus, the timers, the
//! job tasks and the artifact cache. The simulation (`tests/sim`) is another shell, on a virtual clock.
//!
//! # Fetching
//!
//! A job that was taken is *fetched* first: the shell gets its artifact and its input to this machine. Meanwhile the
//! job has neither a slot nor a place in the queue, so that a store that is slow or hangs holds up only the jobs that
//! need it. When everything is here the job is queued, in the order in which jobs were taken.
//!
//! # Slots and staging
//!
//! A worker runs as many jobs at once as it has slots. A job that is fetched and has no slot is *queued*, most urgent
//! first. While all slots are taken, the shell may hand a queued execution to its process already: it is *staged*
//! behind one running job and begins when that job's process ends. The kernel wakes the staged process, so the worker
//! learns of it later; the core is told by [`Event::Began`] and [`Event::SlotReleased`]. These facts may come late and
//! in any order between runs. A slot is never given away twice, because it is never counted: a slot is taken as long as
//! a job is in state [`JobState::Running`], and a slot that the kernel passes to a staged job changes the state of both
//! jobs at once.
//!
//! Of several urgencies only the most urgent class is staged, so that the slot that is free first goes to it. A more
//! urgent job *displaces* a staged one: the staged process is killed, and the job is queued again, first of its
//! equals. When it starts later that is another *run*, with another [`RunId`].
//!
//! # Messages of one job
//!
//! ```text
//! coordinator                      worker
//!     | -- Dispatch ------------------> |   held back for ProtocolTimeouts::hold_back
//!     | <----------------- Done(report) |   if the job ends within that time, else Taken
//!     | <---------------- Report ------ |   a message of its own, if the dispatch was answered already; repeated
//!     | -- Dispatch{acknowledged} ----> |   or Acknowledge, or the answer to Report
//! ```

mod action;
mod agent;
mod attempt;
mod commands;
mod event;
mod invariants;
mod job;
mod registration;
mod reports;
mod slots;
mod state;
#[cfg(test)]
mod tests;

pub use action::{Action, DrainReason, Notice};
pub use agent::{Agent, Counts};
pub use attempt::{AttemptKey, FetchId, RunId};
pub use event::{Event, Request};
pub use job::{IllegalTransition, JobEvent, JobState, PendingReport};
pub use state::AgentConfig;
