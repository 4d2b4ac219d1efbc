//! What real job processes leave for people: the guest's log, and where it trapped. No outcome depends on it.

mod common;

use common::{AMPLE, TestArtifact, execute_job, is_starved, prepare_job, worker};
use pvf_guests::corpus::logs_and_traps;
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome, JobUsage},
    params::{ExecutorParam, ExecutorParams},
    record::{MAX_FRAMES, MAX_LOG},
    verdict::{AmbiguousReason, InvalidReason},
};
use pvf_worker::supervise::{JobTrace, Prepared, SlotGrant};
use std::time::Duration;

const LOG: &str = r#"(import "env" "ext_logging_log_version_1" (func $log (param i32 i64 i64)))"#;
/// Logs the message at 64 of so many bytes, with the target `t` at 8.
fn log(level: u32, len: u64) -> String {
    let message = 64 | len << 32;
    format!("(call $log (i32.const {level}) (i64.const 0x100000008) (i64.const {message}))")
}

/// A guest with three pages that runs `body`; twelve zeros are a valid result.
fn guest(items: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {LOG} (memory (export "memory") 3) (global (export "__heap_base") i32 (i32.const 131072))
            (data (i32.const 8) "t") (data (i32.const 64) "message\n\1b[31m") {items}
            (func (export "validate_block") (param i32 i32) (result i64) {body} (i64.const 0xc00010000)))"#
    );
    wat::parse_str(text).unwrap()
}

async fn run(code: &[u8], params: &[ExecutorParam], cpu_limit: Duration) -> (ExecuteOutcome, JobUsage, JobTrace) {
    let params = ExecutorParams(params.to_vec());
    let (prepared, _) = worker().prepare(&prepare_job(code, params.clone()), Bytes::copy_from_slice(code)).await;
    let Prepared::Artifact(compiled) = prepared else { panic!("{prepared:?}") };
    let artifact = TestArtifact::new(&compiled);
    let job = ExecuteJob { cpu_limit, ..execute_job(code, params) };
    let grant = SlotGrant::immediate().0;
    worker().execute_with_grant(&job, artifact.file(), Bytes::from_static(b"block"), grant).await
}

fn reason(outcome: &ExecuteOutcome) -> &str {
    let ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) = outcome else { panic!("{outcome:?}") };
    why
}

fn functions(trace: &JobTrace) -> Vec<u32> {
    trace.backtrace.frames.iter().map(|frame| frame.function).collect()
}

#[tokio::test]
async fn log_and_frames_of_a_trap() {
    let (outcome, _, trace) = run(&logs_and_traps(), &[], AMPLE).await;
    assert_eq!(reason(&outcome), "wasm trap: wasm `unreachable` instruction executed");
    assert_eq!(trace.log, "[runtime] the block is bad\n");
    // Function 0 is the imported one, 1 traps, 2 is `validate_block`; the instrumentation has put another one around
    // it.
    assert_eq!((functions(&trace), trace.backtrace.total), (vec![1, 2, 3], 3));
}

#[tokio::test]
async fn errors_are_logged_and_other_levels_are_not() {
    let body: String = (0..=4).map(|level| log(level, 7)).collect();
    let (outcome, _, trace) = run(&guest("", &body), &[], AMPLE).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
    assert_eq!((trace.log.as_str(), trace.backtrace.total), ("[t] message\n", 0));
}

#[tokio::test]
async fn the_log_of_a_job_that_was_killed_is_there() {
    let body = log(0, 7) + "(loop $again (br $again))";
    let limit = Duration::from_millis(500);
    let (outcome, _, trace) = run(&guest("", &body), &[], limit).await;
    let timed_out = outcome == ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: 500 });
    assert!(timed_out || is_starved(&outcome, limit), "{outcome:?}");
    assert_eq!((trace.log.as_str(), trace.backtrace.frames.len()), ("[t] message\n", 0));
}

#[tokio::test]
async fn a_flood_of_messages_is_cut_and_changes_nothing() {
    // 1,000 messages of 64 KiB.
    let body = format!(
        "(local $n i32) (loop $again {} (local.set $n (i32.add (local.get $n) (i32.const 1)))
             (br_if $again (i32.lt_u (local.get $n) (i32.const 1000))))",
        log(0, 65_536)
    );
    let (outcome, usage, trace) = run(&guest("", &body), &[], AMPLE).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
    assert!((MAX_LOG - 4..=MAX_LOG).contains(&trace.log.len()), "{} bytes", trace.log.len());
    assert_eq!(usage.memory_pages, Some(3));
}

/// A guest that calls itself until the stack limit ends it.
fn recursing() -> Vec<u8> {
    guest("(func $down (call $down))", "(call $down)")
}

#[tokio::test]
async fn the_frames_of_a_deep_stack_are_cut() {
    for values in [65_536, 131_072] {
        let (outcome, usage, trace) = run(&recursing(), &[ExecutorParam::StackLogicalMax(values)], AMPLE).await;
        assert_eq!(reason(&outcome), "wasm trap: wasm `unreachable` instruction executed");
        assert_eq!(functions(&trace), [1; MAX_FRAMES]);
        let frames = trace.backtrace.total;
        assert!(frames > values / 8 && frames <= values / 2 + 3, "{frames} frames");
        println!("{values} values: {frames} frames, {usage:?}");
    }
    // Above, nothing is recorded: the outcome is the same.
    let (outcome, _, trace) = run(&recursing(), &[ExecutorParam::StackLogicalMax(131_073)], AMPLE).await;
    assert_eq!(reason(&outcome), "wasm trap: wasm `unreachable` instruction executed");
    assert_eq!(trace.backtrace.total, 0);
}

#[tokio::test]
async fn a_trap_of_the_start_function_has_no_frames_in_its_reason() {
    let (outcome, _, trace) = run(&guest("(func $start unreachable) (start $start)", ""), &[], AMPLE).await;
    let ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(why)) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(why, "cannot instantiate: wasm trap: wasm `unreachable` instruction executed");
    assert_eq!(trace, JobTrace::default());
}
