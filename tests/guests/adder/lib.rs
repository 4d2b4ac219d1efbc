//! The adder parachain: a counter whose blocks say "the state was this, add that".
//!
//! This file is the entry point: it turns the host's `(pointer, length)` into bytes, lets `chain`
//! validate them and hands the result back. It is compiled by `build.rs` with a plain `rustc` for
//! `wasm32v1-none`, so that the module is wasm MVP only and needs no dependency.
#![no_std]
#![deny(warnings)]

extern crate alloc;

mod chain;
mod host;
mod scale;

/// Validates one block. Traps when the block is bad; otherwise returns `pointer | length << 32` of
/// the encoded `ValidationResult`.
///
/// # Safety
///
/// `params` points to `len` bytes that nothing writes to during the call, as a host has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn validate_block(params: *const u8, len: usize) -> u64 {
    // SAFETY: the caller's promise.
    let params = unsafe { core::slice::from_raw_parts(params, len) };
    // The result must outlive the call (the host reads it after the return); the instance is thrown
    // away then, so leaking is how it is freed.
    host::pack(chain::validate(params).leak())
}
