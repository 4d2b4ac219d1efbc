//! What the tests of real job processes share: jobs, runners, and the processes that they make.

#![allow(dead_code, reason = "each test file uses a part of it")]

use pvf_shared::{
    Bytes,
    candidate::{BlockDataForm, CandidateContext},
    ids::{ArtifactId, CodeHash, StorageRoot},
    job::{BlobRef, ExecuteJob, ExecuteOutcome, PrepareJob},
    params::{ExecutorParam, ExecutorParams},
    units::{DEFAULT_CODE_BOMB_LIMIT, POV_BOMB_LIMIT},
    verdict::AmbiguousReason,
};
use pvf_worker::{
    sandbox::Report,
    supervise::{JobRunner, Prepared},
    wasm::{CpuBaseline, engine_id},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// More than any of these jobs needs on the slowest machine.
pub const AMPLE: Duration = Duration::from_secs(60);

/// The executable under test.
pub const WORKER: &str = env!("CARGO_BIN_EXE_pvf-execute-worker");

/// What this machine can do to lock up jobs, found out once.
pub fn sandbox() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| {
        let runner = JobRunner::new(Some(WORKER.into()), CpuBaseline::of_this_machine());
        runner.unwrap().sandbox().clone()
    })
}

/// Jobs are locked up by what works according to this.
pub fn runner_with(exe: &Path, sandbox: Report) -> JobRunner {
    JobRunner::with_sandbox(Some(exe.to_owned()), CpuBaseline::of_this_machine(), sandbox).unwrap()
}

pub fn runner(exe: &Path) -> JobRunner {
    runner_with(exe, sandbox().clone())
}

/// Its jobs can do what they want: only the supervisor is between them and us.
pub fn unlocked(exe: &Path) -> JobRunner {
    runner_with(exe, Report::none("a test"))
}

pub fn worker() -> JobRunner {
    runner(Path::new(WORKER))
}

/// A worker executable that only this test uses, so that its processes can be told from those of others.
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

/// Programs that behave as no job should. All are written before any of them is started: a file that is open for
/// writing in a child that was forked meanwhile cannot be executed.
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

fn artifact_id(code: &[u8], params: &ExecutorParams) -> ArtifactId {
    ArtifactId {
        code_hash: CodeHash::of(code),
        prep_hash: params.prep_hash(),
        engine: engine_id(CpuBaseline::of_this_machine()).unwrap(),
    }
}

pub fn prepare_job(code: &[u8], params: ExecutorParams) -> PrepareJob {
    PrepareJob {
        artifact: artifact_id(code, &params),
        code: BlobRef::Inline(Bytes::copy_from_slice(code)),
        executor_params: params,
        cpu_limit: AMPLE,
        code_bomb_limit: DEFAULT_CODE_BOMB_LIMIT,
        precheck: false,
        threads: 1,
    }
}

pub fn execute_job(code: &[u8], params: ExecutorParams) -> ExecuteJob {
    ExecuteJob {
        artifact: artifact_id(code, &params),
        mac: None,
        context: CandidateContext {
            parent_head: Bytes::from_static(b"head"),
            relay_parent_number: 1,
            relay_parent_storage_root: StorageRoot([0; 32]),
            extension: None,
            block_data_form: BlockDataForm::MaybeCompressed,
        },
        block_data: BlobRef::Inline(Bytes::new()),
        executor_params: params,
        cpu_limit: AMPLE,
        pov_bomb_limit: POV_BOMB_LIMIT,
    }
}

/// A file with the compiled code.
pub async fn artifact(code: &[u8]) -> tempfile::NamedTempFile {
    let (prepared, _) =
        worker().prepare(&prepare_job(code, ExecutorParams::default()), Bytes::copy_from_slice(code)).await;
    let Prepared::Artifact(artifact) = prepared else { panic!("{prepared:?}") };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), artifact).unwrap();
    file
}

/// Prepares and executes with default parameters.
pub async fn execute(code: &[u8], limit: Duration) -> ExecuteOutcome {
    let artifact = artifact(code).await;
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(code, ExecutorParams::default()) };
    worker().execute(&job, artifact.path(), Bytes::from_static(b"block")).await.0
}

/// The worker executable whose host functions misbehave.
pub fn hostile() -> PathBuf {
    let exe = Path::new(WORKER).parent().unwrap().join("examples/hostile-worker");
    assert!(exe.is_file(), "{} is not there: `cargo build --workspace --examples` first", exe.display());
    exe
}

/// A guest that calls this host function of the hostile worker.
pub fn hostile_guest(deed: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "env" "ext_hostile_{deed}_version_1" (func $deed))
            (memory (export "memory") 1)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64) (call $deed) (unreachable)))"#
    );
    wat::parse_str(text).unwrap()
}

/// What the supervisor makes of an execution that does this.
pub async fn execute_hostile(runner: &JobRunner, deed: &str, limit: Duration) -> ExecuteOutcome {
    let artifact = artifact(&hostile_guest(deed)).await;
    let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(1)]);
    let job = ExecuteJob { cpu_limit: limit, ..execute_job(b"", params) };
    runner.execute(&job, artifact.path(), Bytes::new()).await.0
}

/// What the supervisor makes of this program, as a template.
pub async fn template_bad(name: &str) -> ExecuteOutcome {
    let job = execute_job(b"", ExecutorParams::default());
    unlocked(&bad_job(name)).execute(&job, Path::new("/nowhere"), Bytes::new()).await.0
}

/// What the supervisor makes of this program, as a preparation.
pub async fn prepare_bad(name: &str, limit: Duration) -> Prepared {
    let job = PrepareJob { cpu_limit: limit, ..prepare_job(b"", ExecutorParams::default()) };
    unlocked(&bad_job(name)).prepare(&job, Bytes::new()).await.0
}

/// Processes that run this executable, zombies without a parent's care included.
pub fn processes_of(exe: &Path) -> Vec<i32> {
    let name = exe.file_name().unwrap().to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|s| s.parse().ok()) else { continue };
        let first = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let first = first.split(|b| *b == 0).next().unwrap_or_default();
        if first.ends_with(name.as_bytes()) {
            found.push(pid);
        }
    }
    found
}

/// What `ps` calls a process.
pub fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// What the kernel says of a process behind its name: its state, its parent and so on. Nothing if it is not there.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Whether a process has ended, reaped or not.
pub fn has_ended(pid: i32) -> bool {
    stat(pid).is_none_or(|stat| stat[0] == "Z")
}

pub fn parent(pid: i32) -> i32 {
    stat(pid).expect("a process")[1].parse().unwrap()
}

/// Processes of this executable that do a job: neither a template nor a spare fork.
pub fn jobs_of(exe: &Path) -> Vec<i32> {
    let mut found = processes_of(exe);
    found.retain(|pid| matches!(name_of(*pid).as_str(), "pvf-prepare" | "pvf-execute"));
    found
}

/// Children of this process, zombies included.
pub fn children() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Goes on when this gives something.
pub async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(AMPLE, wait).await.expect("what is waited for never happens")
}

/// The result of a valid candidate, inline.
pub fn valid(outcome: ExecuteOutcome) -> Bytes {
    let ExecuteOutcome::Valid(BlobRef::Inline(result)) = outcome else { panic!("{outcome:?}") };
    result
}

/// What an error of the job says.
pub fn job_error(outcome: ExecuteOutcome) -> String {
    let ExecuteOutcome::Ambiguous(AmbiguousReason::JobError(why)) = outcome else { panic!("{outcome:?}") };
    why
}
