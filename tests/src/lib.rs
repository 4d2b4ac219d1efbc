//! Fixtures of the end-to-end tests: a real `nats-server`, real processes, the embedded host, and what to ask
//! them.

pub mod ask;
pub mod bench;
pub mod fleet;
pub mod host;
pub mod processes;
pub mod real;
#[path = "../sim/mod.rs"]
pub mod sim;
