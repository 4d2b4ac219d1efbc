//! When the worker tests whether its machine can run jobs: before it registers, and when jobs fail to start in a row.
//!
//! A broken machine fails each job at once, so it is always free: without this it would get every job of the fleet.

use super::{context::JobContext, messages::TaskMessage};
use pvf_shared::{
    http::Http,
    job::{ExecuteOutcome, JobOutcome, PrepareOutcome},
    verdict::InternalError,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::UnboundedSender;

/// Jobs that fail in a row because of the machine before it is tested.
const FAILURES: u32 = 3;
/// Pause between two tests of a machine that failed one.
const PAUSE: Duration = Duration::from_secs(5);

/// Tests the machine. If that fails, copies that no job uses are given up with their templates: they may be what the
/// machine has no room for.
async fn test(jobs: &JobContext) -> Result<(), String> {
    let folder = jobs.cache.folder().map_err(|error| format!("folder for copies of artifacts: {error}"))?;
    let result = jobs.runner.self_test(&folder).await;
    if result.is_err() {
        jobs.cache.evict_idle();
    }
    result
}

fn log(why: &str) {
    tracing::error!(
        why,
        "self-test failed: the worker takes no jobs and tests again in {} s; `pvf doctor` lists what the machine lacks",
        PAUSE.as_secs()
    );
}

/// Waits until the self-test passes.
pub(super) async fn until_fit(jobs: &JobContext, http: &Http) {
    loop {
        http.liveness.tick();
        http.readiness.not_ready("self-test");
        match test(jobs).await {
            Ok(()) => return,
            Err(why) => {
                log(&why);
                http.readiness.not_ready("self-test failed");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The self-tests of a worker that is registered.
pub(super) struct SelfTests {
    enabled: bool,
    /// Jobs that failed in a row because of the machine.
    failures: u32,
    testing: bool,
}

impl SelfTests {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, failures: 0, testing: false }
    }

    /// A job has ended. Tests the machine when too many failed because of it.
    pub(super) fn note(
        &mut self,
        outcome: &JobOutcome,
        jobs: &Arc<JobContext>,
        to_loop: &UnboundedSender<TaskMessage>,
    ) {
        let failed = matches!(
            outcome,
            JobOutcome::Execute(ExecuteOutcome::Internal(InternalError::Kernel(_)))
                | JobOutcome::Prepare(PrepareOutcome::Internal(InternalError::Kernel(_)))
        );
        self.failures = if failed { self.failures + 1 } else { 0 };
        if self.enabled && self.failures >= FAILURES && !self.testing {
            tracing::warn!(jobs = self.failures, "jobs fail in a row because of the machine: testing it");
            self.start(Duration::ZERO, jobs, to_loop);
        }
    }

    /// A test is over; whether the machine can run jobs. It is tested again until it can.
    pub(super) fn tested(
        &mut self,
        result: Result<(), String>,
        jobs: &Arc<JobContext>,
        to_loop: &UnboundedSender<TaskMessage>,
    ) -> bool {
        self.testing = false;
        self.failures = 0;
        match result {
            Ok(()) => {
                tracing::info!("self-test passed");
                true
            }
            Err(why) => {
                log(&why);
                self.start(PAUSE, jobs, to_loop);
                false
            }
        }
    }

    fn start(&mut self, pause: Duration, jobs: &Arc<JobContext>, to_loop: &UnboundedSender<TaskMessage>) {
        self.testing = true;
        let (jobs, to_loop) = (jobs.clone(), to_loop.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // The loop may be gone when this ends.
            let _ = to_loop.send(TaskMessage::SelfTested(test(&jobs).await));
        });
    }
}
