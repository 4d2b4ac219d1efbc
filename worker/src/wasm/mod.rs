//! The only user of wasmtime: compiles, links and calls validation code. What is accepted and what it returns is
//! consensus, to the bit; `docs/design/consensus.md` states the rules.

mod backtrace;
mod busy_image;
mod call_error;
mod compile;
mod config;
mod externalities;
mod guest_limits;
mod hashed_bytes;
mod host_functions;
mod instance;
mod linking;
mod module_codec;
mod runtime_version;
mod sections;
mod watched;

pub use call_error::CallError;
pub use compile::{compile, decompress_code, instrument, prepare, prevalidate};
pub use config::{CpuBaseline, engine_id, engines_up_to};
pub(crate) use host_functions::declare_extra;
pub use host_functions::{host_functions, host_functions_version};
pub use instance::{Call, ExecutionEngine, Ready, Runtime};
pub use pvf_shared::store::seal::Compiled;
pub use runtime_version::RuntimeVersion;
pub use sections::functions;
pub(crate) use watched::{Watched, WatchedCall, function_names};
