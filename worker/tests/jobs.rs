//! Real job processes and what the supervisor makes of them: verdicts, limits, and processes that behave as no job
//! should. Which guest gets which verdict is in `corpus.rs`.

mod common;

use common::{
    AMPLE, artifact, bad_job, execute, execute_bad, execute_job, own_worker, prepare_bad, prepare_job, processes_of,
    runner, until, worker,
};
use pvf_guests::{
    adder::{ADDER, Block, Head, result},
    corpus::{NAN_BITS, RESULT, busy, echo_like, large, nan_bits, returns},
};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, ValidationParamsExtension},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParam, ExecutorParams},
    verdict::{AmbiguousReason, InvalidReason, PrepareError},
};
use pvf_worker::supervise::Prepared;
use std::{fs, path::Path, time::Duration};

const SHORT: Duration = Duration::from_millis(200);
const MIB: u64 = 1024 * 1024;

fn valid(outcome: ExecuteOutcome) -> Bytes {
    let ExecuteOutcome::Valid(BlobRef::Inline(result)) = outcome else { panic!("{outcome:?}") };
    result
}

fn job_error(outcome: ExecuteOutcome) -> String {
    let ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why)) = outcome else { panic!("{outcome:?}") };
    why
}

fn is_timeout(outcome: &ExecuteOutcome) -> bool {
    matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. }))
}

#[tokio::test]
async fn a_chain_of_good_blocks_and_a_bad_one() {
    let artifact = artifact(ADDER).await;
    let run = async |head: &Head, block: &Block| {
        let mut job = execute_job(ADDER, ExecutorParams::default());
        job.context.parent_head = head.encode().into();
        worker().execute(&job, artifact.path(), block.encode().into()).await
    };
    let (mut head, mut state) = (Head::genesis(), 0);
    for increment in [5, 512, u64::MAX] {
        let block = Block { state, increment };
        let (outcome, usage) = run(&head, &block).await;
        head = head.next(&block);
        state = block.next_state();
        assert_eq!(valid(outcome), result(&head.encode(), 1));
        assert!(usage.cpu > Duration::ZERO && usage.wall > Duration::ZERO && usage.max_rss_kib > 0, "{usage:?}");
    }
    let (outcome, _) = run(&head, &Block { state: state + 1, increment: 1 }).await;
    assert!(matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::WorkerReported(_))), "{outcome:?}");
}

#[tokio::test]
async fn nans_are_canonical() {
    let result = valid(execute(&nan_bits(), AMPLE).await);
    assert_eq!(result[1..25], NAN_BITS);
}

#[tokio::test]
async fn bytes_after_the_result_are_dropped() {
    let result = valid(execute(&returns(&[RESULT, b"and more"].concat()), AMPLE).await);
    assert_eq!(result, RESULT);
}

#[tokio::test]
async fn a_huge_result_comes_back_whole() {
    let head = vec![0xab; 20 * MIB as usize];
    let result = result(&head, 7);
    assert_eq!(valid(execute(&returns(&result), AMPLE).await), result);
}

#[tokio::test]
async fn block_data_is_decompressed_only_in_its_raw_form_and_only_up_to_the_limit() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let pov = sp_maybe_compressed_blob::compress_weakly(&[7; 1000], 1000).unwrap();
    let run = async |form: BlockDataForm, limit: u32, data: &[u8]| {
        let mut job = ExecuteJob { pov_bomb_limit: limit, ..execute_job(&code, ExecutorParams::default()) };
        job.context.block_data_form = form;
        worker().execute(&job, artifact.path(), Bytes::copy_from_slice(data)).await.0
    };
    let refused = ExecuteOutcome::Invalid(InvalidReason::PovDecompression);
    valid(run(BlockDataForm::MaybeCompressed, 1000, &pov).await);
    assert_eq!(run(BlockDataForm::MaybeCompressed, 999, &pov).await, refused);
    assert_eq!(run(BlockDataForm::MaybeCompressed, 1000, &pov[..pov.len() / 2]).await, refused);
    valid(run(BlockDataForm::MaybeCompressed, 0, b"not compressed").await);
    // Whatever it begins with, it is what the guest is to see.
    valid(run(BlockDataForm::Decompressed, 0, &pov[..pov.len() / 2]).await);
}

/// A guest that traps unless its parameters are this long.
fn wants_length(len: usize) -> Vec<u8> {
    let data: String = RESULT.iter().map(|b| format!("\\{b:02x}")).collect();
    let text = format!(
        r#"(module (memory (export "memory") 1) (global (export "__heap_base") i32 (i32.const 4096))
            (data (i32.const 1024) "{data}")
            (func (export "validate_block") (param i32 i32) (result i64)
                (if (i32.ne (local.get 1) (i32.const {len})) (then unreachable))
                (i64.const {})))"#,
        1024 | (RESULT.len() as u64) << 32,
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn the_extension_is_appended_only_where_there_is_one() {
    let plain = 1 + 4 + 1 + 5 + 4 + 32;
    for (extension, len) in [
        (None, plain),
        (Some(ValidationParamsExtension::V3 { relay_parent: [1; 32], scheduling_parent: [2; 32] }), plain + 65),
    ] {
        let code = wants_length(len);
        let artifact = artifact(&code).await;
        let mut job = execute_job(&code, ExecutorParams::default());
        job.context.extension = extension;
        valid(worker().execute(&job, artifact.path(), Bytes::from_static(b"block")).await.0);
    }
}

#[tokio::test]
async fn parameters_over_the_largest_block_of_the_allocator_are_the_candidates_fault() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let pov = Bytes::from(vec![0; 33 * MIB as usize]);
    let (outcome, _) = worker().execute(&job, artifact.path(), pov).await;
    assert!(matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::WorkerReported(_))), "{outcome:?}");
}

#[tokio::test]
async fn executions_and_preparations_end_on_time_out() {
    assert!(is_timeout(&execute(&busy(u64::MAX), SHORT).await));
    let code = large(3000);
    let job = PrepareJob { cpu_limit: Duration::from_millis(20), ..prepare_job(&code, ExecutorParams::default()) };
    let (prepared, usage) = worker().prepare(&job, code.into()).await;
    assert_eq!(prepared, Prepared::Failed(PrepareError::TimedOut { limit_ms: 20 }));
    assert!(usage.cpu > Duration::from_millis(20), "{usage:?}");
}

#[tokio::test]
async fn the_wall_clock_is_the_backstop() {
    assert!(is_timeout(&execute_bad("sleeps", Duration::from_millis(50)).await));
    assert!(is_timeout(&execute_bad("closes_its_pipes", Duration::from_millis(50)).await));
    let prepared = prepare_bad("sleeps", Duration::from_millis(50)).await;
    assert_eq!(prepared, Prepared::Failed(PrepareError::TimedOut { limit_ms: 200 }));
}

#[tokio::test]
async fn two_executions_run_in_parallel() {
    let exe = own_worker("parallel");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let runner = runner(&exe);
    let both = async {
        tokio::join!(
            runner.execute(&job, artifact.path(), Bytes::new()),
            runner.execute(&job, artifact.path(), Bytes::new())
        )
    };
    tokio::select! {
        ended = both => panic!("neither ends: {ended:?}"),
        () = until(|| (processes_of(&exe).len() == 2).then_some(())) => {}
    }
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_preparation_has_the_memory_that_it_may_have() {
    let code = large(300);
    let prepare = async |limit: u64| {
        let params = ExecutorParams(vec![ExecutorParam::PrecheckingMaxMemory(limit)]);
        let job = PrepareJob { precheck: true, ..prepare_job(&code, params) };
        worker().prepare(&job, code.clone().into()).await.0
    };
    assert_eq!(prepare(MIB).await, Prepared::Failed(PrepareError::OutOfMemory));
    assert!(matches!(prepare(1024 * MIB).await, Prepared::Artifact(_)));
}

#[tokio::test]
async fn threads_do_not_change_the_artifact() {
    let code = large(100);
    let mut artifacts = Vec::new();
    for threads in [0, 1, 3] {
        let job = PrepareJob { threads, ..prepare_job(&code, ExecutorParams::default()) };
        artifacts.push(worker().prepare(&job, code.clone().into()).await.0);
    }
    assert!(matches!(artifacts[0], Prepared::Artifact(_)));
    assert!(artifacts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn an_execution_has_two_threads() {
    let exe = own_worker("threads");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = ExecuteJob { cpu_limit: Duration::from_secs(1), ..execute_job(&code, ExecutorParams::default()) };
    let mut most = 0;
    let runner = runner(&exe);
    let run = runner.execute(&job, artifact.path(), Bytes::new());
    let count = async {
        loop {
            for pid in processes_of(&exe) {
                most = most.max(fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        (outcome, _) = run => assert!(is_timeout(&outcome)),
        () = count => {}
    }
    assert_eq!(most, 2, "main, and the guest with its large stack");
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn killed_jobs() {
    let exe = own_worker("killed");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let kill = async || {
        let pid = until(|| processes_of(&exe).first().copied()).await;
        // SAFETY: the process is the job that this test started.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    };
    let runner = runner(&exe);
    let ((outcome, _), ()) = tokio::join!(runner.execute(&job, artifact.path(), Bytes::new()), kill());
    assert_eq!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into())));

    let code = large(20_000);
    let job = prepare_job(&code, ExecutorParams::default());
    let ((prepared, _), ()) = tokio::join!(runner.prepare(&job, code.into()), kill());
    assert_eq!(prepared, Prepared::Failed(PrepareError::JobDied("signal 9".into())));
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_stopped_job_is_a_time_out() {
    let exe = own_worker("stopped");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = ExecuteJob { cpu_limit: Duration::from_secs(2), ..execute_job(&code, ExecutorParams::default()) };
    let stop = async {
        let pid = until(|| processes_of(&exe).first().copied()).await;
        // SAFETY: the process is the job that this test started.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    };
    let runner = runner(&exe);
    let ((outcome, usage), ()) = tokio::join!(runner.execute(&job, artifact.path(), Bytes::new()), stop);
    assert_eq!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: 8000 }), "{usage:?}");
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn odd_ends_of_an_execution() {
    job_error(execute_bad("silent", AMPLE).await);
    job_error(execute_bad("rubbish", AMPLE).await);
    job_error(execute_bad("longer_than_it_says", AMPLE).await);
    let why = job_error(execute_bad("odd_status", AMPLE).await);
    assert!(why.contains("words of the job") && why.contains('3'), "{why}");
    let why = job_error(execute_bad("chatters", AMPLE).await);
    assert!(why.starts_with("odd exit status (3)"), "{why}");
    let killed = ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into()));
    assert_eq!(execute_bad("killed", AMPLE).await, killed);
}

#[tokio::test]
async fn odd_ends_of_a_preparation_are_never_kept() {
    for name in ["silent", "rubbish", "longer_than_it_says", "odd_status", "killed"] {
        match prepare_bad(name, AMPLE).await {
            Prepared::Failed(error) => assert!(!error.is_deterministic(), "{name}: {error}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1)]);
    let job = execute_job(b"", params);
    let (outcome, _) = runner(&bad_job("floods")).execute(&job, Path::new("/nowhere"), Bytes::new()).await;
    assert!(job_error(outcome).contains("larger"));
}

#[tokio::test]
async fn a_job_starts_with_nothing() {
    let why = job_error(execute_bad("descriptors", AMPLE).await);
    // `ls` lists its own folder as 3; PWD and the like are the shell's.
    let words: Vec<&str> = why.split_whitespace().skip(4).collect();
    assert_eq!(words[..5], ["0", "1", "2", "3", "/"], "{why}");
    let foreign = words[5..].iter().filter(|w| !["PWD=", "OLDPWD=", "_=", "SHLVL=", "RAYON_NUM_THREADS="].iter().any(|ok| w.starts_with(ok)));
    assert_eq!(foreign.count(), 0, "{why}");
}

#[tokio::test]
async fn a_process_that_outlives_the_job_holds_nothing_up() {
    let why = job_error(execute_bad("leaves_a_child", AMPLE).await);
    let pid: i32 = why.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{why}"));
    // SAFETY: the process is the one that this test's script left behind.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "it was still there");
}

#[tokio::test]
async fn an_executable_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let exe = folder.path().join("gone");
    fs::copy(bad_job("silent"), &exe).unwrap();
    let runner = runner(&exe);
    fs::remove_file(exe).unwrap();
    let job = execute_job(b"", ExecutorParams::default());
    job_error(runner.execute(&job, Path::new("/nowhere"), Bytes::new()).await.0);
    let job = prepare_job(b"", ExecutorParams::default());
    assert!(matches!(runner.prepare(&job, Bytes::new()).await.0, Prepared::Internal(_)));
}

#[tokio::test]
async fn an_artifact_that_is_none_is_construction() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"no artifact").unwrap();
    let job = execute_job(b"", ExecutorParams::default());
    let (outcome, _) = worker().execute(&job, file.path(), Bytes::new()).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_artifact_fits_every_parameter_that_is_not_in_its_prep_hash_and_no_other() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let run = async |params: Vec<ExecutorParam>| {
        let job = execute_job(&code, ExecutorParams(params));
        worker().execute(&job, artifact.path(), Bytes::from_static(b"block")).await.0
    };
    let outcome = run(vec![ExecutorParam::StackNativeMax(64 << 20), ExecutorParam::MaxMemoryPages(100)]).await;
    valid(outcome);
    let outcome = run(vec![ExecutorParam::WasmExtBulkMemory]).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
}
