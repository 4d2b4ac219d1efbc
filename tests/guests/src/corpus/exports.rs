//! Exports: the entry point, the heap base and the memory. They are not checked before the execution, and there a
//! missing or ill-typed one makes the candidate invalid.

use super::{
    Case, Expect,
    text::{HEAP_BASE, MEMORY, RESULT_AT, guest, module, raw_guest, result_segment, segment},
};
use crate::corpus::helpers::RESULT;

/// A guest whose `validate_block` is `export`.
fn entry_point(export: &str) -> Vec<u8> {
    module(&format!("(module {MEMORY} {HEAP_BASE} {} {export})", result_segment()))
}

/// A guest whose heap base is `export`.
fn heap_base(export: &str) -> Vec<u8> {
    raw_guest("", &format!("{MEMORY} {export} {}", result_segment()), "")
}

/// A guest whose heap starts at 0, where the parameters overwrite its result: it restores the result from a copy.
fn heap_at_zero(heap_base: &str) -> Vec<u8> {
    const COPY_AT: u32 = 100_000;
    let items = format!(r#"{MEMORY} (global (export "__heap_base") i32 {heap_base}) {}"#, segment(COPY_AT, RESULT));
    let restore = format!(
        "(i64.store offset=0 (i32.const {RESULT_AT}) (i64.load offset=0 (i32.const {COPY_AT})))
         (i64.store offset=8 (i32.const {RESULT_AT}) (i64.load offset=8 (i32.const {COPY_AT})))"
    );
    raw_guest("", &items, &restore)
}

pub(super) const CASES: &[Case] = &[
    Case::invalid("validate_block_missing", "there is no entry point", || entry_point("")),
    Case::invalid("validate_block_of_other_name", "names must match exactly", || {
        entry_point(r#"(func (export "validate-block") (param i32 i32) (result i64) (i64.const 0))"#)
    }),
    Case::invalid("validate_block_is_a_global", "a global cannot be called", || {
        entry_point(r#"(global (export "validate_block") i64 (i64.const 0))"#)
    }),
    Case::invalid("validate_block_without_parameters", "() -> i64", || {
        entry_point(r#"(func (export "validate_block") (result i64) (i64.const 0))"#)
    }),
    Case::invalid("validate_block_of_one_parameter", "(i32) -> i64", || {
        entry_point(r#"(func (export "validate_block") (param i32) (result i64) (i64.const 0))"#)
    }),
    Case::invalid("validate_block_of_wide_parameters", "(i64, i64) -> i64", || {
        entry_point(r#"(func (export "validate_block") (param i64 i64) (result i64) (i64.const 0))"#)
    }),
    Case::invalid("validate_block_without_result", "(i32, i32) -> ()", || {
        entry_point(r#"(func (export "validate_block") (param i32 i32))"#)
    }),
    Case::invalid("validate_block_of_narrow_result", "(i32, i32) -> i32", || {
        entry_point(r#"(func (export "validate_block") (param i32 i32) (result i32) (i32.const 0))"#)
    }),
    Case::refused("export_twice", Expect::Preparation, "export names must be unique", || {
        guest("", r#"(export "validate_block" (memory 0))"#, "")
    }),
    Case::invalid("heap_base_missing", "the host cannot place the parameters", || heap_base("")),
    Case::invalid("heap_base_i64", "an address is an i32", || {
        heap_base(r#"(global (export "__heap_base") i64 (i64.const 65536))"#)
    }),
    Case::invalid("heap_base_f32", "an address is an i32", || {
        heap_base(r#"(global (export "__heap_base") f32 (f32.const 65536))"#)
    }),
    Case::invalid("heap_base_is_a_function", "it must be a global", || {
        heap_base(r#"(func (export "__heap_base") (result i32) (i32.const 65536))"#)
    }),
    Case::valid("heap_base_mutable", "its value is read once, before the call", || {
        heap_base(r#"(global (export "__heap_base") (mut i32) (i32.const 65536))"#)
    }),
    Case::valid("heap_base_unaligned", "the allocator rounds it up to 8", || {
        heap_base(r#"(global (export "__heap_base") i32 (i32.const 65537))"#)
    }),
    Case::valid("heap_base_beyond_memory", "the allocator grows memory up to it", || {
        heap_base(r#"(global (export "__heap_base") i32 (i32.const 10000000))"#)
    }),
    Case::invalid("heap_base_beyond_the_limit", "the limit of memory is below 256 MiB", || {
        heap_base(r#"(global (export "__heap_base") i32 (i32.const 0x10000000))"#)
    }),
    Case::invalid("heap_base_at_the_end", "the heap would pass 4 GiB", || {
        heap_base(r#"(global (export "__heap_base") i32 (i32.const 0xfffffff0))"#)
    }),
    Case::valid(
        "heap_base_wraps_around",
        "rounding -1 up to 8 gives 0: the allocator's arithmetic wraps, in a build without overflow \
         checks, which is how the Polkadot node is built",
        || heap_at_zero("(i32.const -1)"),
    ),
    Case::valid("heap_base_zero", "the allocator may overwrite the guest's data", || heap_at_zero("(i32.const 0)")),
    Case::invalid("memory_of_other_name", "it must be exported as `memory`", || {
        raw_guest("", &format!(r#"(memory (export "mem") 2) {HEAP_BASE} {}"#, result_segment()), "")
    }),
    Case::invalid("memory_not_exported", "it must be exported", || {
        raw_guest("", &format!("(memory 2) {HEAP_BASE} {}", result_segment()), "")
    }),
    Case::invalid("memory_missing", "a module without memory compiles; the host cannot write the parameters", || {
        raw_guest("", HEAP_BASE, "")
    }),
    Case::invalid("memory_is_a_global", "the export has the name, not the type", || {
        raw_guest("", &format!(r#"(global (export "memory") i32 (i32.const 1)) {HEAP_BASE}"#), "")
    }),
];
