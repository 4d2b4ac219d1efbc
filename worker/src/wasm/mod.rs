//! The only user of wasmtime: how code is compiled, linked and called. Consensus to the bit; facts in
//! `reference/pvf-semantics.md` sections 3, 4 and 10.

mod compile;
mod config;
mod externalities;
mod host_functions;
mod instance;
mod parallel;
mod runtime_version;
mod start;

pub use compile::{compile, decompress_code, instrument, prepare, prevalidate};
pub use config::{CpuBaseline, engine_id};
pub use host_functions::host_functions;
pub use instance::{CallError, Ready, Runtime};
