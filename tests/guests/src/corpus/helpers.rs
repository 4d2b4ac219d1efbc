//! Guests outside the table, with parameters: the result to return, the time to take.

use super::text::{HEAP_BASE, MEMORY, escape, guest, module, packed, segment};

/// The `ValidationResult` that guests of the table return: head data `01 02 03 04`, no code, no
/// messages, nothing processed, watermark 42.
pub const RESULT: &[u8] = &[0x10, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0];

/// A guest that returns these bytes, which need not be a valid result.
pub fn returns(result: &[u8]) -> Vec<u8> {
    const AT: u32 = 1024;
    let len = result.len() as u32;
    // The heap starts in the page behind the bytes.
    let pages = (AT + len).div_ceil(65536);
    module(&format!(
        r#"(module
            (memory (export "memory") {memory})
            (global (export "__heap_base") i32 (i32.const {heap_base}))
            (data (i32.const {AT}) "{data}")
            (func (export "validate_block") (param i32 i32) (result i64) (i64.const {packed})))"#,
        memory = pages + 1,
        heap_base = pages * 65536,
        data = escape(result),
        packed = packed(AT, len),
    ))
}

/// A guest that logs an error, and traps in a function of its own: the second function, behind that of the log.
pub fn logs_and_traps() -> Vec<u8> {
    guest(
        r#"(import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))"#,
        r#"(data (i32.const 8) "runtime") (data (i32.const 16) "the block is bad")
           (func $fail (call $log (i32.const 0) (i64.const 0x700000008) (i64.const 0x1000000010)) unreachable)"#,
        "(call $fail)",
    )
}

/// A guest that calls this host function, which takes and returns nothing, and traps when it is back.
pub fn calls(function: &str) -> Vec<u8> {
    guest(&format!(r#"(import "env" "{function}" (func $function))"#), "", "(call $function) unreachable")
}

/// A guest that returns the parent head as the new head, with watermark 0 and nothing else. It builds the result in
/// place: the encoded head is at the start of the parameters, and the guest overwrites what follows with the rest of a
/// result, which is eleven zeros.
pub fn echo_like() -> Vec<u8> {
    module(&format!(
        r#"(module {MEMORY} {HEAP_BASE}
            (func (export "validate_block") (param $at i32) (param $len i32) (result i64)
                (local $mode i32) (local $word i32) (local $rest i32)
                (local.set $word (i32.load (local.get $at)))
                (local.set $mode (i32.and (local.get $word) (i32.const 3)))
                ;; Length of the prefix and of the head; no head is so long that it needs the longest form of a prefix.
                (if (i32.eqz (local.get $mode)) (then
                    (local.set $rest (i32.add (i32.const 1)
                        (i32.shr_u (i32.and (local.get $word) (i32.const 0xff)) (i32.const 2))))))
                (if (i32.eq (local.get $mode) (i32.const 1)) (then
                    (local.set $rest (i32.add (i32.const 2)
                        (i32.shr_u (i32.and (local.get $word) (i32.const 0xffff)) (i32.const 2))))))
                (if (i32.eq (local.get $mode) (i32.const 2)) (then
                    (local.set $rest (i32.add (i32.const 4)
                        (i32.shr_u (local.get $word) (i32.const 2))))))
                (if (i32.eq (local.get $mode) (i32.const 3)) (then unreachable))
                (i64.store (i32.add (local.get $at) (local.get $rest)) (i64.const 0))
                (i64.store offset=3 (i32.add (local.get $at) (local.get $rest)) (i64.const 0))
                (i64.or
                    (i64.extend_i32_u (local.get $at))
                    (i64.shl
                        (i64.extend_i32_u (i32.add (local.get $rest) (i32.const 11)))
                        (i64.const 32)))))"#
    ))
}

/// A guest that returns the last 32 bytes of its parameters as the new head, with watermark 0 and nothing else: the
/// storage root of the relay parent, or the hash of the scheduling parent where the parameters have the extension of
/// version 3. It builds the result in place, as [`echo_like`] does.
pub fn returns_end() -> Vec<u8> {
    module(&format!(
        r#"(module {MEMORY} {HEAP_BASE}
            (func (export "validate_block") (param $at i32) (param $len i32) (result i64)
                (local $from i32) (local $n i32)
                (local.set $from (i32.sub (i32.add (local.get $at) (local.get $len)) (i32.const 32)))
                ;; The prefix of 32 bytes, then the bytes, which lie behind: they are copied forwards.
                (loop $copy
                    (i32.store8 offset=1
                        (i32.add (local.get $at) (local.get $n))
                        (i32.load8_u (i32.add (local.get $from) (local.get $n))))
                    (br_if $copy (i32.lt_u
                        (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 32))))
                (i32.store8 (local.get $at) (i32.const 128))
                (i64.store offset=33 (local.get $at) (i64.const 0))
                (i64.store offset=36 (local.get $at) (i64.const 0))
                (i64.or
                    (i64.extend_i32_u (local.get $at))
                    (i64.shl (i64.const 44) (i64.const 32)))))"#
    ))
}

/// A guest that returns [`RESULT`] after `iterations` rounds of a loop, to use an adjustable amount of CPU time. A
/// round is six dependent operations and takes a few nanoseconds. The guest stores their result, so that the compiler
/// cannot remove them.
pub fn busy(iterations: u64) -> Vec<u8> {
    guest(
        "",
        "",
        &format!(
            "(local $left i64) (local $x i64)
            (local.set $left (i64.const {}))
            (local.set $x (i64.const 88172645463325252))
            (block $done
                (loop $again
                    (br_if $done (i64.eqz (local.get $left)))
                    (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
                    (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
                    (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
                    (local.set $left (i64.sub (local.get $left) (i64.const 1)))
                    (br $again)))
            (i64.store (i32.const 8) (local.get $x))",
            iterations as i64
        ),
    )
}

/// The head data of what [`nan_bits`] returns, if the host canonicalises NaNs.
pub const NAN_BITS: [u8; 24] = [
    0x00, 0x00, 0xc0, 0x7f, // f32: 0 / 0; x86 would set the sign
    0x00, 0x00, 0xc0, 0x7f, // f32: a NaN with a payload, demoted
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x7f, // f64: the root of -1; x86 would set the sign
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x7f, // f64: a NaN with a payload, plus 1
];

/// A guest whose head data are the bits of four NaNs that differ between processors; compare with [`NAN_BITS`]. The
/// operands come from memory, so that the compiler cannot fold the operations.
pub fn nan_bits() -> Vec<u8> {
    let mut result = vec![24 << 2];
    result.extend_from_slice(&[0; 24]);
    result.extend_from_slice(&[0; 3 + 4 + 4]);
    let mut operands = Vec::new();
    operands.extend_from_slice(&0.0f32.to_le_bytes()); // at 0
    operands.extend_from_slice(&[0; 4]);
    operands.extend_from_slice(&0x7ff8_dead_0000_0001u64.to_le_bytes()); // at 8
    operands.extend_from_slice(&(-1.0f64).to_le_bytes()); // at 16
    operands.extend_from_slice(&1.0f64.to_le_bytes()); // at 24
    module(&format!(
        r#"(module {MEMORY} {HEAP_BASE} {operands} {result_segment}
            (func (export "validate_block") (param i32 i32) (result i64)
                (f32.store (i32.const 1025) (f32.div (f32.load (i32.const 0)) (f32.load (i32.const 0))))
                (f32.store (i32.const 1029) (f32.demote_f64 (f64.load (i32.const 8))))
                (f64.store (i32.const 1033) (f64.sqrt (f64.load (i32.const 16))))
                (f64.store (i32.const 1041) (f64.add (f64.load (i32.const 8)) (f64.load (i32.const 24))))
                (i64.const {packed})))"#,
        operands = segment(0, &operands),
        result_segment = segment(1024, &result),
        packed = packed(1024, result.len() as u32),
    ))
}

/// A guest that traps unless its parameters are `len` bytes long.
pub fn wants_length(len: usize) -> Vec<u8> {
    let content = format!("(if (i32.ne (local.get 1) (i32.const {len})) (then unreachable))");
    guest("", "", &content)
}
