//! The corpus: one small module for each way in which validation code can fail, be refused, or look
//! as if it should be and yet is fine.
//!
//! A host runs the whole table twice, as a precheck and as an execution, and must agree with every
//! row. Each row says what the existing host does, and why; where it quirks, so do we, because two
//! hosts that disagree about one candidate cause a dispute. Expectations hold for default executor
//! parameters and the default bomb limit, and for any well-formed [`params`](crate::adder::params) of
//! up to a few hundred bytes (no guest of the table looks at them).

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

pub use helpers::{NAN_BITS, RESULT, busy, echo_like, nan_bits, returns, wants_length};
pub use large::large;

/// What a host must say about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// It passes the precheck, or the candidate is valid.
    Ok,
    /// It does not parse as wasm MVP.
    Prevalidation,
    /// It parses, but cannot be instrumented or compiled.
    Preparation,
    /// It is compressed and malformed, or larger than the bomb limit.
    CouldNotDecompress,
    /// It compiles, but cannot be linked or instantiated: possibly invalid.
    RuntimeConstruction,
    /// The guest trapped or gave back nonsense: invalid.
    WorkerReportedInvalid,
    /// The guest used up its CPU time: invalid.
    HardTimeout,
}

/// One row of the corpus.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Unique, and readable in the name of a test.
    pub name: &'static str,
    /// Builds the code.
    pub wasm: fn() -> Vec<u8>,
    /// The outcome of a precheck.
    pub precheck: Expect,
    /// The outcome of an execution.
    pub execute: Expect,
    /// Why it is so.
    pub why: &'static str,
}

impl Case {
    /// Passes the precheck; the candidate is valid.
    const fn valid(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::Ok, why }
    }

    /// Passes the precheck; the candidate is invalid by the guest's own doing.
    const fn invalid(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::WorkerReportedInvalid, why }
    }

    /// Passes the precheck; runs until the CPU time is used up.
    const fn endless(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::HardTimeout, why }
    }

    /// Passes the precheck, which does not instantiate; fails when instantiated.
    const fn stillborn(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: Expect::Ok, execute: Expect::RuntimeConstruction, why }
    }

    /// Compiles, but does not link: fails the precheck and the execution alike.
    const fn unlinkable(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self::refused(name, Expect::RuntimeConstruction, why, wasm)
    }

    /// Fails the precheck and the execution with the same error.
    const fn refused(name: &'static str, error: Expect, why: &'static str, wasm: fn() -> Vec<u8>) -> Self {
        Self { name, wasm, precheck: error, execute: error, why }
    }
}

/// The whole table, in the order of the files it is written in.
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
