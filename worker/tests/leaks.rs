//! Whatever becomes of a job, nothing of it is left: no process, no zombie, no descriptor. One test, because it
//! looks at all that its process has.

mod common;

use common::{AMPLE, artifact, children, execute_bad, execute_job, own_worker, processes_of, runner, until};
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
                _ = until(|| processes_of(&exe).first().copied()) => {}
            },
        }
        drop(execution);
        until(|| children().is_empty().then_some(())).await;
    }
    for name in ["silent", "odd_status", "killed", "floods"] {
        execute_bad(name, AMPLE).await;
        assert!(children().is_empty(), "{name}");
    }
    execute_bad("sleeps", Duration::from_millis(20)).await;
    assert!(children().is_empty());
    until(|| (descriptors() <= before).then_some(())).await;
    fs::remove_file(exe).unwrap();
}
