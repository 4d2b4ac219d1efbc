//! Machines that run out of memory, stand still, or give no CPU time, played with cgroups: never the candidate's fault.
//!
//! The tests make cgroups, as root or in a delegated cgroup, and fail where they cannot. Those that need a worker in a
//! small cgroup run themselves again in a process that is started there.

mod common;

use common::*;
use pvf_guests::corpus::{RESULT, busy};
use pvf_shared::{
    Bytes,
    job::{ExecuteJob, ExecuteOutcome},
    params::{ExecutorParam, ExecutorParams},
    verdict::{AmbiguousReason, InvalidReason},
};
use pvf_testkit::cgroups::{Cgroup, Controller, kills_of_jobs};
use pvf_worker::{
    machine::{Caller, MemoryIsolation},
    sandbox::Mechanism,
    supervise::Prepared,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const MIB: u64 = 1 << 20;
/// Memory of the cgroup of a worker whose machine has too little: the program, its templates and a small job fit.
const SMALL: u64 = 110 * MIB;
/// Says to a test that it runs in this cgroup of its own.
const INSIDE: &str = "PVF_TEST_INSIDE";
/// CPU limit of jobs that must run into the wall clock, which is four times as long. Long enough for a busy test to
/// freeze the job before it has used it up.
const LIMIT: Duration = Duration::from_secs(2);

/// A guest that grows its memory by so many MiB, touches each page of it, and then runs for good.
fn hog(mib: u32) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 2)
            (global (export "__heap_base") i32 (i32.const 1024))
            (func (export "validate_block") (param i32 i32) (result i64)
                (local $at i32)
                (if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then (unreachable)))
                (local.set $at (i32.const 131072))
                (loop $touch
                    (i32.store (local.get $at) (i32.const 1))
                    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
                    (br_if $touch (i32.lt_u (local.get $at) (i32.const {end}))))
                (loop $forever (br $forever))
                (unreachable)))"#,
        pages = mib * 16,
        end = 131_072 + mib * 1024 * 1024,
    );
    wat::parse_str(text).unwrap()
}

/// The folder of its cgroup, in the process that a test started there.
fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs the test of this name once more, in a process in this cgroup, and fails if it fails there.
fn run_inside(cgroup: &Cgroup, test: &str) {
    let exe = std::env::current_exe().unwrap();
    let script = "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(cgroup.folder()).arg(exe).args(["--exact", test, "--nocapture"]);
    let output = command.env(INSIDE, cgroup.folder()).stdin(Stdio::null()).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    println!("{out}{err}");
    assert!(output.status.success() && out.contains("1 passed"), "inside: {}", output.status);
}

/// What runs in the small cgroup: a job that takes more memory than there is, and beside it small ones.
async fn a_hog_and_small_jobs(cgroup: &Path) {
    let [large, small] = [hog(256), busy(1_000_000_000)];
    let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(512 * 16)]);
    let (job, artifact_of_hog) = (execute_job(&large, params), artifact(&large).await);
    let (small_job, artifact_of_small) = (execute_job(&small, ExecutorParams::default()), artifact(&small).await);
    let exe = own_worker("hog");
    let runner = runner(&exe).with_slots(2, 1);
    let beside = {
        let (runner, job, file) = (runner.clone(), small_job.clone(), artifact_of_small.file().clone());
        tokio::spawn(async move { runner.execute(&job, &file, Bytes::new()).await.0 })
    };
    let pid = until(|| jobs_of(&exe).first().copied()).await;
    until(|| own_cgroup(pid).map(drop)).await;
    let bystanders = processes_named(&exe, "pvf-template");
    assert_eq!(bystanders.len(), 1);
    let why = refused(runner.execute(&job, artifact_of_hog.file(), Bytes::new()).await.0);
    assert!(why.contains("for lack of memory"), "{why}");
    assert_eq!(kills_of_jobs(cgroup), 1, "the kernel counts the kill in the cgroup of the job");
    assert_eq!(valid(beside.await.unwrap()), Bytes::from_static(RESULT));
    assert!(processes_named(&exe, "pvf-template").contains(&bystanders[0]), "the template of the small job was killed");
    drop(runner);
    until(|| processes_of(&exe).is_empty().then_some(())).await;
    fs::remove_file(exe).unwrap();
}

/// The memory cgroup of its own that a job was moved into.
fn own_cgroup(pid: i32) -> Option<String> {
    let own = format!("/pvf-{}-", std::process::id());
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    lines.lines().find(|line| line.contains(&own) && line.contains("/job-")).map(str::to_owned)
}

const HOG: &str = "a_job_that_needs_more_memory_than_the_machine_has_is_killed_alone_and_is_internal";

#[tokio::test]
async fn a_job_that_needs_more_memory_than_the_machine_has_is_killed_alone_and_is_internal() {
    if let Some(cgroup) = inside() {
        return a_hog_and_small_jobs(&cgroup).await;
    }
    let cgroup = Cgroup::new(Controller::Memory, "hog");
    cgroup.limit_memory(SMALL);
    run_inside(&cgroup, HOG);
}

#[tokio::test]
async fn a_job_that_gets_around_its_memory_limits_is_killed_at_those_of_its_cgroup_and_is_ambiguous() {
    let memory = MemoryIsolation::of_this_process(Caller::Embedded);
    assert!(
        matches!(memory, MemoryIsolation::OwnCgroups { .. }),
        "this test needs memory cgroups for jobs (as root; version 2: delegated, and memory enabled below): {memory}"
    );
    let mut report = sandbox().clone();
    for finding in report.findings.iter_mut().filter(|finding| finding.mechanism == Mechanism::Limits) {
        finding.missing = Some("a test".into());
    }
    let runner = runner_with(&hostile(), report);
    let artifact = artifact(&hostile_guest("touches_memory")).await;
    let small = [ExecutorParam::MaxMemoryPages(1), ExecutorParam::StackNativeMax(MIB as u32)];
    let job = ExecuteJob { pov_bomb_limit: 1024, ..execute_job(b"", ExecutorParams(small.to_vec())) };
    let outcome = runner.execute(&job, artifact.file(), Bytes::new()).await.0;
    let ExecuteOutcome::Ambiguous(AmbiguousReason::JobDeath(how)) = outcome else { panic!("{outcome:?}") };
    assert!(how.starts_with("signal 9, for more memory"), "{how}");
}

/// A job of a worker, and its process.
struct Running {
    outcome: tokio::task::JoinHandle<ExecuteOutcome>,
    pid: i32,
}

/// Starts a job in a process of this executable, and waits until it has a memory cgroup of its own: from then on only
/// the test moves it.
async fn start(exe: &Path, iterations: u64, cpu_limit: Duration) -> Running {
    let code = busy(iterations);
    let job = ExecuteJob { cpu_limit, ..execute_job(&code, ExecutorParams::default()) };
    let (artifact, runner) = (artifact(&code).await, runner(exe));
    let outcome = tokio::spawn(async move { runner.execute(&job, artifact.file(), Bytes::new()).await.0 });
    let pid = until(|| jobs_of(exe).first().copied()).await;
    until(|| own_cgroup(pid).map(drop)).await;
    Running { outcome, pid }
}

/// Whether a process has ended, or is about to when it is thawed.
fn is_killed(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigPnd:")?.trim(), 16).ok());
    has_ended(pid) || pending.is_some_and(|signals| signals & (1 << (libc::SIGKILL - 1)) != 0)
}

#[tokio::test]
async fn a_job_that_is_frozen_beyond_its_wall_clock_limit_is_internal() {
    let freezer = Cgroup::new(Controller::Freezer, "long");
    let exe = own_worker("frozen-long");
    let job = start(&exe, u64::MAX, LIMIT).await;
    freezer.add(job.pid);
    freezer.freeze();
    until(|| is_killed(job.pid).then_some(())).await;
    freezer.thaw();
    let outcome = job.outcome.await.unwrap();
    assert!(is_starved(&outcome, LIMIT), "{outcome:?}");
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_job_that_is_frozen_for_a_while_is_valid() {
    let freezer = Cgroup::new(Controller::Freezer, "short");
    let exe = own_worker("frozen-short");
    let job = start(&exe, 1_000_000_000, AMPLE).await;
    freezer.add(job.pid);
    freezer.freeze();
    assert!(!has_ended(job.pid) && !job.outcome.is_finished());
    freezer.thaw();
    assert_eq!(valid(job.outcome.await.unwrap()), Bytes::from_static(RESULT));
    fs::remove_file(exe).unwrap();
}

#[tokio::test]
async fn a_job_whose_cgroup_gets_too_little_cpu_time_is_internal() {
    let cpu = Cgroup::new(Controller::Cpu, "quota");
    let (folder, own) = (tempfile::tempdir().unwrap(), own_worker("quota"));
    // With version 1 the job stays in it when it gets a memory cgroup.
    let script = cpu.executable(&own, folder.path());
    cpu.limit_cpu(5);
    let code = busy(u64::MAX);
    let job = ExecuteJob { cpu_limit: LIMIT, ..execute_job(&code, ExecutorParams::default()) };
    let (artifact, runner) = (artifact(&code).await, runner(&script));
    let outcome = tokio::spawn(async move { runner.execute(&job, artifact.file(), Bytes::new()).await.0 });
    let pid = until(|| jobs_of(&own).first().copied()).await;
    until(|| own_cgroup(pid).map(drop)).await;
    cpu.add(pid);
    let outcome = outcome.await.unwrap();
    assert!(is_starved(&outcome, LIMIT), "{outcome:?}");
    until(|| processes_of(&own).is_empty().then_some(())).await;
    fs::remove_file(own).unwrap();
}

/// The trap is all that is kept of it: its frames would take several times the memory of the stack.
#[tokio::test]
async fn a_guest_that_uses_up_a_large_native_stack_takes_little_more_memory() {
    const STACK: u64 = 1024 * MIB;
    let text = r#"(module
        (memory (export "memory") 1)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func $down (param i32) (result i32)
            (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
        (func (export "validate_block") (param i32 i32) (result i64)
            (drop (call $down (i32.const 0)))
            (i64.const 0)))"#;
    let code = wat::parse_str(text).unwrap();
    let params = ExecutorParams(vec![
        ExecutorParam::MaxMemoryPages(1),
        ExecutorParam::StackNativeMax(STACK as u32),
        ExecutorParam::StackLogicalMax(u32::MAX),
    ]);
    let prepared = worker().prepare(&prepare_job(&code, params.clone()), code.clone().into()).await.0;
    let Prepared::Artifact(artifact) = prepared else { panic!("{prepared:?}") };
    let file = TestArtifact::new(&artifact);
    let (outcome, usage) = worker().execute(&execute_job(&code, params), file.file(), Bytes::new()).await;
    let ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(why, "wasm trap: call stack exhausted");
    let used = usage.max_rss_kib * 1024;
    assert!(used > STACK && used < STACK + STACK / 2, "{used} bytes");
}
