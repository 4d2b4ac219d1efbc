//! What only the machine can cause is never the candidate's fault: memory, files and processes that it refuses.

mod common;

use common::*;
use pvf_shared::{Bytes, job::ExecuteOutcome, params::ExecutorParams, verdict::InvalidReason};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// A guest that traps if its memory cannot grow by 100 MiB, which its limit allows, and else has an empty result.
fn growing_guest() -> Vec<u8> {
    let text = r#"(module
        (memory (export "memory") 2)
        (global (export "__heap_base") i32 (i32.const 1024))
        (func (export "validate_block") (param i32 i32) (result i64)
            (if (i32.eq (memory.grow (i32.const 1600)) (i32.const -1)) (then (unreachable)))
            (i64.const 0)))"#;
    wat::parse_str(text).unwrap()
}

/// A worker executable whose job processes have this limit.
fn limited_worker(folder: &Path, limit: &str) -> PathBuf {
    let exe = folder.join("limited-worker");
    fs::write(&exe, format!("#!/bin/sh\n{limit}\nexec '{WORKER}' \"$@\"\n")).unwrap();
    fs::set_permissions(&exe, fs::Permissions::from_mode(0o700)).unwrap();
    exe
}

#[tokio::test]
async fn memory_that_the_machine_refuses_is_not_refused_to_the_guest() {
    let code = growing_guest();
    let (artifact, job) = (artifact(&code).await, execute_job(&code, ExecutorParams::default()));
    let grown = worker().execute(&job, artifact.file(), Bytes::new()).await.0;
    let ExecuteOutcome::Invalid(InvalidReason::WorkerReported(why)) = grown else { panic!("{grown:?}") };
    assert!(why.starts_with("the result does not decode"), "{why}");
    // The same jobs with less data memory than the guest asks for.
    let folder = tempfile::tempdir().unwrap();
    let limited = limited_worker(folder.path(), "ulimit -d 100000");
    let why = refused(runner(&limited).execute(&job, artifact.file(), Bytes::new()).await.0);
    assert!(why.contains("memory within the limits was refused"), "{why}");
    assert!(why.contains("Cannot allocate memory"), "{why}");
}

#[tokio::test]
async fn an_artifact_file_that_cannot_be_read_is_not_a_damaged_artifact() {
    let job = execute_job(b"", ExecutorParams::default());
    let why = refused(worker().execute(&job, &nowhere(), Bytes::new()).await.0);
    assert!(why.contains("No such file"), "{why}");
}

#[tokio::test]
async fn the_self_test_fails_where_jobs_would() {
    let folder = tempfile::tempdir().unwrap();
    worker().self_test(folder.path()).await.unwrap();
    let why = worker().self_test(Path::new("/nowhere")).await.unwrap_err();
    assert!(why.contains("copy of the artifact in /nowhere"), "{why}");
    for limit in ["ulimit -d 100000", "ulimit -v 4000000"] {
        let exe = limited_worker(folder.path(), limit);
        let why = runner(&exe).self_test(folder.path()).await.unwrap_err();
        assert!(why.starts_with("preparation: ") || why.starts_with("execution: "), "{limit}: {why}");
    }
}
