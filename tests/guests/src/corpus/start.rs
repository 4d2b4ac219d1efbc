//! Start functions: they run while the guest is instantiated, before the host knows its memory.
//! Whatever fails there is a failure to construct, except for running out of time.

use super::{
    Case, Expect,
    helpers::RESULT,
    text::{HEAP_BASE, MEMORY, guest, raw_guest},
};

/// A guest with a start function of this body.
fn start(imports: &str, body: &str) -> Vec<u8> {
    guest(imports, &format!("(func $start {body}) (start $start)"), "")
}

pub(super) const CASES: &[Case] = &[
    Case::valid("start_does_nothing", "start functions are allowed", || start("", "")),
    Case::valid("start_writes_the_result", "what it leaves in memory is there for the call", || {
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
    Case::stillborn("start_traps", "unreachable", || start("", "unreachable")),
    Case::stillborn("start_overflows_the_stack", "the limiter traps", || start("", "(call $start)")),
    Case::stillborn("start_calls_missing_function", "the stub traps", || {
        start(r#"(import "env" "no_such_function" (func $f))"#, "(call $f)")
    }),
    Case::stillborn("start_allocates", "memory is not known yet", || {
        start(
            r#"(import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))"#,
            "(drop (call $malloc (i32.const 8)))",
        )
    }),
    Case::stillborn("start_prints_text", "the host would read memory, which is not known yet", || {
        start(
            r#"(import "env" "ext_misc_print_utf8_version_1" (func $print (param i64)))"#,
            "(call $print (i64.const 0x400000000))",
        )
    }),
    Case::stillborn("start_hashes_nothing", "even an empty text is read from memory", || {
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
    Case::valid("start_asks_for_the_log_level", "another one", || {
        start(r#"(import "env" "ext_logging_max_level_version_1" (func $level (result i32)))"#, "(drop (call $level))")
    }),
    Case::valid("start_begins_a_batch", "what the host remembers is there for the call, too", || {
        guest(
            r#"(import "env" "ext_crypto_start_batch_verify_version_1" (func $begin))
               (import "env" "ext_crypto_finish_batch_verify_version_1" (func $finish (result i32)))"#,
            "(start $begin)",
            "(if (i32.ne (call $finish) (i32.const 1)) (then unreachable))",
        )
    }),
    Case::stillborn("start_panics_the_host", "a batch is finished that was not begun", || {
        start(
            r#"(import "env" "ext_crypto_finish_batch_verify_version_1" (func $finish (result i32)))"#,
            "(drop (call $finish))",
        )
    }),
    Case::endless("start_loops_for_ever", "CPU time counts here as well", || start("", "(loop $again (br $again))")),
    Case::refused("start_of_wrong_type", Expect::Preparation, "it takes a parameter", || {
        guest("", "(func $start (param i32)) (start $start)", "")
    }),
];
