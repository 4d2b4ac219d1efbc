//! Shorthands for guests in the text format. A case specifies what is special about its guest, and [`guest`] supplies
//! the rest: memory, heap base, entry point, and a result to return.

use super::helpers::RESULT;

/// Address of the result of a [`guest`].
pub(super) const RESULT_AT: u32 = 1024;

/// The default heap base.
pub(super) const HEAP_BASE: &str = r#"(global (export "__heap_base") i32 (i32.const 65536))"#;

/// The default memory: a page of data, and a page of heap.
pub(super) const MEMORY: &str = r#"(memory (export "memory") 2)"#;

/// Translates the text format to a module, without validating it.
pub(super) fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("not the text format: {error}\n{text}"))
}

/// A guest that runs `body` in `validate_block` and then returns [`RESULT`].
///
/// `imports` are its imports, `items` further definitions. In `body` the parameters are locals 0 and 1; it may start
/// with definitions of further locals.
pub(super) fn guest(imports: &str, items: &str, body: &str) -> Vec<u8> {
    raw_guest(imports, &format!("{MEMORY} {HEAP_BASE} {items} {}", result_segment()), body)
}

/// As [`guest`], without the default memory, heap base and result: `items` must define them.
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

/// Bytes as the content of a string literal of the text format.
pub(super) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// An address and a length as `validate_block` returns them.
pub(super) fn packed(at: u32, len: u32) -> i64 {
    (u64::from(at) | u64::from(len) << 32) as i64
}
