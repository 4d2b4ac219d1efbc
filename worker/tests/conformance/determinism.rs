//! Artifacts have the same bytes, and executions the same results, whatever the number of threads, the process, and the
//! run.

use crate::{
    common::{Compiled, TestArtifact, WORKER, execute_job, prepare_job, runner, sandbox, worker},
    guest::{ANSWER, Guest, HEAP, Random, SHORTEST, answering, head_data},
};
use pvf_guests::{
    adder::{ADDER, Block, Head},
    corpus::{large, nan_bits},
};
use pvf_shared::{
    Bytes,
    job::{ExecuteOutcome, PrepareJob},
    params::{ExecutorParam, ExecutorParams, HostFunctionSet},
};
use pvf_worker::{
    supervise::{JobRunner, Prepared},
    wasm::CpuBaseline,
};
use std::{collections::HashSet, path::Path};

async fn prepare(code: &[u8], threads: u32, precheck: bool, params: &[ExecutorParam]) -> Compiled {
    let params = ExecutorParams(params.to_vec());
    let job = PrepareJob { threads, precheck, ..prepare_job(code, params) };
    match worker().prepare(&job, Bytes::copy_from_slice(code)).await.0 {
        Prepared::Artifact(artifact) => artifact,
        other => panic!("{other:?}"),
    }
}

/// A module with many kinds of items: imports, tables, distant data segments, exports, floats, host functions.
fn varied() -> Vec<u8> {
    let mut random = Random(11);
    let imports: String = (0..40)
        .map(|n| match n % 2 {
            0 => format!(r#"(import "env" "missing_{n}" (func (param i32 i64) (result i32)))"#),
            _ => format!(r#"(import "env" "ext_misc_print_num_version_1" (func $print{n} (param i64)))"#),
        })
        .collect();
    let functions: String = (0..60)
        .map(|n| {
            let (a, b) = (random.next() as i64, f64::from(random.next() as u32));
            format!(
                r#"(func $f{n} (export "f{n}") (param i64 f64) (result f64)
                    (if (i64.eqz (local.get 0)) (then (call $print1 (i64.const {a}))))
                    (f64.div (f64.add (f64.convert_i64_s (local.get 0)) (f64.const {b})) (local.get 1)))"#
            )
        })
        .collect();
    let names: String = (0..60).map(|n| format!(" $f{n}")).collect();
    let items = format!(
        r#"{imports} (table 60 funcref) (elem (i32.const 0){names}) (data (i32.const 50000) "far") {functions}
           (global (mut i64) (i64.const 5)) (global f32 (f32.const nan:0x1234))"#
    );
    let body = "(drop (call $f0 (i64.const 0) (f64.const 2)))";
    wat::parse_str(answering(2, HEAP, SHORTEST, &items, body)).unwrap()
}

#[tokio::test]
async fn an_artifact_has_the_same_bytes_whatever_prepares_it() {
    for (name, code) in [("adder", ADDER.to_vec()), ("floats", nan_bits()), ("varied", varied()), ("large", large(60))]
    {
        let first = prepare(&code, 1, false, &[]).await;
        let same = |case: &str, other: Compiled| {
            // Not the bytes themselves: a failure would print all of them.
            let differs = first.code.iter().zip(&other.code).position(|(a, b)| a != b);
            assert_eq!(
                (first.code.len(), None),
                (other.code.len(), differs),
                "{name}, {case}: lengths and first difference"
            );
        };
        same("another process", prepare(&code, 1, false, &[]).await);
        for threads in [2, 3, 8] {
            same(&format!("{threads} threads"), prepare(&code, threads, false, &[]).await);
        }
        same("a precheck on 8 threads", prepare(&code, 8, true, &[]).await);
        let packed = sp_maybe_compressed_blob::compress_weakly(&code, code.len()).unwrap();
        same("compressed", prepare(&packed, 1, false, &[]).await);
        let without_effect = [
            ExecutorParam::MaxMemoryPages(64),
            ExecutorParam::StackNativeMax(64 << 20),
            ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163),
            ExecutorParam::PrecheckingMaxMemory(1 << 30),
        ];
        same("parameters without effect", prepare(&code, 2, false, &without_effect).await);
        for with_effect in [ExecutorParam::StackLogicalMax(65_537), ExecutorParam::WasmExtBulkMemory] {
            assert_ne!(first, prepare(&code, 1, false, &[with_effect]).await, "{name}, {with_effect:?}");
        }
    }
}

/// A guest that mixes its parameters, with integer and float operations that no compiler can shorten.
fn mixing() -> String {
    let body = format!(
        "(local $n i32) (local $x i64) (local $y f64)
         (local.set $x (i64.const 88172645463325252))
         (local.set $y (f64.const 1.25))
         (loop $next
             (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
             (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
             (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
             (local.set $x (i64.add (local.get $x) (i64.load8_u
                 (i32.add (local.get $at) (i32.rem_u (local.get $n) (local.get $len))))))
             (local.set $x (i64.add (local.get $x) (i64.mul
                 (i64.add (i64.clz (local.get $x)) (i64.ctz (local.get $x)))
                 (i64.rotl (i64.popcnt (local.get $x)) (local.get $x)))))
             (local.set $y (f64.add (f64.mul (local.get $y) (f64.const 1.0000001))
                 (f64.nearest (f64.convert_i64_u (i64.shr_u (local.get $x) (i64.const 40))))))
             (local.set $y (f64.sqrt (f64.abs (local.get $y))))
             (local.set $y (f64.div (local.get $y) (f64.promote_f32 (f32.demote_f64 (local.get $y)))))
             (local.set $x (i64.xor (local.get $x) (i64.reinterpret_f64 (local.get $y))))
             (i64.store offset={ANSWER} (i32.and (i32.shl (local.get $n) (i32.const 3)) (i32.const 16376))
                 (local.get $x))
             (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if $next (i32.lt_u (local.get $n) (i32.const 20000))))"
    );
    answering(2, HEAP, SHORTEST, "", &body)
}

#[tokio::test]
async fn a_result_is_the_same_on_every_run_and_on_every_processor() {
    let mut answers = HashSet::new();
    for baseline in [CpuBaseline::V1, CpuBaseline::V2, CpuBaseline::V3] {
        if !baseline.runs_here() {
            continue;
        }
        let runner = || JobRunner::with_sandbox(Some(WORKER.into()), baseline, sandbox().clone()).unwrap();
        let guest = Guest::on(runner(), &mixing(), &[]).await;
        for _ in 0..10 {
            answers.insert(head_data(guest.with_head(b"a head").await).unwrap());
        }
        // In another template.
        let again = Guest { runner: runner(), ..guest };
        answers.insert(head_data(again.with_head(b"a head").await).unwrap());
    }
    assert_eq!(answers.len(), 1, "different answers");
}

#[tokio::test]
async fn a_verdict_is_the_same_on_every_run_including_its_text() {
    let artifact = prepare(ADDER, 2, false, &[]).await;
    let file = TestArtifact::new(&artifact);
    let (head, good) = (Head::genesis(), Block { state: 0, increment: 5 });
    let bad = Block { state: 1, ..good };
    for (case, block) in [("good", good.encode()), ("bad", bad.encode()), ("empty", vec![])] {
        let mut outcomes: Vec<ExecuteOutcome> = Vec::new();
        for n in 0..8 {
            // One execution in a new template, or two in the same one.
            let runner = runner(Path::new(WORKER));
            for _ in 0..=n % 2 {
                let mut job = execute_job(ADDER, ExecutorParams::default());
                job.context.parent_head = head.encode().into();
                outcomes.push(runner.execute(&job, file.file(), block.clone().into()).await.0);
            }
        }
        assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{case}: {outcomes:?}");
    }
}
