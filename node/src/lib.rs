//! The PVF worker executables of the Polkadot node, answered by a fleet: `polkadot-prepare-worker` and
//! `polkadot-execute-worker` in the place of the node's own, and the node service that connects a machine to its fleet.
//!
//! A request of the node passes through these modules:
//!
//! 1. [`worker`] reads it from the node's socket, and sees to it that an answer comes in time, whatever happens.
//! 2. [`calls`] makes a call of it. An execution names an artifact: the file of [`artifact`] that a preparation wrote.
//! 3. [`service`] brings the call to the process that is connected to the fleet.
//! 4. [`fleet`] submits it, and asks a host of this machine where the fleet has no answer and the settings want it.
//! 5. [`verdicts`] makes the node's answer of the fleet's.
//!
//! The crate depends on the client of a fleet, and on no engine. See `docs/integrate/node.md`.

pub mod artifact;
pub mod calls;
pub mod code_call;
pub mod config;
pub mod fleet;
pub mod metrics;
pub mod protocol;
pub mod security;
pub mod service;
pub mod verdicts;
pub mod worker;
