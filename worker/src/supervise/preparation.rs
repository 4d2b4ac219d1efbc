//! Runs one preparation in a process of its own.

use super::{
    finished::{FinishedProcess, Output},
    job_memory::JobMemory,
    memory_file::request_file,
    pipes::{read_bounded, read_tail},
    process::{Process, Start},
    watch::{Limits, watch},
};
use crate::job::protocol::{PREPARE, PrepareRequest, REPLY_SLACK};
use pvf_shared::units::MAX_ARTIFACT;
use std::{io::Result, path::Path};
use tokio::time::Instant;

/// Stack of the first thread, bytes: what a code needs of it must not depend on the limit that a worker was started
/// with.
const STACK: u64 = 8 << 20;

/// Runs a preparation until its process has exited.
pub(super) async fn run(
    exe: &Path,
    request: PrepareRequest,
    limits: Limits,
    mut memory: JobMemory<'_>,
) -> Result<FinishedProcess> {
    let started = Instant::now();
    let start = Start {
        exe: exe.to_owned(),
        args: vec![PREPARE.into()],
        stdin: request_file(&request)?,
        stdout: None,
        stack: Some(STACK),
        plan: request.sandbox,
    };
    // The code is in the memory file now.
    drop(request);
    let mut process = Process::start(start).await?;
    let (mut stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let handle = &process.handle;
    let reading = async {
        let reply = read_bounded(stdout.as_mut(), MAX_ARTIFACT + REPLY_SLACK, |_| false, handle.gone()).await;
        if reply.is_none() {
            handle.kill();
        }
        reply
    };
    let (overrun, reply, stderr) =
        tokio::join!(watch(handle, limits, &mut memory), reading, read_tail(stderr, handle.gone()));
    let overrun = overrun?;
    memory.settle().await;
    let output = Output { overrun, reply, stderr, memory };
    Ok(FinishedProcess::new(process.reap()?, output, started))
}
