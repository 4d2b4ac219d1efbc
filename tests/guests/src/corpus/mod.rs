//! The corpus: a table with one small module for each way in which validation code can fail or be rejected, and for
//! each oddity that is nevertheless accepted.
//!
//! A host runs each module as a precheck and as an execution, and must agree with the table, which states the outcome
//! on the Polkadot node's host and its reason. Quirks of that host are part of the table, because two hosts that
//! disagree about a candidate cause a dispute. Expectations hold for default executor parameters, the default bomb
//! limit and any well-formed [`params`](crate::adder::params) of up to a few hundred bytes, which no guest of the table
//! reads.

mod builder;
mod container;
mod exports;
mod features;
mod helpers;
mod host_calls;
mod imports;
mod large;
mod limiter;
mod memory;
mod results;
mod start;
mod text;
mod traps;

#[cfg(test)]
mod tests;

pub use helpers::{
    NAN_BITS, RESULT, busy, calls, echo_like, logs_and_traps, nan_bits, returns, returns_end, wants_length,
};
pub use large::large;

/// The outcome of a precheck or an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// The code passes the precheck, or the candidate is valid.
    Ok,
    /// The code does not parse as wasm MVP.
    Prevalidation,
    /// The code parses, but cannot be instrumented or compiled.
    Preparation,
    /// The code is compressed, and malformed or larger than the bomb limit.
    CouldNotDecompress,
    /// The code compiles, but cannot be linked or instantiated: ambiguous.
    RuntimeConstruction,
    /// The guest trapped, or returned a bad result: invalid.
    WorkerReportedInvalid,
    /// The guest used up its CPU time: invalid.
    HardTimeout,
}

/// A row of the corpus.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// A unique name of `a-z`, `0-9` and `_`.
    pub name: &'static str,
    /// Builds the code.
    pub wasm: fn() -> Vec<u8>,
    /// The outcome of a precheck.
    pub precheck: Expect,
    /// The outcome of an execution.
    pub execute: Expect,
    /// The reason for the outcome.
    pub why: &'static str,
}

impl Case {
    /// Passes the precheck; the candidate is valid.
    const fn valid(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::Ok, why }
    }

    /// Passes the precheck; the guest makes the candidate invalid.
    const fn invalid(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::WorkerReportedInvalid, why }
    }

    /// Passes the precheck; runs into the CPU limit.
    const fn endless(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::HardTimeout, why }
    }

    /// Passes the precheck, which does not instantiate the module; cannot be instantiated.
    const fn uninstantiable(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::RuntimeConstruction, why }
    }

    /// Compiles, but does not link: the precheck and the execution fail with the same error.
    const fn unlinkable(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self::refused(name, Expect::RuntimeConstruction, why, wasm)
    }

    /// The precheck and the execution fail with this error.
    const fn refused(name: &'static str, error: Expect, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: error, execute: error, why }
    }
}

/// The whole table, in the order of its files.
pub fn all() -> Vec<Case> {
    [
        container::CASES,
        features::CASES,
        limiter::CASES,
        imports::CASES,
        exports::CASES,
        memory::CASES,
        start::CASES,
        traps::CASES,
        host_calls::CASES,
        results::CASES,
    ]
    .concat()
}
