//! Stack limits: the deepest recursion that the logical limit allows, computed from the cost of a call, and one call
//! more; the native limit, and host functions called near it.

use crate::guest::{Guest, HEAP, SHORTEST, answering, head_data};
use parity_scale_codec::Encode as _;
use pvf_shared::params::{ExecutorParam, ExecutorParams};

/// The logical cost of a call, besides locals and operands.
const FRAME: u32 = 2;
/// The logical cost of `validate_block` here: a frame, no locals, and the four operands of its largest call.
const ENTRY: u32 = FRAME + 4;
/// The argument of a recursive call: one less. Takes two operands.
const DOWN: &str = "(i32.sub (local.get 0) (i32.const 1))";

/// Recursive functions whose first parameter is the number of further calls: a name, the definitions, further
/// arguments, and the cost of each function. A function costs its locals and the largest number of its operands at a
/// time; parameters cost nothing, but are operands of the caller.
fn shapes() -> Vec<(&'static str, String, &'static str, Vec<u32>)> {
    let function = |name: &str, locals: &str, before: &str, call: &str, behind: &str| {
        format!("(func ${name} (param i32) {locals} {before} (if (local.get 0) (then {call})) {behind})")
    };
    let plain = |name: &str, locals: &str| function(name, locals, "", &format!("(call ${name} {DOWN})"), "");
    vec![
        ("plain", plain("f0", ""), "", vec![FRAME + 2]),
        ("seven locals", plain("f1", "(local i64 i64 i32) (local f64 i32 i32 f32)"), "", vec![FRAME + 2 + 7]),
        (
            "five operands below",
            function("f2", "", &"(i64.const 1) ".repeat(5), &format!("(call $f2 {DOWN})"), &"(drop) ".repeat(5)),
            "",
            vec![FRAME + 2 + 5],
        ),
        (
            "four parameters",
            format!(
                "(func $f3 (param i32 i64 f64 i32) (if (local.get 0) (then
                     (call $f3 {DOWN} (local.get 1) (local.get 2) (local.get 3)))))"
            ),
            "(i64.const 1) (f64.const 1) (i32.const 1)",
            vec![FRAME + 4],
        ),
        (
            "a result",
            format!(
                "(func $r (param i32) (result i32)
                     (if (result i32) (local.get 0)
                         (then (i32.add (call $r {DOWN}) (i32.const 1)))
                         (else (i32.const 0))))
                 (func $f4 (param i32) (drop (call $r (local.get 0))))"
            ),
            "",
            vec![FRAME + 1, FRAME + 2],
        ),
        (
            "two functions that call each other",
            function("f5", "", "", &format!("(call $g {DOWN})"), "")
                + &function("g", "(local i32 i32 i32)", "", &format!("(call $f5 {DOWN})"), ""),
            "",
            vec![FRAME + 2, FRAME + 2 + 3],
        ),
        (
            "through a table",
            "(type $t (func (param i32))) (table 1 funcref) (elem (i32.const 0) $f6)".to_owned()
                + &function("f6", "", "", &format!("(call_indirect (type $t) {DOWN} (i32.const 0))"), ""),
            "",
            vec![FRAME + 2],
        ),
        (
            "operands in unreachable code",
            function(
                "f7",
                "",
                "",
                &format!("(call $f7 {DOWN}) (return) {} {}", "(i32.const 1)".repeat(50), "(drop)".repeat(50)),
                "",
            ),
            "",
            vec![FRAME + 2],
        ),
    ]
}

/// A guest that calls one of the functions: the first word of the head is the number of further calls, the byte behind
/// it the index of the function.
fn recursing() -> String {
    let (mut items, mut body) = (String::new(), String::new());
    for (n, (_, functions, beside, _)) in shapes().into_iter().enumerate() {
        items += &functions;
        body += &format!(
            "(if (i32.eq (i32.load8_u offset=5 (local.get $at)) (i32.const {n}))
                 (then (call $f{n} (i32.load offset=1 (local.get $at)) {beside})))\n"
        );
    }
    answering(2, HEAP, SHORTEST, &items, &body)
}

/// The number of calls that fit into this limit. Functions are called in the order of their costs, and again from the
/// first; of "a result", the first function is called only once.
fn calls(limit: u32, name: &str, costs: &[u32]) -> u32 {
    let (mut used, mut calls) = (ENTRY, 0);
    loop {
        let cost = match name {
            "a result" => costs[usize::from(calls > 0)],
            _ => costs[calls as usize % costs.len()],
        };
        if used + cost > limit {
            return calls;
        }
        (used, calls) = (used + cost, calls + 1);
    }
}

#[tokio::test]
async fn the_logical_limit_is_exact() {
    for limit in [1024, 1025, 1026, 1027, 4099, 65_536, 131_072] {
        let guest = Guest::new(&recursing(), &[ExecutorParam::StackLogicalMax(limit)]).await;
        for (n, (name, _, _, costs)) in shapes().into_iter().enumerate() {
            let calls = calls(limit, name, &costs);
            // The argument counts the calls behind the first one; of "a result", those behind the second.
            let most = if name == "a result" { calls - 2 } else { calls - 1 };
            let run = async |follow: u32| head_data(guest.with_head(&(follow, n as u8).encode()).await);
            let case = format!("StackLogicalMax {limit}, {name}, costs {costs:?}");
            run(most).await.unwrap_or_else(|why| panic!("{case}: {calls} calls must pass: {why}"));
            match run(most + 1).await {
                Err(why) if why.contains("unreachable") => {}
                other => panic!("{case}: {} calls must trap, seen {other:?}", calls + 1),
            }
        }
    }
}

/// A guest that recurses as often as the head says, and calls a host function at the end.
fn deep(import: &str, call: &str) -> String {
    let down = format!("(if (local.get 0) (then (call $down {DOWN})) (else {call}))");
    let items = format!(r#"(import "env" {import}) (func $down (param i32) {down})"#);
    answering(2, HEAP, SHORTEST, &items, "(call $down (i32.load offset=1 (local.get $at)))")
}

/// The deepest recursion that passes with this much native stack, bytes; one call more must exhaust the stack.
async fn depth(guest: &Guest, native: u32) -> u32 {
    let params = ExecutorParams(vec![ExecutorParam::StackNativeMax(native)]);
    // `below` passes and `above` fails. The logical limit is at 16,383 calls.
    let (mut below, mut above) = (0, 16_000);
    let passes = async |depth: u32| match head_data(guest.call(&depth.to_le_bytes(), b"", &params).await) {
        Ok(_) => true,
        Err(why) if why.contains("call stack exhausted") => false,
        Err(why) => panic!("{native} bytes of native stack, depth {depth}: {why}"),
    };
    while above - below > 1 {
        let middle = (below + above) / 2;
        if passes(middle).await {
            below = middle;
        } else {
            above = middle;
        }
    }
    for _ in 0..3 {
        assert!(
            passes(below).await && !passes(above).await,
            "{native} bytes of native stack: the limit is not always {below}"
        );
    }
    below
}

#[tokio::test]
async fn the_native_limit_is_exact_and_does_not_include_host_functions() {
    let number = r#""ext_misc_print_num_version_1" (func $host (param i64))"#;
    let guest = Guest::new(&deep(number, "(call $host (i64.const 1))"), &[]).await;
    const KIB: u32 = 1024;
    let (least, twice, four) =
        (depth(&guest, 64 * KIB).await, depth(&guest, 128 * KIB).await, depth(&guest, 256 * KIB).await);
    // Every call takes the same number of bytes, so twice as many calls fit into twice the increase.
    let (first, second) = (twice - least, four - twice);
    assert!(second.abs_diff(2 * first) <= 1, "64 KiB: {least}, 128 KiB: {twice}, 256 KiB: {four}");
    let frame = (64 * KIB + first / 2) / first;
    // The frames of the call from the host take less than 1 KiB.
    assert!(least * frame <= 64 * KIB && least * frame > 63 * KIB, "{least} frames of {frame} bytes");

    // Host functions that need much stack: verifying a signature, and computing a root.
    let verify = r#""ext_crypto_sr25519_verify_version_2" (func $host (param i32 i64 i32) (result i32))"#;
    let verify = deep(verify, "(drop (call $host (i32.const 0) (i64.const 0) (i32.const 0)))");
    let root = r#""ext_trie_blake2_256_root_version_2" (func $host (param i64 i32) (result i32))"#;
    let root = deep(root, "(drop (call $host (i64.const 0x100000000) (i32.const 1)))");
    for text in [verify, root] {
        let depth = depth(&Guest::new(&text, &[]).await, 64 * KIB).await;
        assert!(depth > least / 2, "{depth} with {text}");
    }
}
