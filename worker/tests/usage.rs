//! What real job processes are reported to have used.

mod common;

use common::{AMPLE, artifact, execute_job, is_starved, prepare_job, worker};
use pvf_guests::corpus::{busy, echo_like, large};
use pvf_shared::{
    Bytes,
    candidate::BlockDataForm,
    job::{ExecuteJob, ExecuteOutcome, JobUsage, PrepareJob},
    params::{EXTRA_MEMORY_PAGES, ExecutorParam, ExecutorParams},
    store::seal::content_hash,
    verdict::{AmbiguousReason, InvalidReason, PrepareError},
    wire::CompileProgress,
};
use pvf_worker::{
    supervise::{ArtifactFile, CompileMeter, Prepared},
    wasm::functions,
};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// A guest with three pages that runs `body`; twelve zeros are a valid result.
fn guest(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 3) (global (export "__heap_base") i32 (i32.const 65536))
            (func (export "validate_block") (param i32 i32) (result i64) {body} (i64.const 0xc00000000)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Executes this code, with so many pages of memory.
async fn execute(code: &[u8], max_pages: u32) -> (ExecuteOutcome, JobUsage) {
    let artifact = artifact(code).await;
    let job = execute_job(code, ExecutorParams(vec![ExecutorParam::MaxMemoryPages(max_pages)]));
    worker().execute(&job, artifact.file(), Bytes::from_static(b"block")).await
}

#[tokio::test]
async fn guest_pages_are_those_after_the_call_also_if_it_failed() {
    let grow = "(drop (memory.grow (i32.const 31)))";
    for (body, valid) in [("", true), (grow, true), ("(unreachable)", false), (&format!("{grow} (unreachable)"), false)]
    {
        let (outcome, usage) = execute(&guest(body), 100).await;
        match (&outcome, valid) {
            (ExecuteOutcome::Valid(_), true) | (ExecuteOutcome::Invalid(InvalidReason::WorkerReported(_)), false) => {}
            _ => panic!("{body}: {outcome:?}"),
        }
        let pages = if body.contains("grow") { 34 } else { 3 };
        assert_eq!(
            (usage.memory_pages, usage.memory_pages_limit),
            (Some(pages), Some(100 + EXTRA_MEMORY_PAGES)),
            "{body}"
        );
        assert!(usage.cpu > Duration::ZERO && usage.max_rss_kib > 0, "{usage:?}");
        assert_eq!(usage.cpu_limit, AMPLE);
        assert_eq!((usage.heap, usage.heap_limit), (None, None));
    }
}

#[tokio::test]
async fn a_guest_that_grows_as_far_as_it_can_is_at_its_limit() {
    let all = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))";
    let (outcome, usage) = execute(&guest(all), 10).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
    assert_eq!((usage.memory_pages, usage.memory_pages_limit), (Some(42), Some(42)));
}

/// Instantiation runs its start function, so no instance is made ahead of time for it.
#[tokio::test]
async fn a_guest_with_a_start_function_has_its_pages_too() {
    let text = r#"(module (memory (export "memory") 3) (global (export "__heap_base") i32 (i32.const 65536))
        (func $start (drop (memory.grow (i32.const 4)))) (start $start)
        (func (export "validate_block") (param i32 i32) (result i64) (i64.const 0xc00000000)))"#;
    let (outcome, usage) = execute(&wat::parse_str(text).unwrap(), 100).await;
    assert!(matches!(outcome, ExecuteOutcome::Valid(_)), "{outcome:?}");
    assert_eq!(usage.memory_pages, Some(7));
}

#[tokio::test]
async fn a_guest_over_its_cpu_limit_has_used_all_of_it() {
    let code = busy(u64::MAX);
    let endless = artifact(&code).await;
    let limit = Duration::from_millis(200);
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(&code, ExecutorParams::default()) };
    let (outcome, usage) = worker().execute(&job, endless.file(), Bytes::from_static(b"block")).await;
    assert_eq!((usage.cpu_limit, usage.memory_pages_limit), (limit, Some(2048 + EXTRA_MEMORY_PAGES)));
    // It did not reply, so nothing is known of its memory; the PoV the worker knows.
    assert_eq!((usage.memory_pages, usage.pov, usage.pov_decompressed), (None, Some(6), Some(5)));
    // On a busy machine the wall clock, four times the CPU limit, may run out first.
    if is_starved(&outcome, limit) {
        assert!(usage.cpu <= limit, "{usage:?}");
    } else {
        assert_eq!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: 200 }));
        assert!(usage.cpu > limit, "{usage:?}");
    }
}

#[tokio::test]
async fn a_pov_has_its_size_as_submitted_and_decompressed() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let compressed = sp_maybe_compressed_blob::compress_weakly(&[7; 100_000], 100_000).unwrap();
    assert!((20..0x3fff).contains(&compressed.len()), "{} bytes", compressed.len());
    // The compact prefix of its SCALE encoding has one byte for less than 64, and two for less than 16,384.
    let submitted = compressed.len() as u64 + if compressed.len() < 64 { 1 } else { 2 };
    let run = async |form: BlockDataForm, limit: u32, data: &[u8]| {
        let mut job = ExecuteJob { pov_bomb_limit: limit, ..execute_job(&code, ExecutorParams::default()) };
        job.context.block_data_form = form;
        let (_, usage) = worker().execute(&job, artifact.file(), Bytes::copy_from_slice(data)).await;
        (usage.pov, usage.pov_decompressed, usage.pov_limit)
    };
    use BlockDataForm::{Decompressed, MaybeCompressed};
    assert_eq!(run(MaybeCompressed, 100_000, &compressed).await, (Some(submitted), Some(100_000), Some(100_000)));
    // Over the limit: how large it would be is not known.
    assert_eq!(run(MaybeCompressed, 99_999, &compressed).await, (Some(submitted), None, Some(99_999)));
    // What is not compressed has no limit here.
    assert_eq!(run(MaybeCompressed, 3, b"plain").await, (Some(6), Some(5), None));
    let len = compressed.len() as u64;
    assert_eq!(run(Decompressed, 3, &compressed).await, (None, Some(len), None));
}

#[tokio::test]
async fn a_preparation_has_what_it_allocated_under_a_limit() {
    let code = large(300);
    let prepare = async |params: Vec<ExecutorParam>| {
        let job = PrepareJob { precheck: true, ..prepare_job(&code, ExecutorParams(params)) };
        worker().prepare(&job, code.clone().into()).await
    };
    let (prepared, usage) = prepare(vec![ExecutorParam::PrecheckingMaxMemory(1024 * MIB)]).await;
    assert!(matches!(prepared, Prepared::Artifact(_)), "{prepared:?}");
    assert_eq!((usage.cpu_limit, usage.heap_limit), (AMPLE, Some(1024 * MIB)));
    let heap = usage.heap.unwrap();
    assert!((code.len() as u64..1024 * MIB).contains(&heap), "{heap} bytes");
    assert_eq!((usage.memory_pages_limit, usage.pov, usage.pov_limit), (None, None, None));
    // With so much it succeeds; with less it does not.
    let (prepared, usage) = prepare(vec![ExecutorParam::PrecheckingMaxMemory(heap / 2)]).await;
    assert_eq!(prepared, Prepared::Failed(PrepareError::OutOfMemory));
    assert_eq!((usage.heap, usage.heap_limit), (None, Some(heap / 2)));
    assert!(usage.cpu > Duration::ZERO && usage.max_rss_kib > 0, "{usage:?}");
    let (_, usage) = prepare(vec![]).await;
    assert_eq!((usage.heap, usage.heap_limit), (None, None));
}

#[tokio::test]
async fn a_job_that_got_no_instance_has_its_limits() {
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), b"no artifact").unwrap();
    let file = ArtifactFile::new(text.path(), content_hash(b"no artifact"), false);
    let job = execute_job(b"", ExecutorParams::default());
    let (outcome, usage) = worker().execute(&job, &file, Bytes::new()).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
    let expected = JobUsage { pov: Some(1), pov_decompressed: Some(0), pov_limit: None, ..job.limits() };
    assert_eq!(usage, expected);
}

#[tokio::test]
async fn every_function_of_a_code_is_counted_when_it_is_compiled() {
    let code = large(60);
    for threads in [1, 2] {
        let job = PrepareJob { threads, ..prepare_job(&code, ExecutorParams::default()) };
        let meter = CompileMeter::default();
        assert_eq!(meter.read(), None, "no process has begun");
        let (prepared, _) = worker().prepare_with_meter(&job, code.clone().into(), meter.clone()).await;
        assert!(matches!(prepared, Prepared::Artifact(_)), "{prepared:?}");
        let CompileProgress { compiled, functions: all } = meter.read().expect("the compiler has begun");
        // The stack limiter adds some for the exports and the table.
        assert!(all >= functions(&code) && functions(&code) > 60, "{all} functions");
        assert_eq!(compiled, all, "with {threads} threads");
    }
}

#[tokio::test]
async fn nothing_is_counted_for_code_that_is_not_compiled() {
    let meter = CompileMeter::default();
    let job = prepare_job(b"no wasm", ExecutorParams::default());
    let (prepared, _) = worker().prepare_with_meter(&job, Bytes::from_static(b"no wasm"), meter.clone()).await;
    assert!(matches!(prepared, Prepared::Failed(PrepareError::Prevalidation(_))), "{prepared:?}");
    assert_eq!(meter.read(), None);
}
