//! A template process, as the worker sees it.
//!
//! * `process` starts it and waits until it has its artifact linked.
//! * `control` speaks the protocol on its control socket.
//! * `reaper` is the task that owns the process: it makes and reaps forks, one request at a time, and ends the process
//!   when no [`Template`] and no fork refers to it any more.

mod control;
mod process;
mod reaper;

pub(super) use process::{DEFAULT_TIMEOUT, ForkError, Template};
pub(super) use reaper::{ForkProcess, NewFork, SpareSink};
