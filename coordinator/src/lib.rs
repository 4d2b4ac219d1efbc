//! The coordinator: owns the priority-aware prepare and execute queues, the artifact table and the view of the
//! fleet, and gives jobs to workers.
//!
//! `ingress` turns bus bytes into events, `scheduler` decides, `egress` does what it says, `driver` is the
//! only loop.

pub mod cli;
mod config;
mod driver;
mod egress;
mod ingress;
pub mod memory;
mod metrics;
pub mod scheduler;

pub use config::CoordinatorConfig;
pub use driver::{Coordinator, CoordinatorError, Listening};
pub use metrics::Counters;
