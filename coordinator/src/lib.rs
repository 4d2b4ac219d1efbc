//! The coordinator: owns the priority queues of preparations and executions, the artifact table and the view of the
//! fleet, and dispatches jobs to workers.
//!
//! `inbound` decodes bytes from the bus into events and refuses what is over the operator's `ceilings`, the `scheduler`
//! decides, `effects` carries out what it decided (`outbound` publishes, `storage` uses the store), and `driver` is the
//! only loop. Of several coordinators one is active: it has the `lease`, `guard` keeps it from sending anything
//! without, and `candidate` waits for it. People read its state through the `api`, over `http` and on the bus; `history`
//! and `events` are what it remembers for them.

mod api;
mod candidate;
mod ceilings;
pub mod cli;
mod config;
mod driver;
mod effects;
mod events;
mod guard;
mod hearing;
mod history;
mod http;
mod inbound;
mod lease;
mod metrics;
mod millis;
mod notices;
mod observers;
mod outbound;
mod outbox;
mod storage;
#[cfg(test)]
mod testing;
mod traces;

pub use api::Api;
pub use ceilings::Ceilings;
pub use config::CoordinatorConfig;
pub use driver::{Coordinator, CoordinatorError, Listening};
pub use lease::LeaseConfig;
pub use metrics::Counters;
pub use pvf_scheduler as scheduler;
