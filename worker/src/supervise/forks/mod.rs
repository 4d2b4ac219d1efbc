//! Forks of templates: the processes that execute jobs.
//!
//! * `fork` is one fork: it gets a job, starts, is watched and finishes.
//! * `spares` holds the forks of one template that were made ahead of time.
//! * `pool` holds the templates with their spares, and evicts the least recently used.
//! * `budget` decides how many of them fit into the machine's limits.
//! * `handoff` gives a job to a fork and decides when the job has started.

mod budget;
mod fork;
mod handoff;
mod pool;
mod spares;

pub(super) use budget::Budget;
pub(super) use handoff::{JobInput, JobStarter};
pub(crate) use pool::Footprint;
pub(super) use pool::{ForkPool, PoolSettings};
