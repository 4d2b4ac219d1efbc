//! Whatever becomes of a job, nothing of it is left: no process, no zombie, no descriptor. One test, because it
//! looks at all that its process has.

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

#[tokio::test]
async fn nothing_is_left_of_a_job() {
    let exe = own_worker("leaks");
    let code = busy(u64::MAX);
    let artifact = artifact(&code).await;
    let job = execute_job(&code, ExecutorParams::default());
    let before = descriptors();
    for round in 0..8 {
        let runner = runner(&exe);
        let mut execution = Box::pin(runner.execute(&job, artifact.path(), Bytes::new()));
        match round % 4 {
            // Never polled; polled once, so that it is being started; started, but nobody has noticed yet.
            0 => {}
            1 => assert!(execution.as_mut().now_or_never().is_none()),
            2 => {
                assert!(execution.as_mut().now_or_never().is_none());
                until(|| processes_of(&exe).first().copied()).await;
            }
            // Under way.
            _ => tokio::select! {
                ended = &mut execution => panic!("it does not end: {ended:?}"),
                _ = until(|| jobs_of(&exe).first().copied()) => {}
            },
        }
        drop(execution);
        until(|| jobs_of(&exe).is_empty().then_some(())).await;
        drop(runner);
        until(|| (children().is_empty() && processes_of(&exe).is_empty()).then_some(())).await;
    }
    let exe_of_hostile = hostile();
    let runner = unlocked(&exe_of_hostile);
    for deed in ["silent", "odd_status", "killed", "floods", "kills_its_parent"] {
        execute_hostile(&runner, deed, AMPLE).await;
    }
    execute_hostile(&runner, "sleeps", Duration::from_millis(20)).await;
    assert!(jobs_of(&exe_of_hostile).is_empty());
    drop(runner);
    until(|| children().is_empty().then_some(())).await;
    until(|| (descriptors() <= before).then_some(())).await;
    fs::remove_file(exe).unwrap();
}
