//! One fork, from its job to its end. It is killed and reaped when dropped, at any point.

use crate::{
    job::{
        packet::send,
        protocol::{ExecuteRequest, MAX_INLINE, REPLY_SLACK, RequestHeader},
    },
    supervise::{
        finished::{FinishedProcess, Output},
        job_memory::JobMemory,
        memory_file::memory_file,
        pipes::{ReadSocket, read_bounded},
        process_handle::ProcessHandle,
        reply::is_complete,
        stderr_capture::StderrCapture,
        template::{ForkProcess, NewFork, SpareSink},
        watch::{Limits, watch},
    },
};
use pvf_shared::Bytes;
use std::{
    io::Result,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use tokio::time::Instant;

/// How often a finished job yields to other tasks before it requests to be reaped.
const YIELDS: usize = 3;

/// A fork, with or without a job.
pub(super) struct Fork {
    process: ForkProcess,
    socket: ReadSocket,
    stderr: StderrCapture,
}

impl From<NewFork> for Fork {
    fn from(NewFork { process, socket, stderr }: NewFork) -> Self {
        Self { process, socket, stderr }
    }
}

impl Fork {
    pub(super) fn process(&self) -> &ProcessHandle {
        self.process.handle()
    }

    /// Sends the job, and the memory file with its block data, if it has one. It starts at once, or when the process of
    /// the pidfd `predecessor` has exited.
    pub(super) fn assign(
        &self,
        request: &ExecuteRequest<'_>,
        block_data: Option<BorrowedFd<'_>>,
        predecessor: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let (mapped, staged) = (block_data.is_some(), predecessor.is_some());
        let mut header = RequestHeader { in_file: false, mapped, staged };
        let mut packet = Vec::with_capacity(1 + request.encoded_size());
        packet.push(header.to_byte());
        request.encode_to(&mut packet);
        let file = if packet.len() <= MAX_INLINE {
            None
        } else {
            let file = memory_file(&packet[1..])?;
            header.in_file = true;
            packet = vec![header.to_byte()];
            Some(file)
        };
        let descriptors: Vec<_> = file.iter().map(AsFd::as_fd).chain(block_data).chain(predecessor).collect();
        send(&self.socket, &packet, &descriptors)
    }

    /// Starts its staged job.
    pub(super) fn start(&self) -> Result<()> {
        send(&self.socket, b"start", &[])
    }

    /// Watches its job until the process has exited, then calls `on_exit` and reaps it. If `next` then returns a sink,
    /// the template makes another fork for it.
    pub(super) async fn finish(
        self,
        JobLimits { time, max_reply, started, mut memory }: JobLimits<'_>,
        on_exit: impl FnOnce(),
        next: impl FnOnce() -> Option<SpareSink>,
    ) -> Result<FinishedProcess> {
        let Self { process, mut socket, stderr } = self;
        // Declared after `process`, so it is dropped first when this future is: what it holds of the process (its slot
        // and core) must be given up before the process is reaped.
        let on_exit = on_exit;
        let handle = process.handle();
        let reading = async move {
            let reply = read_bounded(Some(&mut socket), max_reply + REPLY_SLACK, is_complete, handle.gone()).await;
            if reply.is_none() {
                handle.kill();
            }
            // Deregisters the socket: from here on only the exit of the process wakes the worker.
            (reply, socket.into_inner())
        };
        let (overrun, (reply, socket)) = tokio::join!(watch(handle, time, &mut memory), reading);
        let reply = reply.map(|reply| with_rest(reply, &socket)).transpose()?;
        let (overrun, stderr) = (overrun?, stderr.tail());
        on_exit();
        // Tasks that wait for the exit run first: the next job starts on the core that has just become free before the
        // template and its next fork compete for that core.
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        memory.settle().await;
        let exit = process.reap(next()).await?;
        Ok(FinishedProcess::new(exit, Output { overrun, reply, stderr, memory }, started))
    }
}

/// What a job may use, and since when.
pub(in crate::supervise) struct JobLimits<'a> {
    pub(in crate::supervise) time: Limits,
    /// Maximum size of the result, bytes.
    pub(in crate::supervise) max_reply: usize,
    pub(in crate::supervise) memory: JobMemory<'a>,
    pub(in crate::supervise) started: Instant,
}

/// Appends what the job wrote behind a complete reply, which makes the reply malformed.
fn with_rest(reply: Bytes, socket: &OwnedFd) -> Result<Bytes> {
    let mut rest = [0; 64];
    match rustix::io::read(socket, &mut rest[..]) {
        Ok(n @ 1..) => Ok([&reply[..], &rest[..n]].concat().into()),
        Ok(0) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNRESET) => Ok(reply),
        Err(error) => Err(error.into()),
    }
}
