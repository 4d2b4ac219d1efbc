//! Start functions: they run during instantiation, when host functions cannot access the guest's memory yet. A failure
//! there is a construction failure, except for a time-out.

use super::{
    Case, Expect,
    helpers::RESULT,
    text::{HEAP_BASE, MEMORY, guest, raw_guest},
};

/// A guest whose start function has this body.
fn start(imports: &str, body: &str) -> Vec<u8> {
    guest(imports, &format!("(func $start {body}) (start $start)"), "")
}

pub(super) const CASES: &[Case] = &[
    Case::valid("start_does_nothing", "start functions are allowed", || start("", "")),
    Case::valid("start_writes_the_result", "the call sees what the start function wrote to memory", || {
        let [low, high] =
            [0, 8].map(|at| RESULT[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte)));
        raw_guest(
            "",
            &format!(
                "{MEMORY} {HEAP_BASE}
                 (func $start
                     (i64.store (i32.const 1024) (i64.const {low}))
                     (i64.store (i32.const 1032) (i64.const {high})))
                 (start $start)"
            ),
            "",
        )
    }),
    Case::uninstantiable("start_traps", "unreachable", || start("", "unreachable")),
    Case::uninstantiable("start_overflows_the_stack", "the limiter traps", || start("", "(call $start)")),
    Case::uninstantiable("start_calls_missing_function", "the stub traps", || {
        start(r#"(import "env" "no_such_function" (func $f))"#, "(call $f)")
    }),
    Case::uninstantiable("start_allocates", "the host cannot access memory yet", || {
        start(
            r#"(import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))"#,
            "(drop (call $malloc (i32.const 8)))",
        )
    }),
    Case::uninstantiable("start_prints_text", "the host function reads memory, which it cannot access yet", || {
        start(
            r#"(import "env" "ext_misc_print_utf8_version_1" (func $print (param i64)))"#,
            "(call $print (i64.const 0x400000000))",
        )
    }),
    Case::uninstantiable("start_hashes_nothing", "the host function reads even an empty text from memory", || {
        start(
            r#"(import "env" "ext_hashing_twox_64_version_1" (func $hash (param i64) (result i32)))"#,
            "(drop (call $hash (i64.const 0)))",
        )
    }),
    Case::valid("start_prints_a_number", "a host function that does not touch memory works", || {
        start(
            r#"(import "env" "ext_misc_print_num_version_1" (func $print (param i64)))"#,
            "(call $print (i64.const 42))",
        )
    }),
    Case::valid("start_asks_for_the_log_level", "another host function that does not touch memory", || {
        start(r#"(import "env" "ext_logging_max_level_version_1" (func $level (result i32)))"#, "(drop (call $level))")
    }),
    Case::valid("start_begins_a_batch", "the call sees the host's state as the start function left it", || {
        guest(
            r#"(import "env" "ext_crypto_start_batch_verify_version_1" (func $begin))
               (import "env" "ext_crypto_finish_batch_verify_version_1" (func $finish (result i32)))"#,
            "(start $begin)",
            "(if (i32.ne (call $finish) (i32.const 1)) (then unreachable))",
        )
    }),
    Case::uninstantiable("start_panics_the_host", "finishes a batch that was not started", || {
        start(
            r#"(import "env" "ext_crypto_finish_batch_verify_version_1" (func $finish (result i32)))"#,
            "(drop (call $finish))",
        )
    }),
    Case::endless("start_loops_forever", "the CPU limit covers instantiation", || {
        start("", "(loop $again (br $again))")
    }),
    Case::refused("start_of_wrong_type", Expect::Preparation, "it takes a parameter", || {
        guest("", "(func $start (param i32)) (start $start)", "")
    }),
];
