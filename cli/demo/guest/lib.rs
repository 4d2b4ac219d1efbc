//! Validation code of the adder, a parachain whose state is one number and whose blocks add to it.
//!
//! This file is the entry point: it turns the host's `(pointer, length)` into bytes, calls `chain` to validate them
//! and returns the result. `tests/guests/build.rs` compiles it with a plain `rustc` for `wasm32v1-none`, so the module
//! is wasm MVP only and has no dependency.
#![no_std]
#![deny(warnings)]

extern crate alloc;

mod chain;
mod host;
mod scale;

/// Validates one block. Traps if the block is invalid; otherwise returns `pointer | length << 32` of the encoded
/// `ValidationResult`.
///
/// # Safety
///
/// `params` points to `len` bytes that nothing writes to during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn validate_block(params: *const u8, len: usize) -> u64 {
    // SAFETY: the caller's promise.
    let params = unsafe { core::slice::from_raw_parts(params, len) };
    // The host reads the result after the return and then discards the whole instance, so the result is leaked.
    host::pack(chain::validate(params).leak())
}
