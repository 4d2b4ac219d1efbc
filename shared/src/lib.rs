//! What both ends of the fleet must agree on: parsed types, wire messages, names of places, the bus, the
//! blob store, and the handle ([`client::ValidationHost`]) that a node holds.
//!
//! There is no wasmtime below this crate, so that a node can depend on it cheaply. See
//! `DESIGN.md`, section 2, for which file a line belongs in.

pub mod bus;
pub mod candidate;
pub mod client;
pub mod config;
pub mod ids;
pub mod job;
pub mod params;
pub mod priority;
#[cfg(feature = "executable")]
pub mod runtime;
#[cfg(feature = "executable")]
pub mod signals;
pub mod store;
pub mod subjects;
#[cfg(feature = "executable")]
pub mod telemetry;
pub mod units;
pub mod verdict;
pub mod wire;

pub use bytes::Bytes;
pub use client::ValidationHost;
