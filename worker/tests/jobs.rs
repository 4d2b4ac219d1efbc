//! Outcomes of real job processes: verdicts, limits, and processes that do not follow the protocol. `corpus.rs` has the
//! verdict on each guest of the corpus.

mod common;

use common::{
    AMPLE, Compiled, TestArtifact, artifact, bad_job, empty, execute, execute_hostile, execute_job, hostile,
    is_starved, job_error, jobs_of, own_worker, prepare_bad, prepare_job, refused, runner, starved_text, unlocked,
    until, valid, worker,
};
use pvf_guests::{
    adder::{ADDER, Block, Head, result},
    corpus::{NAN_BITS, RESULT, busy, echo_like, large, nan_bits, returns, wants_length},
};
use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, ValidationParamsExtension},
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParam, ExecutorParams, HostFunctionSet},
    verdict::{AmbiguousReason, InvalidReason, PrepareError},
};
use pvf_worker::supervise::Prepared;
use std::{fs, path::Path, time::Duration};

const SHORT: Duration = Duration::from_millis(200);
const MIB: u64 = 1024 * 1024;

fn is_timeout(outcome: &ExecuteOutcome) -> bool {
    matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::HardTimeout { .. }))
}

#[tokio::test]
async fn a_chain_of_valid_blocks_and_an_invalid_one() {
    let artifact = artifact(ADDER).await;
    let run = async |head: &Head, block: &Block| {
        let mut job = execute_job(ADDER, ExecutorParams::default());
        job.context.parent_head = head.encode().into();
        worker().execute(&job, artifact.file(), block.encode().into()).await
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
async fn nans_are_canonicalised() {
    let result = valid(execute(&nan_bits(), AMPLE).await);
    assert_eq!(result[1..25], NAN_BITS);
}

#[tokio::test]
async fn bytes_after_the_result_are_ignored() {
    let result = valid(execute(&returns(&[RESULT, b"and more"].concat()), AMPLE).await);
    assert_eq!(result, RESULT);
}

#[tokio::test]
async fn a_large_result_is_returned_completely() {
    let head = vec![0xab; 20 * MIB as usize];
    let result = result(&head, 7);
    assert_eq!(valid(execute(&returns(&result), AMPLE).await), result);
}

#[tokio::test]
async fn block_data_is_decompressed_unless_it_was_and_only_up_to_the_limit() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let pov = sp_maybe_compressed_blob::compress_weakly(&[7; 1000], 1000).unwrap();
    let run = async |form: BlockDataForm, limit: u32, data: &[u8]| {
        let mut job = ExecuteJob { pov_bomb_limit: limit, ..execute_job(&code, ExecutorParams::default()) };
        job.context.block_data_form = form;
        worker().execute(&job, artifact.file(), Bytes::copy_from_slice(data)).await.0
    };
    let refused = ExecuteOutcome::Invalid(InvalidReason::PovDecompression);
    valid(run(BlockDataForm::MaybeCompressed, 1000, &pov).await);
    assert_eq!(run(BlockDataForm::MaybeCompressed, 999, &pov).await, refused);
    assert_eq!(run(BlockDataForm::MaybeCompressed, 1000, &pov[..pov.len() / 2]).await, refused);
    valid(run(BlockDataForm::MaybeCompressed, 0, b"not compressed").await);
    // The guest gets it unchanged, although it starts like compressed data.
    valid(run(BlockDataForm::Decompressed, 0, &pov[..pov.len() / 2]).await);
}

/// The guest traps unless its parameters have the expected length.
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
        valid(worker().execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0);
    }
}

#[tokio::test]
async fn parameters_larger_than_the_allocators_largest_block_are_invalid() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let pov = Bytes::from(vec![0; 33 * MIB as usize]);
    let (outcome, _) = worker().execute(&job, artifact.file(), pov).await;
    assert!(matches!(outcome, ExecuteOutcome::Invalid(InvalidReason::WorkerReported(_))), "{outcome:?}");
}

#[tokio::test]
async fn executions_and_preparations_time_out() {
    // On a busy machine the wall clock, four times the CPU limit, may run out first.
    let code = busy(u64::MAX);
    let endless = artifact(&code).await;
    let job = ExecuteJob { cpu_limit: SHORT, ..execute_job(&code, ExecutorParams::default()) };
    let (outcome, usage) = worker().execute(&job, endless.file(), Bytes::new()).await;
    let timeout = ExecuteOutcome::Invalid(InvalidReason::HardTimeout { limit_ms: SHORT.as_millis() as u64 });
    assert!(outcome == timeout || is_starved(&outcome, SHORT), "{outcome:?}, {usage:?}");

    let code = large(3000);
    let limit = Duration::from_millis(20);
    let job = PrepareJob { cpu_limit: limit, ..prepare_job(&code, ExecutorParams::default()) };
    let (prepared, usage) = worker().prepare(&job, code.into()).await;
    let in_time = match &prepared {
        Prepared::Failed(PrepareError::TimedOut { limit_ms }) => *limit_ms == 20,
        Prepared::Internal(error) => starved_text(&error.to_string(), limit),
        Prepared::Artifact(_) | Prepared::Failed(_) => false,
    };
    assert!(in_time, "{prepared:?}, {usage:?}");
}

#[tokio::test]
async fn a_process_without_cpu_time_ends_by_the_wall_clock_as_internal() {
    let runner = unlocked(&hostile());
    for action in ["sleeps", "stops", "closes_everything"] {
        let outcome = execute_hostile(&runner, action, Duration::from_millis(50)).await;
        assert!(is_starved(&outcome, Duration::from_millis(50)), "{action}: {outcome:?}");
    }
    let limit = Duration::from_millis(50);
    let prepared = prepare_bad("sleeps", limit).await;
    let Prepared::Internal(error) = prepared else { panic!("{prepared:?}") };
    assert!(starved_text(&error.to_string(), limit), "{error}");
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
            runner.execute(&job, artifact.file(), Bytes::new()),
            runner.execute(&job, artifact.file(), Bytes::new())
        )
    };
    tokio::select! {
        ended = both => panic!("both are endless: {ended:?}"),
        () = until(|| (jobs_of(&exe).len() == 2).then_some(())) => {}
    }
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_preparation_is_held_to_its_memory_limit() {
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
async fn an_execution_has_one_thread() {
    let exe = own_worker("threads");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let limit = Duration::from_secs(1);
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(&code, ExecutorParams::default()) };
    let mut most = 0;
    let runner = runner(&exe);
    let run = runner.execute(&job, artifact.file(), Bytes::new());
    let count = async {
        loop {
            for pid in jobs_of(&exe) {
                most = most.max(fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count));
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        (outcome, usage) = run => {
            assert!(is_timeout(&outcome) || is_starved(&outcome, limit), "{outcome:?}, {usage:?}");
        }
        () = count => {}
    }
    assert_eq!(most, 1);
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn the_death_of_a_job_is_reported_with_its_signal() {
    let exe = own_worker("killed");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let kill = async || {
        let pid = until(|| jobs_of(&exe).first().copied()).await;
        // SAFETY: a plain system call; the process is the job of this test.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    };
    let runner = runner(&exe);
    let ((outcome, _), ()) = tokio::join!(runner.execute(&job, artifact.file(), Bytes::new()), kill());
    assert_eq!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into())));

    let code = large(20_000);
    let job = prepare_job(&code, ExecutorParams::default());
    let ((prepared, _), ()) = tokio::join!(runner.prepare(&job, code.into()), kill());
    assert_eq!(prepared, Prepared::Failed(PrepareError::JobDied("signal 9".into())));
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_stopped_job_is_an_infrastructure_failure() {
    let exe = own_worker("stopped");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let limit = Duration::from_secs(2);
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(&code, ExecutorParams::default()) };
    let stop = async {
        let pid = until(|| jobs_of(&exe).first().copied()).await;
        // SAFETY: a plain system call; the process is the job of this test.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    };
    let runner = runner(&exe);
    let ((outcome, usage), ()) = tokio::join!(runner.execute(&job, artifact.file(), Bytes::new()), stop);
    assert!(is_starved(&outcome, limit), "{outcome:?} {usage:?}");
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn an_execution_that_breaks_the_protocol_is_a_job_error() {
    let runner = unlocked(&hostile());
    let run = async |action| execute_hostile(&runner, action, AMPLE).await;
    for action in ["silent", "rubbish", "longer_than_it_says", "half_a_reply"] {
        job_error(run(action).await);
    }
    let why = job_error(run("odd_status").await);
    assert!(why.contains("words of the job") && why.contains('3'), "{why}");
    let why = job_error(run("chatters").await);
    assert!(why.starts_with("odd exit status (3)"), "{why}");
    assert!(job_error(run("floods").await).contains("larger"));
    let killed = ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath("signal 9".into()));
    assert_eq!(run("killed").await, killed);
}

/// A host function panics on what the guest passes to it, or because it prints and stderr is full, which is our limit.
/// The text of the panic does not matter.
#[tokio::test]
async fn a_panic_in_a_host_function_is_invalid_unless_stderr_is_full() {
    for runner in [runner(&hostile()), unlocked(&hostile())] {
        for (action, text) in [
            ("panics_as_if_a_print_had_failed", "failed printing to stderr"),
            // The report of the panic fills stderr, but stderr was not full when the panic began.
            ("panics_with_a_large_message", "large message"),
            ("prints_and_panics", "after printing"),
        ] {
            let outcome = execute_hostile(&runner, action, AMPLE).await;
            let ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) = outcome else {
                panic!("{action}: {outcome:?}")
            };
            assert!(why.contains("panic in a host function") && why.contains(text), "{action}: {why}");
        }
        for action in ["chatters_without_end", "fills_stderr_and_panics"] {
            let why = job_error(execute_hostile(&runner, action, AMPLE).await);
            assert!(why.starts_with("stderr is full"), "{action}: {why}");
        }
    }
}

#[tokio::test]
async fn a_preparation_that_breaks_the_protocol_is_not_a_deterministic_failure() {
    for name in ["silent", "rubbish", "longer_than_it_says", "odd_status", "killed"] {
        match prepare_bad(name, AMPLE).await {
            Prepared::Failed(error) => assert!(!error.is_deterministic(), "{name}: {error}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_job_inherits_no_descriptor_directory_or_environment() {
    let marker = tempfile::NamedTempFile::new().unwrap();
    // SAFETY: a plain system call. Every child inherits the copy, unlike the descriptors of std.
    let inherited = unsafe { libc::dup(std::os::fd::AsRawFd::as_raw_fd(marker.as_file())) };
    let exe = own_worker("nothing");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let runner = runner(&exe);
    let look = || {
        let proc = Path::new("/proc").join(jobs_of(&exe).first()?.to_string());
        let files = fs::read_dir(proc.join("fd")).ok()?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        let files: Vec<_> = files.collect();
        Some((files, fs::read_link(proc.join("cwd")).ok()?, fs::read(proc.join("environ")).ok()?))
    };
    let (files, cwd, environment) = tokio::select! {
        ended = runner.execute(&job, artifact.file(), Bytes::new()) => panic!("the job is endless: {ended:?}"),
        seen = until(look) => seen,
    };
    assert!(!files.iter().any(|file| file == marker.path()), "{files:?}");
    assert_eq!(cwd, Path::new("/"));
    assert_eq!(String::from_utf8_lossy(&environment).trim_end_matches('\0'), "");
    // SAFETY: a plain system call on a descriptor of this test.
    unsafe { libc::close(inherited) };
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_process_that_outlives_its_job_does_not_delay_the_outcome() {
    let why = job_error(execute_hostile(&unlocked(&hostile()), "leaves_a_child", AMPLE).await);
    let pid: i32 = why.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{why}"));
    // SAFETY: a plain system call; the process is the one that the job of this test left behind.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "the process has outlived the job");
}

#[tokio::test]
async fn an_executable_that_was_removed_is_not_the_fault_of_code_or_candidate() {
    let folder = tempfile::tempdir().unwrap();
    let exe = folder.path().join("gone");
    fs::copy(bad_job("silent"), &exe).unwrap();
    let runner = runner(&exe);
    fs::remove_file(exe).unwrap();
    let job = execute_job(b"", ExecutorParams::default());
    let why = refused(runner.execute(&job, &empty(), Bytes::new()).await.0);
    assert!(why.starts_with("no process for the job"), "{why}");
    let job = prepare_job(b"", ExecutorParams::default());
    assert!(matches!(runner.prepare(&job, Bytes::new()).await.0, Prepared::Internal(_)));
}

#[tokio::test]
async fn a_malformed_artifact_is_a_construction_failure() {
    let file = TestArtifact::new(&Compiled { code: Bytes::from_static(b"no artifact"), has_start: false });
    let job = execute_job(b"", ExecutorParams::default());
    let (outcome, _) = worker().execute(&job, file.file(), Bytes::new()).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_artifact_works_with_all_parameters_of_the_same_prep_hash_only() {
    let code = echo_like();
    let artifact = artifact(&code).await;
    let run = async |params: Vec<ExecutorParam>| {
        let job = execute_job(&code, ExecutorParams(params));
        worker().execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0
    };
    let outcome = run(vec![ExecutorParam::StackNativeMax(64 << 20), ExecutorParam::MaxMemoryPages(100)]).await;
    valid(outcome);
    let outcome = run(vec![ExecutorParam::WasmExtBulkMemory]).await;
    assert!(matches!(outcome, ExecuteOutcome::Ambiguous(AmbiguousReason::RuntimeConstruction(_))), "{outcome:?}");
}

/// The import has another signature than the host function, so linking fails if the host function is there.
#[tokio::test]
async fn functions_of_rfc_163_are_available_only_with_their_parameter() {
    let text = r#"(module
        (import "env" "ext_host_calls_bls12_381_final_exponentiation_version_1" (func))
        (memory (export "memory") 1))"#;
    let code = wat::parse_str(text).unwrap();
    let precheck = async |params: Vec<ExecutorParam>| {
        let job = PrepareJob { precheck: true, ..prepare_job(&code, ExecutorParams(params)) };
        worker().prepare(&job, code.clone().into()).await.0
    };
    assert!(matches!(precheck(vec![]).await, Prepared::Artifact(_)));
    let enabled = precheck(vec![ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163)]).await;
    assert!(matches!(enabled, Prepared::Failed(PrepareError::RuntimeConstruction(_))), "{enabled:?}");
}
