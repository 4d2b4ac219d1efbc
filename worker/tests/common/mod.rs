//! Runners, jobs and misbehaving processes for the worker's tests. Processes and waiting come from `pvf-testkit`; this
//! module re-exports them, so that a test has one place to import from.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

pub use pvf_testkit::{
    processes::{children, has_ended, jobs_of, name_of, parent, processes_named, processes_of, signal, threads_of},
    until_blocking,
};

pub use pvf_worker::wasm::Compiled;

use pvf_shared::{
    Bytes,
    blob::BlobRef,
    candidate::CandidateContext,
    ids::{EngineId, StorageRoot},
    job::{ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParam, ExecutorParams},
    store::seal::content_hash,
    verdict::{AmbiguousReason, InternalError},
};
use pvf_testkit::fixtures;
use pvf_worker::{
    sandbox::{LandlockAbi, Report},
    supervise::{ArtifactFile, JobRunner, Prepared, probe_sandbox_up_to},
    wasm::{CpuBaseline, engine_id},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    panic::Location,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// Time limit of jobs that must not reach it, on the slowest machine.
pub const AMPLE: Duration = Duration::from_secs(60);

/// The executable under test.
pub const WORKER: &str = env!("CARGO_BIN_EXE_pvf-execute-worker");

/// The sandbox mechanisms of this machine, probed once.
pub fn sandbox() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| {
        let runner = JobRunner::new(Some(WORKER.into()), CpuBaseline::of_this_machine());
        runner.unwrap().sandbox().clone()
    })
}

/// The same with landlock held to this ABI, as on an older kernel.
pub fn sandbox_up_to(abi: LandlockAbi) -> Report {
    probe_sandbox_up_to(abi, Some(WORKER.into())).unwrap()
}

/// A runner whose jobs use the mechanisms that this report calls available.
pub fn runner_with(exe: &Path, sandbox: Report) -> JobRunner {
    JobRunner::with_sandbox(Some(exe.to_owned()), CpuBaseline::of_this_machine(), sandbox).unwrap()
}

/// A runner with the sandbox of this machine.
pub fn runner(exe: &Path) -> JobRunner {
    runner_with(exe, sandbox().clone())
}

/// A runner without a sandbox: only the supervisor limits its jobs.
pub fn unlocked(exe: &Path) -> JobRunner {
    runner_with(exe, Report::none("a test"))
}

/// A runner of the worker executable.
pub fn worker() -> JobRunner {
    runner(Path::new(WORKER))
}

/// A worker executable that only this test uses, so that its processes are told from those of other tests.
pub fn own_worker(name: &str) -> PathBuf {
    own_copy_of(Path::new(WORKER), name)
}

/// The same for another executable.
pub fn own_copy_of(exe: &Path, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pvf-execute-worker-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    fs::hard_link(exe, &path).unwrap();
    path
}

/// A program that violates the protocol of jobs. All of them are written before any is started: a file that a child,
/// forked meanwhile, holds open for writing cannot be executed.
pub fn bad_job(name: &str) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [
            ("silent", "exit 0"),
            ("rubbish", "echo rubbish"),
            ("longer_than_it_says", r"printf '\377\377\377\377x'"),
            ("odd_status", "echo words of the job >&2; exit 3"),
            ("floods", "exec yes"),
            ("killed", "kill -9 $$"),
            ("sleeps", "exec sleep 1000"),
            ("leaves_a_child", "sleep 600 & echo $! >&2; exit 3"),
            ("closes_its_pipes", "exec sleep 1000 >&- 2>&-"),
            ("chatters", "i=0; while [ $i -lt 3000 ]; do echo noise noise noise noise >&2; i=$((i+1)); done; echo last >&2; exit 3"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        folder
    });
    folder.path().join(name)
}

fn engine() -> EngineId {
    engine_id(CpuBaseline::of_this_machine()).unwrap()
}

/// A preparation of this code with an ample time limit.
pub fn prepare_job(code: &[u8], params: ExecutorParams) -> PrepareJob {
    PrepareJob { cpu_limit: AMPLE, ..fixtures::prepare_job(code, params, engine()) }
}

/// An execution of this code with an ample time limit, at relay block 1.
pub fn execute_job(code: &[u8], params: ExecutorParams) -> ExecuteJob {
    ExecuteJob {
        cpu_limit: AMPLE,
        context: CandidateContext {
            relay_parent_number: 1,
            relay_parent_storage_root: StorageRoot([0; 32]),
            ..fixtures::context(&b"head"[..])
        },
        ..fixtures::execute_job(code, params, engine())
    }
}

/// What a preparation of this code gives.
pub async fn compiled(code: &[u8]) -> Compiled {
    let (prepared, _) =
        worker().prepare(&prepare_job(code, ExecutorParams::default()), Bytes::copy_from_slice(code)).await;
    let Prepared::Artifact(compiled) = prepared else { panic!("{prepared:?}") };
    compiled
}

/// A file with the compiled code.
pub async fn artifact(code: &[u8]) -> TestArtifact {
    TestArtifact::new(&compiled(code).await)
}

/// A file with compiled code, which is deleted when this is dropped.
pub struct TestArtifact {
    file: ArtifactFile,
    _temporary: tempfile::NamedTempFile,
}

impl TestArtifact {
    pub fn new(compiled: &Compiled) -> Self {
        let temporary = tempfile::NamedTempFile::new().unwrap();
        fs::write(temporary.path(), &compiled.code).unwrap();
        let file = ArtifactFile::new(temporary.path(), content_hash(&compiled.code), compiled.has_start);
        Self { file, _temporary: temporary }
    }

    /// As a runner takes it.
    pub fn file(&self) -> &ArtifactFile {
        &self.file
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// An artifact that does not exist.
pub fn nowhere() -> ArtifactFile {
    ArtifactFile::new(Path::new("/nowhere"), content_hash(b""), false)
}

/// An artifact without any content.
pub fn empty() -> ArtifactFile {
    ArtifactFile::new(Path::new("/dev/null"), content_hash(b""), false)
}

/// Prepares and executes this code with default parameters.
pub async fn execute(code: &[u8], limit: Duration) -> ExecuteOutcome {
    let artifact = artifact(code).await;
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(code, ExecutorParams::default()) };
    worker().execute(&job, artifact.file(), Bytes::from_static(b"block")).await.0
}

/// The worker executable with hostile host functions.
pub fn hostile() -> PathBuf {
    let exe = Path::new(WORKER).parent().unwrap().join("examples/hostile-worker");
    assert!(exe.is_file(), "{} does not exist: `cargo build --workspace --examples` first", exe.display());
    exe
}

/// A guest that calls this host function of the hostile worker.
pub fn hostile_guest(function: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "env" "ext_hostile_{function}_version_1" (func $function))
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) (call $function) (unreachable)))"#
    );
    wat::parse_str(text).unwrap()
}

/// The outcome of an execution that calls this hostile host function.
pub async fn execute_hostile(runner: &JobRunner, function: &str, limit: Duration) -> ExecuteOutcome {
    let artifact = artifact(&hostile_guest(function)).await;
    let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1)]);
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(b"", params) };
    runner.execute(&job, artifact.file(), Bytes::new()).await.0
}

/// The outcome of an execution whose template is this program.
pub async fn template_bad(name: &str) -> ExecuteOutcome {
    let job = execute_job(b"", ExecutorParams::default());
    unlocked(&bad_job(name)).execute(&job, &empty(), Bytes::new()).await.0
}

/// The outcome of a preparation whose process is this program.
pub async fn prepare_bad(name: &str, limit: Duration) -> Prepared {
    let job = PrepareJob { cpu_limit: limit, ..prepare_job(b"", ExecutorParams::default()) };
    unlocked(&bad_job(name)).prepare(&job, Bytes::new()).await.0
}

/// Polls until `look` gives a value; the failure names the caller. A test that can say what it waits for uses
/// `pvf_testkit::until`.
#[track_caller]
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let description = format!("the condition at {}", Location::caller());
    async move { pvf_testkit::until(&description, async || look()).await }
}

/// The result of a valid candidate, inline.
pub fn valid(outcome: ExecuteOutcome) -> Bytes {
    let ExecuteOutcome::Valid(BlobRef::Inline(result)) = outcome else { panic!("{outcome:?}") };
    result
}

/// What the machine refused: an infrastructure failure.
#[track_caller]
pub fn refused(outcome: ExecuteOutcome) -> String {
    let ExecuteOutcome::Internal(InternalError::Kernel(why)) = outcome else { panic!("{outcome:?}") };
    why
}

/// The message of a job error.
pub fn job_error(outcome: ExecuteOutcome) -> String {
    let ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why)) = outcome else { panic!("{outcome:?}") };
    why
}

/// Whether this is the text of a wall clock that ran out before the CPU time.
pub fn starved_text(text: &str, limit: Duration) -> bool {
    text.contains(&format!("within its limit of {} ms", limit.as_millis()))
}

/// Whether the wall clock ran out before the CPU time: an infrastructure failure.
pub fn is_starved(outcome: &ExecuteOutcome, limit: Duration) -> bool {
    matches!(outcome, ExecuteOutcome::Internal(error) if starved_text(&error.to_string(), limit))
}
