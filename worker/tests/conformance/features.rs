//! Every wasm proposal beyond the MVP is rejected at the right stage, or accepted and usable. The parameter for bulk
//! memory makes no difference, because the parser rejects bulk memory before the compiler sees it.

use crate::{
    common::{TestArtifact, execute_job, prepare_job, worker},
    guest::head_data,
};
use pvf_shared::{
    Bytes,
    job::PrepareJob,
    params::{ExecutorParam, ExecutorParams},
    verdict::PrepareError,
};
use pvf_worker::supervise::Prepared;

/// The last stage that a guest reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Rejected by the parser.
    Prevalidation,
    /// Rejected by the instrumentation or the compiler.
    Preparation,
    /// Cannot be linked; found by a precheck, and by an execution.
    Linking,
    /// Executes.
    Runs,
}
use Stage::{Linking, Preparation, Prevalidation, Runs};

/// A guest with these items and a `validate_block` that runs `body`, then returns an empty result.
fn guest(items: &str, body: &str) -> Vec<u8> {
    module(&format!(
        r#"(module {items}
            (memory (export "memory") 2)
            (global (export "__heap_base") i32 (i32.const 65536))
            (func (export "validate_block") (param i32 i32) (result i64) {body} (i64.const 0xc00000400)))"#
    ))
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// As [`guest`], with this definition of its memories.
fn with_memory(memory: &str, body: &str) -> Vec<u8> {
    module(&format!(
        r#"(module {memory}
            (global (export "__heap_base") i32 (i32.const 65536))
            (func (export "validate_block") (param i32 i32) (result i64) {body} (i64.const 0xc00000400)))"#
    ))
}

/// Inserts a section before the section with the id `before`.
fn with_section(mut code: Vec<u8>, before: u8, section: &[u8]) -> Vec<u8> {
    let mut at = 8;
    while code[at] != before {
        assert!(code[at + 1] < 0x80, "sections of these guests are short");
        at += 2 + usize::from(code[at + 1]);
    }
    code.splice(at..at, section.iter().copied());
    code
}

type Case = (&'static str, Stage, Vec<u8>);

/// The proposals of wasm 2: sign extension, saturating truncation, bulk memory, reference types, multi-value, mutable
/// globals.
fn second_version() -> Vec<Case> {
    let item = |name, stage, items: &str| (name, stage, guest(items, ""));
    let code = |name, stage, body: &str| (name, stage, guest("", body));
    let mut cases = Vec::new();
    for (ty, from) in [("i32", "8"), ("i32", "16"), ("i64", "8"), ("i64", "16"), ("i64", "32")] {
        cases.push((
            "sign extension",
            Prevalidation,
            guest("", &format!("(drop ({ty}.extend{from}_s ({ty}.const 1)))")),
        ));
    }
    for to in ["i32", "i64"] {
        for from in ["f32", "f64"] {
            for sign in ["s", "u"] {
                let body = format!("(drop ({to}.trunc_sat_{from}_{sign} ({from}.const 1)))");
                cases.push(("saturating float to int", Prevalidation, guest("", &body)));
            }
        }
    }
    let table = "(table 4 funcref) (func $f)";
    let three = "(i32.const 0) (i32.const 0) (i32.const 0)";
    cases.extend([
        code("bulk memory: memory.copy", Prevalidation, &format!("(memory.copy {three})")),
        code("bulk memory: memory.fill", Prevalidation, &format!("(memory.fill {three})")),
        ("bulk memory: memory.init", Prevalidation, guest(r#"(data $d "x")"#, &format!("(memory.init $d {three})"))),
        ("bulk memory: data.drop", Prevalidation, guest(r#"(data $d "x")"#, "(data.drop $d)")),
        item("bulk memory: a passive data segment", Prevalidation, r#"(data "x")"#),
        item("bulk memory: a passive element segment", Prevalidation, &format!("{table} (elem func $f)")),
        item("bulk memory: a declared element segment", Prevalidation, &format!("{table} (elem declare func $f)")),
        ("bulk memory: table.copy", Prevalidation, guest(table, &format!("(table.copy {three})"))),
        (
            "bulk memory: table.init",
            Prevalidation,
            guest(&format!("{table} (elem $e func $f)"), &format!("(table.init $e {three})")),
        ),
        ("bulk memory: elem.drop", Prevalidation, guest(&format!("{table} (elem $e func $f)"), "(elem.drop $e)")),
        // The parser accepts this section, and the stack limiter moves it to a wrong position.
        ("bulk memory: a data count section", Preparation, with_section(guest("", ""), 10, &[12, 1, 0])),
        item("reference types: a local", Prevalidation, "(func (local funcref))"),
        item("reference types: an external reference", Prevalidation, "(func (param externref))"),
        item("reference types: a global", Prevalidation, "(global funcref (ref.null func))"),
        item("reference types: a table of external references", Prevalidation, "(table 1 externref)"),
        item("reference types: two tables", Preparation, "(table 1 funcref) (table 1 funcref)"),
        code("reference types: ref.null", Prevalidation, "(drop (ref.null func))"),
        code("reference types: ref.is_null", Prevalidation, "(drop (ref.is_null (ref.null func)))"),
        ("reference types: ref.func", Prevalidation, guest("(func $f) (elem declare func $f)", "(drop (ref.func $f))")),
        code(
            "reference types: a typed select",
            Prevalidation,
            "(drop (select (result i32) (i32.const 1) (i32.const 2) (i32.const 0)))",
        ),
        ("reference types: table.get", Prevalidation, guest(table, "(drop (table.get 0 (i32.const 0)))")),
        ("reference types: table.set", Prevalidation, guest(table, "(table.set 0 (i32.const 0) (ref.null func))")),
        ("reference types: table.size", Prevalidation, guest(table, "(drop (table.size 0))")),
        (
            "reference types: table.grow",
            Prevalidation,
            guest(table, "(drop (table.grow 0 (ref.null func) (i32.const 1)))"),
        ),
        (
            "reference types: table.fill",
            Prevalidation,
            guest(table, "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))"),
        ),
        (
            "reference types: a call through the second table",
            Prevalidation,
            guest(
                "(type $t (func)) (table 1 funcref) (table $u 1 funcref)",
                "(call_indirect $u (type $t) (i32.const 0))",
            ),
        ),
        item("multi-value: two results", Prevalidation, "(func (result i32 i32) (i32.const 1) (i32.const 2))"),
        code("multi-value: a block with a parameter", Prevalidation, "(i32.const 1) (block (param i32) drop)"),
        code(
            "multi-value: a block with two results",
            Prevalidation,
            "(block (result i32 i32) (i32.const 1) (i32.const 2)) drop drop",
        ),
        code("multi-value: a loop with a parameter", Prevalidation, "(i32.const 1) (loop (param i32) drop)"),
        item("mutable globals: an export", Runs, r#"(global (export "g") (mut i64) (i64.const 1))"#),
        // The host defines no globals. It compiles because the stack limiter takes it for its own counter.
        (
            "mutable globals: an import",
            Linking,
            module(
                r#"(module (import "env" "g" (global (mut i32))) (memory (export "memory") 1)
                    (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0)))"#,
            ),
        ),
    ]);
    cases
}

/// Later proposals.
fn later() -> Vec<Case> {
    let item = |name, stage, items: &str| (name, stage, guest(items, ""));
    let code = |name, stage, body: &str| (name, stage, guest("", body));
    let heap = r#"(memory (export "memory") 2)"#;
    let vector = "(v128.const i64x2 1 2)";
    vec![
        code("SIMD: a constant", Prevalidation, &format!("(drop {vector})")),
        code("SIMD: an addition", Prevalidation, &format!("(drop (i32x4.add {vector} {vector}))")),
        code("SIMD: a load", Prevalidation, "(drop (v128.load (i32.const 0)))"),
        item("SIMD: a local", Prevalidation, "(func (local v128))"),
        item("SIMD: a result", Prevalidation, "(func (result v128) unreachable)"),
        code(
            "relaxed SIMD: a multiply-add",
            Prevalidation,
            &format!("(drop (f32x4.relaxed_madd {vector} {vector} {vector}))"),
        ),
        code("relaxed SIMD: a swizzle", Prevalidation, &format!("(drop (i8x16.relaxed_swizzle {vector} {vector}))")),
        ("threads: a shared memory", Prevalidation, with_memory(r#"(memory (export "memory") 2 4 shared)"#, "")),
        code("threads: an atomic load", Prevalidation, "(drop (i32.atomic.load (i32.const 0)))"),
        code("threads: an atomic addition", Prevalidation, "(drop (i64.atomic.rmw.add (i32.const 0) (i64.const 1)))"),
        code("threads: a fence", Prevalidation, "(atomic.fence)"),
        code("threads: a notification", Prevalidation, "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))"),
        item("tail calls: return_call", Prevalidation, "(func $f) (func (return_call $f))"),
        item(
            "tail calls: return_call_indirect",
            Prevalidation,
            "(type $t (func)) (table 1 funcref) (func (return_call_indirect (type $t) (i32.const 0)))",
        ),
        ("memory64: a memory", Prevalidation, with_memory(r#"(memory (export "memory") i64 2)"#, "")),
        ("memory64: a memory with a maximum", Prevalidation, with_memory(r#"(memory (export "memory") i64 2 4)"#, "")),
        item("memory64: a table", Prevalidation, "(table i64 1 funcref)"),
        ("multi-memory: two memories", Preparation, with_memory(&format!("{heap} (memory 1)"), "")),
        (
            "multi-memory: the size of the second",
            Prevalidation,
            with_memory(&format!("{heap} (memory 1)"), "(drop (memory.size 1))"),
        ),
        (
            "multi-memory: growing the second",
            Prevalidation,
            with_memory(&format!("{heap} (memory 1)"), "(drop (memory.grow 1 (i32.const 1)))"),
        ),
        (
            "multi-memory: an imported memory and a defined one",
            Preparation,
            with_memory(&format!(r#"(import "env" "memory" (memory 1)) {heap}"#), ""),
        ),
        item("exceptions: a tag", Prevalidation, "(tag)"),
        ("exceptions: throw", Prevalidation, guest("(tag $e)", "(throw $e)")),
        code("exceptions: try_table", Prevalidation, "(block $b (try_table (catch_all $b)))"),
        item("exceptions: a reference", Prevalidation, "(func (local exnref))"),
        ("exceptions: an imported tag", Prevalidation, guest(r#"(import "env" "tag" (tag))"#, "")),
        ("exceptions: the instruction try of the first draft", Prevalidation, guest_with_code(&[0x06, 0x40, 0x0b])),
        item("garbage collection: a structure", Prevalidation, "(type (struct (field i32)))"),
        item("garbage collection: an array", Prevalidation, "(type (array i8))"),
        item("garbage collection: a recursive group", Prevalidation, "(rec (type (func)) (type (func)))"),
        item("garbage collection: a type that can have subtypes", Prevalidation, "(type (sub (func)))"),
        code("garbage collection: ref.i31", Prevalidation, "(drop (ref.i31 (i32.const 1)))"),
        item("garbage collection: a global of any", Prevalidation, "(global anyref (ref.null any))"),
        item(
            "garbage collection: a global initialised from an earlier one",
            Preparation,
            "(global $g i32 (i32.const 1)) (global i32 (global.get $g))",
        ),
        item("function references: a typed reference", Prevalidation, "(type $t (func)) (func (param (ref $t)))"),
        item(
            "function references: call_ref",
            Prevalidation,
            "(type $t (func)) (func (param (ref null $t)) (call_ref $t (local.get 0)))",
        ),
        item(
            "function references: a table with a first value",
            Prevalidation,
            "(func $f) (table 1 (ref func) (ref.func $f))",
        ),
        item("extended constants: an addition", Preparation, "(global i32 (i32.add (i32.const 1) (i32.const 2)))"),
        item("extended constants: a multiplication", Preparation, "(global i64 (i64.mul (i64.const 1) (i64.const 2)))"),
        item(
            "extended constants: the offset of a data segment",
            Preparation,
            r#"(data (offset (i32.sub (i32.const 9) (i32.const 1))) "x")"#,
        ),
        item(
            "extended constants: the offset of an element segment",
            Preparation,
            "(table 4 funcref) (func $f) (elem (offset (i32.add (i32.const 0) (i32.const 1))) func $f)",
        ),
        (
            "custom page sizes: one byte",
            Prevalidation,
            with_memory(r#"(memory (export "memory") 131072 (pagesize 1))"#, ""),
        ),
        (
            "custom page sizes: the default size",
            Prevalidation,
            with_memory(r#"(memory (export "memory") 2 (pagesize 65536))"#, ""),
        ),
        code(
            "wide arithmetic: i64.add128",
            Prevalidation,
            "(i64.add128 (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)) drop drop",
        ),
        code(
            "wide arithmetic: i64.mul_wide_u",
            Prevalidation,
            "(i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop",
        ),
        item("stack switching: a continuation", Prevalidation, "(type $t (func)) (type (cont $t))"),
        code("memory control: memory.discard", Prevalidation, "(memory.discard (i32.const 0) (i32.const 0))"),
        item("shared everything: a shared type", Prevalidation, "(type (shared (func)))"),
        ("the component model: a component", Prevalidation, module("(component)")),
        ("the component model: a module in a component", Prevalidation, module("(component (core module))")),
        ("a later version of wasm", Prevalidation, b"\0asm\x02\0\0\0".to_vec()),
        // Custom sections are ignored.
        code("branch hints", Runs, r#"local.get 0 (@metadata.code.branch_hint "\00") if nop end"#),
        ("a custom section", Runs, with_section(guest("", ""), 10, &[0, 5, 4, b't', b'o', b'o', b'l'])),
    ]
}

/// A guest whose `validate_block` begins with these bytes.
fn guest_with_code(bytes: &[u8]) -> Vec<u8> {
    let marker = [0x01; 3];
    let mut code = guest("", "(nop) (nop) (nop)");
    assert_eq!(marker.len(), bytes.len());
    let at = code.windows(3).position(|window| window == marker).unwrap();
    code[at..at + 3].copy_from_slice(bytes);
    code
}

fn stage(error: &PrepareError) -> Option<Stage> {
    match error {
        PrepareError::Prevalidation(_) => Some(Prevalidation),
        PrepareError::Preparation(_) => Some(Preparation),
        PrepareError::RuntimeConstruction(_) => Some(Linking),
        _ => None,
    }
}

/// The last stage that this code reaches, according to a preparation with an execution and according to a precheck, and
/// the outcome as text. The precheck uses three threads, the preparation one; both must return the same error.
async fn last_stage(code: &[u8], params: &ExecutorParams) -> (Option<Stage>, Option<Stage>, String) {
    let runner = worker();
    let prepare = async |precheck: bool| {
        let threads = if precheck { 3 } else { 1 };
        let job = PrepareJob { precheck, threads, ..prepare_job(code, params.clone()) };
        runner.prepare(&job, Bytes::copy_from_slice(code)).await.0
    };
    let (checked, prepared) = (prepare(true).await, prepare(false).await);
    if let (Prepared::Failed(_), Prepared::Failed(_)) = (&checked, &prepared) {
        assert_eq!(checked, prepared, "on three threads and on one");
    }
    let precheck = match checked {
        Prepared::Artifact(_) => Some(Runs),
        Prepared::Failed(error) => stage(&error),
        Prepared::Internal(_) => None,
    };
    match prepared {
        Prepared::Artifact(artifact) => {
            let file = TestArtifact::new(&artifact);
            let outcome = runner.execute(&execute_job(b"", params.clone()), file.file(), Bytes::new()).await.0;
            let text = format!("{outcome:?}");
            // A preparation does not link.
            let ends = if text.contains("RuntimeConstruction") { Linking } else { Runs };
            if ends == Runs {
                head_data(outcome).unwrap_or_else(|why| panic!("the guest runs and traps: {why}"));
            }
            (Some(ends), precheck, text)
        }
        Prepared::Failed(error) => (stage(&error), precheck, error.to_string()),
        Prepared::Internal(error) => (None, precheck, error.to_string()),
    }
}

async fn assert_stages(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for params in [vec![], vec![ExecutorParam::WasmExtBulkMemory]] {
        let params = ExecutorParams(params);
        for (name, expected, code) in &cases {
            let (prepared, prechecked, outcome) = last_stage(code, &params).await;
            if (prepared, prechecked) != (Some(*expected), Some(*expected)) {
                let seen = format!("prepared {prepared:?}, prechecked {prechecked:?}");
                wrong.push(format!("{name} ({:?}): expected {expected:?}, seen {seen}: {outcome}", params.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_proposals_of_wasm_2_end_at_their_stages() {
    assert_stages(second_version()).await;
}

#[tokio::test]
async fn later_proposals_end_at_their_stages() {
    assert_stages(later()).await;
}
