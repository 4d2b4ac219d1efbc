//! What the tests and benches of all crates share: processes, cgroups, waiting with a deadline, a `nats-server`, and
//! builders of jobs and messages.
//!
//! Nothing that ships may depend on this crate. A wait never spins and never hangs: it polls with a pause, and after
//! [`DEADLINE`] it fails with a description of what did not happen.

pub mod cgroups;
pub mod fixtures;
pub mod nats;
pub mod processes;
mod wait;

pub use wait::{DEADLINE, until, until_blocking, until_within};
