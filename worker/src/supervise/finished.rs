//! What is known of a job process that has exited.

use super::watch::Overrun;
use crate::{exit_status::ExitStatus, machine::oom_killed_lately};
use pvf_shared::{Bytes, job::JobUsage};
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
    /// It was killed, and the kernel killed processes for lack of memory at that time.
    pub(super) out_of_memory: bool,
    /// Time from its start to now.
    pub(super) wall: Duration,
}

/// What was read from a job process before it was reaped.
pub(super) struct Output {
    pub(super) overrun: Option<Overrun>,
    pub(super) reply: Option<Bytes>,
    pub(super) stderr: String,
}

impl FinishedProcess {
    /// A process that was reaped just now.
    pub(super) fn new(exit: ExitStatus, Output { overrun, reply, stderr }: Output, started: Instant) -> Self {
        if !stderr.is_empty() {
            tracing::debug!(wait_status = exit.status, %stderr, "stderr of a job");
        }
        let killed = libc::WIFSIGNALED(exit.status) && libc::WTERMSIG(exit.status) == libc::SIGKILL;
        let out_of_memory = killed && overrun.is_none() && oom_killed_lately();
        Self { exit, overrun, reply, stderr, out_of_memory, wall: started.elapsed() }
    }

    /// Resources that the job used.
    pub(super) fn usage(&self) -> JobUsage {
        let ExitStatus { cpu, max_rss_kib, .. } = self.exit;
        JobUsage { cpu, wall: self.wall, max_rss_kib, io: Duration::ZERO }
    }
}
