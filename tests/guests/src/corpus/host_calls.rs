//! Host functions: those of the heap, those that panic, and missing ones. A panic of a host function makes the
//! candidate invalid.

use super::{Case, text::guest};

const MALLOC: &str = r#"(import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))"#;
const FREE: &str = r#"(import "env" "ext_allocator_free_version_1" (func $free (param i32)))"#;
const BEGIN: &str = r#"(import "env" "ext_crypto_start_batch_verify_version_1" (func $begin))"#;
const FINISH: &str = r#"(import "env" "ext_crypto_finish_batch_verify_version_1" (func $finish (result i32)))"#;
const TRIE_ROOT: &str =
    r#"(import "env" "ext_trie_blake2_256_root_version_2" (func $root (param i64 i32) (result i32)))"#;

/// A guest that imports the functions of the heap.
fn with_heap(body: &str) -> Vec<u8> {
    guest(&format!("{MALLOC} {FREE}"), "", body)
}

/// A guest that imports one function.
fn calling(import: &str, body: &str) -> Vec<u8> {
    guest(&format!(r#"(import "env" {import})"#), "", body)
}

pub(super) const CASES: &[Case] = &[
    Case::valid("heap_use", "allocate, write, free, allocate the same block again", || {
        with_heap(
            "(local $a i32)
             (local.set $a (call $malloc (i32.const 100)))
             (if (i32.and (local.get $a) (i32.const 7)) (then unreachable))
             (i64.store offset=92 (local.get $a) (i64.const -1))
             (call $free (local.get $a))
             (if (i32.ne (call $malloc (i32.const 128)) (local.get $a)) (then unreachable))",
        )
    }),
    Case::valid("heap_gives_its_largest_block", "32 MiB, for which memory grows", || {
        with_heap("(i64.store offset=33554424 (call $malloc (i32.const 33554432)) (i64.const 1))")
    }),
    Case::valid("heap_over_half_the_limit_of_memory", "90 MiB in small blocks; the limit of memory is 130 MiB", || {
        with_heap(
            "(local $n i32)
             (loop $again
                 (i64.store (call $malloc (i32.const 900000)) (i64.const 1))
                 (local.set $n (i32.add (local.get $n) (i32.const 1)))
                 (br_if $again (i32.lt_u (local.get $n) (i32.const 90))))",
        )
    }),
    Case::invalid("heap_refuses_a_larger_block", "the largest block has 32 MiB", || {
        with_heap("(drop (call $malloc (i32.const 33554433)))")
    }),
    Case::invalid("heap_exhausted", "allocates until the limit of memory", || {
        with_heap("(loop $again (drop (call $malloc (i32.const 1000000))) (br $again))")
    }),
    Case::invalid("free_null", "the first block is behind a header of 8 bytes", || {
        with_heap("(call $free (i32.const 0))")
    }),
    Case::invalid("free_what_was_never_taken", "there is no block at 4096", || {
        with_heap("(call $free (i32.const 4096))")
    }),
    Case::invalid("free_out_of_bounds", "there is no block outside memory", || {
        with_heap("(call $free (i32.const -8))")
    }),
    Case::invalid("free_twice", "the block is free already", || {
        with_heap(
            "(local $a i32)
             (local.set $a (call $malloc (i32.const 8)))
             (call $free (local.get $a))
             (call $free (local.get $a))",
        )
    }),
    Case::invalid("heap_corrupted", "the block's header was overwritten with an impossible size", || {
        with_heap(
            "(local $a i32)
             (local.set $a (call $malloc (i32.const 8)))
             (i64.store (i32.sub (local.get $a) (i32.const 8)) (i64.const 0x1000000ff))
             (call $free (local.get $a))",
        )
    }),
    Case::valid("parameters_freed", "the parameters are an ordinary block of the heap", || {
        with_heap("(call $free (local.get 0))")
    }),
    Case::valid("batch_in_order", "started, then finished: no signature is invalid", || {
        guest(
            &format!("{BEGIN} {FINISH}"),
            "",
            "(call $begin) (if (i32.ne (call $finish) (i32.const 1)) (then unreachable))",
        )
    }),
    Case::invalid("batch_finished_only", "the host panics", || guest(FINISH, "", "(drop (call $finish))")),
    Case::invalid("batch_begun_twice", "the host panics", || guest(BEGIN, "", "(call $begin) (call $begin)")),
    Case::invalid("keystore", "the host has no keystore, and panics", || {
        calling(
            r#""ext_crypto_ed25519_public_keys_version_1" (func $keys (param i32) (result i64))"#,
            "(drop (call $keys (i32.const 1024)))",
        )
    }),
    Case::invalid("log_level_out_of_range", "there is no level 9", || {
        calling(
            r#""ext_logging_log_version_1" (func $log (param i32 i64 i64))"#,
            "(call $log (i32.const 9) (i64.const 0) (i64.const 0))",
        )
    }),
    Case::invalid("log_target_not_text", "the target must be UTF-8", || {
        guest(
            r#"(import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))"#,
            r#"(data (i32.const 8) "\ff\fe")"#,
            "(call $log (i32.const 3) (i64.const 0x200000008) (i64.const 0))",
        )
    }),
    Case::valid("log_message_not_text", "the message need not be UTF-8: the host drops it", || {
        guest(
            r#"(import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))"#,
            r#"(data (i32.const 8) "\ff\fe")"#,
            "(call $log (i32.const 3) (i64.const 0) (i64.const 0x200000008))",
        )
    }),
    Case::valid("trie_root_of_nothing", "an empty list, with state version 1", || {
        guest(TRIE_ROOT, "", "(drop (call $root (i64.const 0x100000000) (i32.const 1)))")
    }),
    Case::invalid("trie_version_out_of_range", "there is no version 7", || {
        guest(TRIE_ROOT, "", "(drop (call $root (i64.const 0x100000000) (i32.const 7)))")
    }),
    Case::invalid("trie_input_does_not_decode", "no bytes are not an encoded list", || {
        guest(TRIE_ROOT, "", "(drop (call $root (i64.const 0) (i32.const 0)))")
    }),
    Case::invalid("host_reads_out_of_bounds", "the text is beyond the end of memory", || {
        calling(
            r#""ext_hashing_blake2_256_version_1" (func $hash (param i64) (result i32))"#,
            "(drop (call $hash (i64.const 0x10fffffff)))",
        )
    }),
    Case::valid(
        "runtime_version_of_rubbish",
        "the Polkadot node's host registers the extension that reads versions: a missing version does not panic",
        || {
            calling(
                r#""ext_misc_runtime_version_version_1" (func $version (param i64) (result i64))"#,
                // The four bytes of the result's head are not a runtime. The encoding of None is one zero byte.
                "(local $none i64)
                 (local.set $none (call $version (i64.const 0x400000401)))
                 (if (i64.ne (i64.shr_u (local.get $none) (i64.const 32)) (i64.const 1)) (then unreachable))
                 (if (i32.load8_u (i32.wrap_i64 (local.get $none))) (then unreachable))",
            )
        },
    ),
    Case::invalid("storage", "not a host function of PVFs, so the import is a stub", || {
        calling(
            r#""ext_storage_get_version_1" (func $get (param i64) (result i64))"#,
            "(drop (call $get (i64.const 0)))",
        )
    }),
    Case::invalid("offchain", "not a host function of PVFs", || {
        calling(r#""ext_offchain_timestamp_version_1" (func $now (result i64))"#, "(drop (call $now))")
    }),
    Case::invalid("abort_on_panic", "not a host function of PVFs; calling it would trap anyway", || {
        calling(
            r#""ext_panic_handler_abort_on_panic_version_1" (func $abort (param i64))"#,
            "(call $abort (i64.const 0))",
        )
    }),
    Case::invalid("elliptic_curves_not_enabled", "a stub, unless the executor parameter enables them", || {
        calling(
            r#""ext_host_calls_bls12_381_msm_g1_version_1" (func $msm (param i64 i64 i64) (result i32))"#,
            "(drop (call $msm (i64.const 0) (i64.const 0) (i64.const 0)))",
        )
    }),
];
