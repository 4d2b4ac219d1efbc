//! Fixtures of the end-to-end tests and benches: a fleet of processes on a real `nats-server`, the embedded host, and
//! requests for both. What does not need the product's crates is in `pvf-testkit`.

pub mod bench;
#[path = "../faults/mod.rs"]
pub mod faults;
pub mod fleet;
pub mod host;
pub mod node;
pub mod real;
pub mod requests;
pub mod s3;
#[path = "../sim/mod.rs"]
pub mod sim;
pub mod slow_link;

/// Processes of the tests, and waiting for conditions.
pub mod processes {
    pub use pvf_testkit::{processes::*, until, until_within};
}
