//! Wasm proposals beyond the MVP. Most do not parse; of those that parse, the compiler rejects all but the export of
//! mutable globals, which cannot be disabled.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, guest, raw_guest, result_segment},
};

/// A proposal that the parser rejects.
const fn unparsed(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Case {
    Case::refused(name, Expect::Prevalidation, why, wasm)
}

/// A proposal that the parser accepts and the compiler rejects.
const fn uncompiled(name: &'static str, why: &'static str, wasm: fn() -> Vec<u8>) -> Case {
    Case::refused(name, Expect::Preparation, why, wasm)
}

pub(super) const CASES: &[Case] = &[
    unparsed("sign_extension", "i32.extend8_s; the parser is built without this feature", || {
        guest("", "", "(drop (i32.extend8_s (i32.const 200)))")
    }),
    unparsed("saturating_truncation", "the parser does not know the prefix of the instruction", || {
        guest("", "", "(drop (i32.trunc_sat_f64_s (f64.const 1)))")
    }),
    unparsed("bulk_memory_copy", "the parser rejects it even if the parameter allows it", || {
        guest("", "", "(memory.copy (i32.const 0) (i32.const 8) (i32.const 8))")
    }),
    unparsed("bulk_memory_fill", "as memory.copy", || {
        guest("", "", "(memory.fill (i32.const 0) (i32.const 8) (i32.const 8))")
    }),
    unparsed("passive_data", "a segment without an offset", || guest("", r#"(data "passive")"#, "")),
    unparsed("passive_elements", "a segment without a table", || {
        guest("", "(table 1 funcref) (func $f) (elem func $f)", "")
    }),
    uncompiled("data_count", "the parser accepts this section, the compiler does not", || {
        let mut code = guest("", "", "");
        // The section of the data count belongs before the code section.
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
    unparsed("typed_select", "select with an explicit type", || {
        guest("", "", "(drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 0)))")
    }),
    unparsed("table_size", "table.size", || guest("", "(table 1 funcref)", "(drop (table.size 0))")),
    uncompiled("two_tables", "the parser does not limit the number of tables", || {
        guest("", "(table 1 funcref) (table 1 funcref)", "")
    }),
    unparsed("tail_call", "return_call", || guest("", "(func $f) (func (return_call $f))", "")),
    unparsed("shared_memory", "a memory flag of the threads proposal", || {
        raw_guest("", &format!(r#"(memory (export "memory") 2 4 shared) {HEAP_BASE}"#), "")
    }),
    unparsed("atomics", "an atomic load", || guest("", "", "(drop (i32.atomic.load (i32.const 0)))")),
    unparsed("memory64", "a memory flag of the memory64 proposal", || {
        raw_guest("", &format!(r#"(memory (export "memory") i64 2) {HEAP_BASE}"#), "")
    }),
    unparsed("exceptions", "a section of tags", || guest("", "(tag (param i32))", "")),
    uncompiled("extended_const", "the parser accepts any instructions in a constant expression", || {
        guest("", "(global i32 (i32.add (i32.const 1) (i32.const 2)))", "")
    }),
    uncompiled("two_memories", "the parser does not limit the number of memories", || {
        raw_guest("", &format!("{MEMORY} (memory 1) {HEAP_BASE} {}", result_segment()), "")
    }),
    Case::valid("mutable_global_export", "newer than the MVP, but neither parser nor compiler can disable it", || {
        guest("", r#"(global (export "counter") (mut i32) (i32.const 0))"#, "")
    }),
];

/// Position of the code section of a small module.
fn code_section(code: &[u8]) -> usize {
    let mut at = 8;
    while code[at] != 10 {
        assert!(code[at + 1] < 0x80, "sections of a plain guest are short");
        at += 2 + usize::from(code[at + 1]);
    }
    at
}
