//! Shorthand for writing guests in the text format.
//!
//! A whole guest is mostly ceremony (memory, heap base, entry point, a result to return), so cases
//! write down only what is odd about them and [`guest`] supplies the rest.

use super::helpers::RESULT;

/// Where [`guest`] puts its result in memory.
pub(super) const RESULT_AT: u32 = 1024;

/// The heap of a guest that has no opinion on it.
pub(super) const HEAP_BASE: &str = r#"(global (export "__heap_base") i32 (i32.const 65536))"#;

/// The memory of a guest that has no opinion on it: a page of its own, and a page of heap.
pub(super) const MEMORY: &str = r#"(memory (export "memory") 2)"#;

/// Translates the text format. It is not validated: that is for the host to do.
pub(super) fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("not the text format: {error}\n{text}"))
}

/// A guest that runs `body` in `validate_block` and then returns [`RESULT`].
///
/// `imports` and `items` go where imports and definitions go; in `body` the parameters are locals 0
/// and 1, and definitions of further locals may come first.
pub(super) fn guest(imports: &str, items: &str, body: &str) -> Vec<u8> {
    raw_guest(imports, &format!("{MEMORY} {HEAP_BASE} {items} {}", result_segment()), body)
}

/// The same with neither memory, nor heap base, nor result of its own: all that is in `items`.
pub(super) fn raw_guest(imports: &str, items: &str, body: &str) -> Vec<u8> {
    let packed = packed(RESULT_AT, RESULT.len() as u32);
    module(&format!(
        r#"(module {imports} {items}
            (func (export "validate_block") (param i32 i32) (result i64)
                {body}
                (i64.const {packed})))"#
    ))
}

/// The data segment that holds [`RESULT`].
pub(super) fn result_segment() -> String {
    segment(RESULT_AT, RESULT)
}

/// A data segment.
pub(super) fn segment(at: u32, bytes: &[u8]) -> String {
    format!(r#"(data (i32.const {at}) "{}")"#, escape(bytes))
}

/// Bytes as the inside of a string of the text format.
pub(super) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// A pointer and a length as `validate_block` returns them.
pub(super) fn packed(at: u32, len: u32) -> i64 {
    (u64::from(at) | u64::from(len) << 32) as i64
}
