//! Guest programs: validation code for the demo, the tests and the benches.
//!
//! With default features this is the adder parachain only (the `pvf` command's demo runs it): the
//! compiled module and, in [`adder`], what a collator of it would do on the host side. The feature
//! `corpus` adds one module for each trap and refusal, and generators of busy and of large modules.

pub mod adder;
#[cfg(feature = "corpus")]
pub mod corpus;
mod encode;
mod variant;

pub use adder::ADDER;
pub use variant::distinct_adder;
