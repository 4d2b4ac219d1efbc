//! Validation code for the tests and the benches.
//!
//! With default features this is the adder of the demo only. The feature `corpus` adds one module for each trap and
//! refusal, and generators of busy and of large modules.

pub mod adder;
#[cfg(feature = "corpus")]
pub mod corpus;
mod encode;
mod variant;

pub use adder::ADDER;
pub use variant::distinct_adder;
