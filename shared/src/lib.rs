//! What the roles of a fleet share: the types and messages of [`pvf_proto`], the message bus, the object store, and the
//! client ([`client::ValidationHost`]) for a node.
//!
//! This crate does not depend on wasmtime, so that the client is a light dependency. See
//! `docs/design/architecture.md`.

pub mod bundle;
pub mod bus;
pub mod client;
#[cfg(feature = "executable")]
pub mod fleet_json;
#[cfg(feature = "executable")]
pub mod http;
#[cfg(feature = "store")]
pub mod keys;
#[cfg(feature = "executable")]
pub mod machine;
pub mod opinions;
pub mod pull;
pub mod repeats;
pub mod retry;
#[cfg(feature = "program")]
pub mod runtime;
#[cfg(feature = "program")]
pub mod signals;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "executable")]
pub mod store_metrics;
#[cfg(feature = "program")]
pub mod telemetry;
pub mod terms;
#[cfg(any(feature = "nats", feature = "cloud-client", feature = "otlp"))]
pub mod tls;
pub mod traces;
#[cfg(feature = "executable")]
pub mod usage;

pub use client::ValidationHost;
pub use pvf_proto::{
    Bytes, artifact, blob, candidate, config, content, host, identity, ids, job, params, permissions, priority, record,
    subjects, time, units, verdict, wire,
};

/// Compiles the samples of the page for nodes.
#[cfg(all(doctest, feature = "nats"))]
#[doc = include_str!("../../docs/integrate/client.md")]
struct ClientPage;
