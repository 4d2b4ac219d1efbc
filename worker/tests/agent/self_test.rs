//! A worker whose machine can run no job takes none until it can.

use crate::{
    common::{WORKER, sandbox, until},
    fixture::{TOKEN, WorkerFixture, config},
};
use pvf_guests::corpus::returns;
use pvf_shared::{
    bus::local::LocalBus,
    http::Http,
    job::{ExecuteOutcome, JobSpec},
    verdict::InternalError,
    wire::{CommandRefusal, WorkerKind},
};
use pvf_worker::agent::WorkerConfig;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

/// A worker executable whose job processes exit at once while the file `broken` is in the folder. They leave a file
/// `failed` there.
fn breakable(folder: &Path) -> WorkerConfig {
    let exe = folder.join("worker");
    let (broken, failed) = (folder.join("broken"), folder.join("failed"));
    let script = format!(
        "#!/bin/sh\nif [ -e '{}' ]; then : > '{}'; exit 1; fi\nexec '{WORKER}' \"$@\"\n",
        broken.display(),
        failed.display()
    );
    fs::write(&exe, script).unwrap();
    fs::set_permissions(&exe, fs::Permissions::from_mode(0o700)).unwrap();
    let sandbox = Some(sandbox().clone());
    WorkerConfig { self_test: true, sandbox, ..config(WorkerKind::Execute, &exe) }
}

#[tokio::test]
async fn a_worker_registers_when_its_self_test_passes() {
    let folder = tempfile::tempdir().unwrap();
    let config = breakable(folder.path());
    fs::write(folder.path().join("broken"), "").unwrap();
    let registering = tokio::spawn(WorkerFixture::unregistered(config, LocalBus::new(), Http::new()));
    let failed = folder.path().join("failed");
    until(|| failed.exists().then_some(())).await;
    assert!(!registering.is_finished());
    fs::remove_file(folder.path().join("broken")).unwrap();
    registering.await.unwrap().welcome().await;
}

#[tokio::test]
async fn a_worker_whose_jobs_fail_in_a_row_takes_none_until_its_self_test_passes() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = WorkerFixture::with(breakable(folder.path()), LocalBus::new()).await;
    let broken = folder.path().join("broken");
    fs::write(&broken, "").unwrap();
    // Codes of which there is no template yet.
    for n in 1..=3 {
        let job = worker.execution(&returns(&[n as u8; 12])).await;
        let outcome = worker.execute(n, job).await;
        assert!(matches!(outcome, ExecuteOutcome::Internal(InternalError::Kernel(_))), "{outcome:?}");
    }
    worker.heartbeat(|beat| beat.draining).await;
    let job = worker.execution(&returns(&[4; 12])).await;
    let refused = worker.refused((TOKEN, 4), JobSpec::Execute(Box::new(job.clone()))).await;
    assert_eq!(refused, CommandRefusal::Draining);
    fs::remove_file(&broken).unwrap();
    worker.heartbeat(|beat| !beat.draining).await;
    let outcome = worker.execute(5, job).await;
    assert!(!matches!(outcome, ExecuteOutcome::Internal(_)), "{outcome:?}");
}
