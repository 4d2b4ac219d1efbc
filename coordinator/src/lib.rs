//! The coordinator: owns the priority queues of preparations and executions, the artifact table and the view of the
//! fleet, and dispatches jobs to workers.
//!
//! `inbound` decodes bytes from the bus into events and refuses what is over the operator's `ceilings`, the `scheduler`
//! decides, `effects` carries out what it decided (`outbound` publishes, `storage` uses the store), and `driver` is the
//! only loop. Of several coordinators one is active: it has the `lease`, `guard` keeps it from sending anything
//! without, and `candidate` waits for it.

mod candidate;
mod ceilings;
pub mod cli;
mod config;
mod driver;
mod effects;
mod guard;
mod hearing;
mod inbound;
mod lease;
mod metrics;
mod notices;
mod observers;
mod outbound;
mod outbox;
mod storage;
#[cfg(test)]
mod testing;

pub use ceilings::Ceilings;
pub use config::CoordinatorConfig;
pub use driver::{Coordinator, CoordinatorError, Listening};
pub use lease::LeaseConfig;
pub use metrics::Counters;
pub use pvf_scheduler as scheduler;
