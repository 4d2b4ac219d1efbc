//! The stack: the deepest recursion that the logical limit allows, by the rules of what a call costs, and one call
//! more; the native limit, and host functions at the end of it.

use crate::guest::{Guest, HEAP, SHORTEST, answering, seen};
use parity_scale_codec::Encode as _;
use pvf_shared::params::{ExecutorParam, ExecutorParams};

/// What every call costs beside locals and operands.
const FRAME: u32 = 2;
/// What `validate_block` costs here: a frame, no locals, and the four operands of its largest call.
const ENTRY: u32 = FRAME + 4;
/// Counts down: what most of these functions do, with at most two operands at once.
const DOWN: &str = "(i32.sub (local.get 0) (i32.const 1))";

/// Functions that call each other as often as the first is told; what is passed beside the count; and what each of
/// them costs: locals and the most operands at once. Parameters cost nothing, but who passes them has operands.
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
            "two by turns",
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
            "operands that nobody reaches",
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

/// A guest that calls the function that the sixth byte of the head data names as the first four say.
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

/// How many calls there is room for under this limit. The costs are those of the functions in the order in which
/// they are called, beginning again at the first; of "a result", the first is called only once.
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
            // The first call is told how many are to follow it; of "a result", the second is.
            let most = if name == "a result" { calls - 2 } else { calls - 1 };
            let run = async |follow: u32| seen(guest.with_head(&(follow, n as u8).encode()).await);
            let case = format!("StackLogicalMax {limit}, {name}, costs {costs:?}");
            run(most).await.unwrap_or_else(|why| panic!("{case}: {calls} calls must pass: {why}"));
            match run(most + 1).await {
                Err(why) if why.contains("unreachable") => {}
                other => panic!("{case}: {} calls must trap, seen {other:?}", calls + 1),
            }
        }
    }
}

/// A guest that calls itself as often as the head says; the last one calls a host function.
fn deep(import: &str, call: &str) -> String {
    let down = format!("(if (local.get 0) (then (call $down {DOWN})) (else {call}))");
    let items = format!(r#"(import "env" {import}) (func $down (param i32) {down})"#);
    answering(2, HEAP, SHORTEST, &items, "(call $down (i32.load offset=1 (local.get $at)))")
}

/// How deep it goes with so much native stack, bytes: one deeper is a trap, and nothing else.
async fn depth(guest: &Guest, native: u32) -> u32 {
    let params = ExecutorParams(vec![ExecutorParam::StackNativeMax(native)]);
    // Below, it passes; above, it does not. The logical limit is at 16,383 calls.
    let (mut below, mut above) = (0, 16_000);
    let passes = async |depth: u32| match seen(guest.call(&depth.to_le_bytes(), b"", &params).await) {
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
        assert!(passes(below).await && !passes(above).await, "{native} bytes of native stack: not always {below}");
    }
    below
}

#[tokio::test]
async fn the_native_limit_is_exact_and_host_functions_have_their_own() {
    let number = r#""ext_misc_print_num_version_1" (func $host (param i64))"#;
    let guest = Guest::new(&deep(number, "(call $host (i64.const 1))"), &[]).await;
    const KIB: u32 = 1024;
    let (least, twice, four) =
        (depth(&guest, 64 * KIB).await, depth(&guest, 128 * KIB).await, depth(&guest, 256 * KIB).await);
    // Every call takes the same number of bytes.
    let (first, second) = (twice - least, four - twice);
    assert!(second.abs_diff(2 * first) <= 1, "64 KiB: {least}, 128 KiB: {twice}, 256 KiB: {four}");
    let frame = (64 * KIB + first / 2) / first;
    // The first frames are those of the call from outside.
    assert!(least * frame <= 64 * KIB && least * frame > 63 * KIB, "{least} frames of {frame} bytes");

    // Those that need much stack of their own: verifying a signature, and a root.
    let verify = r#""ext_crypto_sr25519_verify_version_2" (func $host (param i32 i64 i32) (result i32))"#;
    let verify = deep(verify, "(drop (call $host (i32.const 0) (i64.const 0) (i32.const 0)))");
    let root = r#""ext_trie_blake2_256_root_version_2" (func $host (param i64 i32) (result i32))"#;
    let root = deep(root, "(drop (call $host (i64.const 0x100000000) (i32.const 1)))");
    for text in [verify, root] {
        let depth = depth(&Guest::new(&text, &[]).await, 64 * KIB).await;
        assert!(depth > least / 2, "{depth} with {text}");
    }
}
