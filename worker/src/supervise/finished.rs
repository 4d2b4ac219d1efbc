//! What is known of a job process that has exited.

use super::{
    job_memory::{JobMemory, MemoryKill},
    watch::Overrun,
};
use crate::exit_status::ExitStatus;
use pvf_shared::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// A job process that has exited and was reaped.
#[derive(Debug)]
pub(super) struct FinishedProcess {
    pub(super) exit: ExitStatus,
    /// The limit for which the worker killed it.
    pub(super) overrun: Option<Overrun>,
    /// What it wrote as its reply; `None` if that was larger than any reply.
    pub(super) reply: Option<Bytes>,
    /// The end of its stderr.
    pub(super) stderr: String,
    /// Whether the kernel killed it for lack of memory.
    pub(super) memory: MemoryKill,
    /// Time from its start to now.
    pub(super) wall: Duration,
}

/// What is known of a job process before it is reaped.
pub(super) struct Output<'a> {
    pub(super) overrun: Option<Overrun>,
    pub(super) reply: Option<Bytes>,
    pub(super) stderr: String,
    pub(super) memory: JobMemory<'a>,
}

impl FinishedProcess {
    /// A process that was reaped just now.
    pub(super) fn new(exit: ExitStatus, output: Output<'_>, started: Instant) -> Self {
        let Output { overrun, reply, stderr, memory } = output;
        if !stderr.is_empty() {
            tracing::debug!(wait_status = exit.status, %stderr, "stderr of a job");
        }
        let killed = libc::WIFSIGNALED(exit.status) && libc::WTERMSIG(exit.status) == libc::SIGKILL;
        let memory = memory.ended(killed && overrun.is_none());
        Self { exit, overrun, reply, stderr, memory, wall: started.elapsed() }
    }
}
