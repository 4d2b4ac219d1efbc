//! Wasm beyond the MVP, which is all off. Most of it does not even parse; what parses must then be
//! refused by the compiler, and two features that nobody turned off are in fact usable.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, guest, raw_guest, result_segment},
};

/// A feature that the parser does not know.
const fn unparsed(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Case {
    Case::refused(name, Expect::Prevalidation, why, wasm)
}

/// A feature that the parser lets pass and the compiler does not.
const fn uncompiled(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Case {
    Case::refused(name, Expect::Preparation, why, wasm)
}

pub(super) const CASES: &[Case] = &[
    unparsed("sign_extension", "i32.extend8_s; the parser is built without it", || {
        guest("", "", "(drop (i32.extend8_s (i32.const 200)))")
    }),
    unparsed("saturating_truncation", "its prefix is unknown", || {
        guest("", "", "(drop (i32.trunc_sat_f64_s (f64.const 1)))")
    }),
    unparsed("bulk_memory_copy", "the parser refuses it even where the parameter allows it", || {
        guest("", "", "(memory.copy (i32.const 0) (i32.const 8) (i32.const 8))")
    }),
    unparsed("bulk_memory_fill", "as memory.copy", || {
        guest("", "", "(memory.fill (i32.const 0) (i32.const 8) (i32.const 8))")
    }),
    unparsed("passive_data", "a segment without a place", || guest("", r#"(data "passive")"#, "")),
    unparsed("passive_elements", "a segment without a table", || {
        guest("", "(table 1 funcref) (func $f) (elem func $f)", "")
    }),
    uncompiled("data_count", "the parser knows this section, the compiler does not want it", || {
        let mut code = guest("", "", "");
        // The data section of a guest is its last one; the count stands before the code.
        let at = code_section(&code);
        code.splice(at..at, [12, 1, 1]);
        code
    }),
    unparsed("multi_value_function", "a function with two results", || {
        guest("", "(func (result i32 i32) (i32.const 1) (i32.const 2))", "")
    }),
    unparsed("multi_value_block", "a block with a parameter", || {
        guest("", "", "(i32.const 1) (block (param i32) drop)")
    }),
    unparsed("simd", "a vector constant", || guest("", "", "(drop (v128.const i64x2 1 2))")),
    unparsed("simd_type", "a vector local", || guest("", "(func (local v128))", "")),
    unparsed("reference_type_local", "a reference in a local", || guest("", "(func (local externref))", "")),
    unparsed("reference_type_table", "a table of external references", || guest("", "(table 1 externref)", "")),
    unparsed("reference_null", "ref.null", || guest("", "", "(drop (ref.null func))")),
    unparsed("typed_select", "select with its type written down", || {
        guest("", "", "(drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 0)))")
    }),
    unparsed("table_size", "table.size", || guest("", "(table 1 funcref)", "(drop (table.size 0))")),
    uncompiled("two_tables", "the parser does not count tables", || {
        guest("", "(table 1 funcref) (table 1 funcref)", "")
    }),
    unparsed("tail_call", "return_call", || guest("", "(func $f) (func (return_call $f))", "")),
    unparsed("shared_memory", "a flag of threads", || {
        raw_guest("", &format!(r#"(memory (export "memory") 2 4 shared) {HEAP_BASE}"#), "")
    }),
    unparsed("atomics", "an atomic load", || guest("", "", "(drop (i32.atomic.load (i32.const 0)))")),
    unparsed("memory64", "a flag of 64 bit memories", || {
        raw_guest("", &format!(r#"(memory (export "memory") i64 2) {HEAP_BASE}"#), "")
    }),
    unparsed("exceptions", "a section of tags", || guest("", "(tag (param i32))", "")),
    uncompiled("extended_const", "the parser takes any instructions for a constant", || {
        guest("", "(global i32 (i32.add (i32.const 1) (i32.const 2)))", "")
    }),
    uncompiled("two_memories", "the parser does not count memories", || {
        raw_guest("", &format!("{MEMORY} (memory 1) {HEAP_BASE} {}", result_segment()), "")
    }),
    Case::valid("mutable_global_export", "newer than the MVP, but neither side can turn it off", || {
        guest("", r#"(global (export "counter") (mut i32) (i32.const 0))"#, "")
    }),
];

/// Where the code section of a small module starts.
fn code_section(code: &[u8]) -> usize {
    let mut at = 8;
    while code[at] != 10 {
        assert!(code[at + 1] < 0x80, "sections of a plain guest are short");
        at += 2 + usize::from(code[at + 1]);
    }
    at
}
