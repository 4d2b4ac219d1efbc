//! Nothing remains of a job, however it ends: no process, no zombie, no descriptor. A single test, because it counts
//! everything that its process has.

mod common;

use common::{
    AMPLE, artifact, children, execute_hostile, execute_job, hostile, jobs_of, own_worker, processes_of, runner,
    unlocked, until,
};
use futures::FutureExt as _;
use pvf_guests::corpus::busy;
use pvf_shared::{Bytes, params::ExecutorParams};
use std::{fs, time::Duration};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How far an execution gets before its future is dropped.
#[derive(Clone, Copy)]
enum DroppedWhen {
    NeverPolled,
    /// After one poll: its process is being started.
    PolledOnce,
    /// A process exists, but the future was not polled since.
    ProcessStarted,
    /// The guest runs.
    Running,
}

#[tokio::test]
async fn a_job_leaves_no_process_and_no_descriptor() {
    let exe = own_worker("leaks");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    // As a worker passes it: nothing has to be read before the process is started.
    let opened = artifact.file().open().unwrap();
    let job = execute_job(&code, ExecutorParams::default());
    let before = descriptors();
    let stages = [DroppedWhen::NeverPolled, DroppedWhen::PolledOnce, DroppedWhen::ProcessStarted, DroppedWhen::Running];
    for stage in [stages, stages].concat() {
        let runner = runner(&exe);
        let mut execution = Box::pin(runner.execute(&job, &opened, Bytes::new()));
        match stage {
            DroppedWhen::NeverPolled => {}
            DroppedWhen::PolledOnce => assert!(execution.as_mut().now_or_never().is_none()),
            DroppedWhen::ProcessStarted => {
                assert!(execution.as_mut().now_or_never().is_none());
                until(|| processes_of(&exe).first().copied()).await;
            }
            DroppedWhen::Running => tokio::select! {
                ended = &mut execution => panic!("the job is endless: {ended:?}"),
                _ = until(|| jobs_of(&exe).first().copied()) => {}
            },
        }
        drop(execution);
        until(|| jobs_of(&exe).is_empty().then_some(())).await;
        drop(runner);
        until(|| (children().is_empty() && processes_of(&exe).is_empty()).then_some(())).await;
    }
    let hostile = hostile();
    let runner = unlocked(&hostile);
    for action in ["silent", "odd_status", "killed", "floods", "kills_its_parent"] {
        execute_hostile(&runner, action, AMPLE).await;
    }
    execute_hostile(&runner, "sleeps", Duration::from_millis(20)).await;
    assert!(jobs_of(&hostile).is_empty());
    drop(runner);
    until(|| children().is_empty().then_some(())).await;
    until(|| (descriptors() <= before).then_some(())).await;
    fs::remove_file(exe).unwrap();
}
