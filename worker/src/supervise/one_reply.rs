//! A process that does one job from its stdin, writes one reply to its stdout, and exits: a preparation or a diagnostic
//! run.

use super::{
    compile_progress::CompileMeter,
    finished::{FinishedProcess, Output},
    job_memory::JobMemory,
    memory_file::request_with_progress,
    pipes::{read_bounded, read_tail},
    process::{Process, Start},
    watch::{Limits, watch},
};
use crate::sandbox::Plan;
use serde::Serialize;
use std::{io::Result, path::Path};
use tokio::time::Instant;

/// Stack of the first thread, bytes: what a code needs of it must not depend on the limit that a worker was started
/// with.
const STACK: u64 = 8 << 20;

/// What to start.
pub(super) struct Job<'a, R> {
    pub(super) exe: &'a Path,
    /// First argument: which job it is.
    pub(super) role: &'static str,
    pub(super) request: R,
    /// Sandbox mechanisms; only namespaces apply at the start.
    pub(super) plan: Plan,
    pub(super) limits: Limits,
    /// The largest reply, bytes.
    pub(super) max_reply: usize,
    /// Shows how far its compiler has come.
    pub(super) meter: CompileMeter,
}

/// Runs the job until its process has exited.
pub(super) async fn run<R: Serialize>(job: Job<'_, R>, mut memory: JobMemory<'_>) -> Result<FinishedProcess> {
    let started = Instant::now();
    let Job { exe, role, request, plan, limits, max_reply, meter } = job;
    let stdin = request_with_progress(&request)?;
    meter.follow(&stdin);
    let start = Start { exe: exe.to_owned(), args: vec![role.into()], stdin, stdout: None, stack: Some(STACK), plan };
    // The code is in the memory file now.
    drop(request);
    let mut process = Process::start(start).await?;
    let (mut stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let handle = &process.handle;
    let reading = async {
        let reply = read_bounded(stdout.as_mut(), max_reply, |_| false, handle.gone()).await;
        if reply.is_none() {
            handle.kill();
        }
        reply
    };
    let (overrun, reply, stderr) =
        tokio::join!(watch(handle, limits, &mut memory), reading, read_tail(stderr, handle.gone()));
    meter.end();
    let overrun = overrun?;
    memory.settle().await;
    let output = Output { overrun, reply, stderr, memory };
    Ok(FinishedProcess::new(process.reap()?, output, started))
}
