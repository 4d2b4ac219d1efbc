//! Memory and tables: declared sizes, growth, and segments that are out of range.

use super::{
    Case, Expect,
    text::{HEAP_BASE, guest, raw_guest, result_segment},
};

/// The default limit, pages: 2,048 and 32 more.
const LIMIT: u32 = 2080;

/// A guest with this declaration of its memory.
fn declared(memory: &str, body: &str) -> Vec<u8> {
    let items = format!(r#"(memory (export "memory") {memory}) {HEAP_BASE} {}"#, result_segment());
    raw_guest("", &items, body)
}

pub(super) const CASES: &[Case] = &[
    Case::valid("memory_at_the_limit", "2,080 initial pages", || declared(&LIMIT.to_string(), "")),
    Case::uninstantiable("memory_over_the_limit", "2,081 initial pages compile, but cannot be allocated", || {
        declared(&(LIMIT + 1).to_string(), "")
    }),
    Case::uninstantiable("memory_of_4_gib", "65,536 initial pages are valid wasm, but cannot be allocated", || {
        declared("65536", "")
    }),
    Case::refused("memory_over_4_gib", Expect::Preparation, "65,537 pages are not valid wasm", || {
        declared("65537", "")
    }),
    Case::valid("memory_of_no_pages", "the allocator grows it for the parameters", || {
        // The heap starts at 64. The twelve zeros below it are a valid result.
        raw_guest(
            "",
            r#"(memory (export "memory") 0) (global (export "__heap_base") i32 (i32.const 64))"#,
            "(return (i64.const 0xc00000000))",
        )
    }),
    Case::valid(
        "memory_maximum_below_minimum",
        "preparation drops the maximum before the compiler validates it",
        || declared("4 2", ""),
    ),
    Case::valid("memory_maximum_over_4_gib", "as above", || declared("2 70000", "")),
    Case::valid("memory_grows_past_its_maximum", "preparation drops the maximum", || {
        declared("2 3", "(if (i32.eq (memory.grow (i32.const 10)) (i32.const -1)) (then unreachable))")
    }),
    Case::valid("memory_grows_to_the_limit", "the new pages can be used", || {
        let room = format!("(i32.sub (i32.const {LIMIT}) (memory.size))");
        let last = LIMIT * 65536 - 8;
        declared(
            "2",
            &format!(
                "(if (i32.eq (memory.grow {room}) (i32.const -1)) (then unreachable))
                 (i64.store (i32.const {last}) (i64.const 1))"
            ),
        )
    }),
    Case::valid("memory_in_use_to_the_limit", "129 MiB are resident", || {
        let items = format!(
            r#"(memory (export "memory") {LIMIT}) {HEAP_BASE} {}
               (global $at (mut i32) (i32.const 1048576))"#,
            result_segment()
        );
        let end = LIMIT * 65536;
        let body = format!(
            "(loop $next
               (i32.store8 (global.get $at) (i32.const 1))
               (global.set $at (i32.add (global.get $at) (i32.const 4096)))
               (br_if $next (i32.lt_u (global.get $at) (i32.const {end}))))"
        );
        raw_guest("", &items, &body)
    }),
    Case::valid("memory_over_half_the_limit", "the allocator's doubling stops at the limit", || {
        let items = r#"(memory (export "memory") 1100) (global (export "__heap_base") i32 (i32.const 72089600))"#;
        raw_guest("", &format!("{items} {}", result_segment()), "")
    }),
    Case::valid("memory_does_not_grow_past_the_limit", "memory.grow returns -1, and the guest continues", || {
        let too_much = format!("(i32.sub (i32.const {}) (memory.size))", LIMIT + 1);
        declared(
            "2",
            &format!(
                "(if (i32.ne (memory.grow {too_much}) (i32.const -1)) (then unreachable))
                 (if (i32.ne (memory.grow (i32.const 65536)) (i32.const -1)) (then unreachable))
                 (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then unreachable))"
            ),
        )
    }),
    Case::valid("memory_is_zero_at_first", "initial and grown pages are zero: no other job's data is visible", || {
        declared(
            "64",
            "(local $at i32)
             (drop (memory.grow (i32.const 64)))
             (local.set $at (i32.const 2097152))
             (loop $next
                 (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
                 (i64.store (local.get $at) (i64.const -1))
                 (local.set $at (i32.add (local.get $at) (i32.const 8)))
                 (br_if $next (i32.lt_u (local.get $at) (i32.const 8388608))))",
        )
    }),
    Case::uninstantiable("data_out_of_range", "the segment ends one byte past memory", || {
        guest("", r#"(data (i32.const 131071) "ab")"#, "")
    }),
    Case::valid("data_to_the_end", "the segment ends with memory", || {
        guest("", r#"(data (i32.const 131070) "ab")"#, "")
    }),
    Case::uninstantiable("data_empty_out_of_range", "empty, but its offset is beyond the end", || {
        guest("", r#"(data (i32.const 131073) "")"#, "")
    }),
    Case::valid("data_empty_at_the_end", "empty, and its offset is the end", || {
        guest("", r#"(data (i32.const 131072) "")"#, "")
    }),
    Case::uninstantiable("data_at_minus_one", "offsets are unsigned", || guest("", r#"(data (i32.const -1) "a")"#, "")),
    Case::valid("data_far_apart", "the memory image is dense, so two small segments need an image of 16 MiB", || {
        let items = format!(
            r#"(memory (export "memory") 256) {HEAP_BASE} {} (data (i32.const 16777215) "a")"#,
            result_segment()
        );
        let check = "(i32.ne (i32.load8_u (i32.const 16777215)) (i32.const 97))";
        raw_guest("", &items, &format!("(if {check} (then unreachable))"))
    }),
    Case::uninstantiable("elements_out_of_range", "the table has one entry, the segment two", || {
        guest("", "(table 1 funcref) (func $f) (elem (i32.const 0) $f $f)", "")
    }),
    Case::uninstantiable("elements_past_the_end", "an entry beyond the table", || {
        guest("", "(table 1 funcref) (func $f) (elem (i32.const 1) $f)", "")
    }),
    Case::refused("data_without_memory", Expect::Preparation, "there is no memory for the data", || {
        raw_guest("", &format!(r#"{HEAP_BASE} (data (i32.const 0) "a")"#), "")
    }),
    Case::refused(
        "table_minimum_over_maximum",
        Expect::Preparation,
        "unlike a memory's maximum, a table's is kept and validated",
        || guest("", "(table 2 1 funcref)", ""),
    ),
];
