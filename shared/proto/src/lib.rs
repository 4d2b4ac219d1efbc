//! Types and bus messages that every role of the fleet agrees on: parsed identifiers, executor parameters, candidates,
//! jobs, verdicts, subjects, and the wire format with its golden bytes.
//!
//! This crate does no I/O: it has no async runtime, no bus client and no object store below it, so that the scheduler
//! and other pure state machines can depend on it.

pub mod artifact;
pub mod blob;
pub mod candidate;
pub mod config;
pub mod content;
pub mod host;
pub mod identity;
pub mod ids;
pub mod job;
pub mod keys;
pub mod params;
pub mod permissions;
pub mod priority;
pub mod record;
pub mod subjects;
pub mod time;
pub mod units;
pub mod verdict;
pub mod wire;

pub use bytes::Bytes;
