//! A fork of a template, as the worker sees it: it watches it by the descriptors that it got of it, and ends it.

use super::{
    is_whole, memory_file,
    pipes::{Incoming, read_bounded},
    template::{Ask, Keeper, Next, gone},
    turn::Occupant,
    watch::{Handle, Limits, Overrun, watch},
    words::Words,
};
use crate::{
    end::End,
    job::{
        control::send,
        protocol::{Execution, How, MAX_INLINE, REPLY_SLACK},
    },
};
use pvf_shared::Bytes;
use std::{
    io::Result,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Turns that other tasks get between a job's end and what is done about it.
const YIELDS: usize = 3;

/// What a job wrote behind a reply that was whole makes it none.
fn with_rest(reply: Bytes, socket: &OwnedFd) -> Result<Bytes> {
    let mut rest = [0; 64];
    match rustix::io::read(socket, &mut rest[..]) {
        Ok(n @ 1..) => Ok([&reply[..], &rest[..n]].concat().into()),
        Ok(0) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNRESET) => Ok(reply),
        Err(error) => Err(error.into()),
    }
}

/// A fork of a template, ready for a job: killed and reaped when dropped, wherever on its way that happens.
pub(super) struct Fork {
    body: Option<(Handle, Keeper)>,
    socket: Option<Incoming>,
    words: Words,
}

impl Drop for Fork {
    fn drop(&mut self) {
        if let Some((handle, keeper)) = self.body.take() {
            handle.kill();
            // If there is no keeper any more, its template is gone, and forks go with it.
            let _ = keeper.send(Ask::Reap { fork: handle, answer: None, next: None });
        }
    }
}

/// What a fork did.
pub(super) struct Done {
    pub(super) overrun: Option<Overrun>,
    pub(super) reply: Option<Bytes>,
    pub(super) stderr: String,
    pub(super) end: End,
}

impl Fork {
    /// The worker's ends of it.
    pub(super) fn new(body: (Handle, Keeper), socket: Incoming, words: Words) -> Self {
        Self { body: Some(body), socket: Some(socket), words }
    }

    /// Whether it ended while it waited for a job.
    pub(super) fn has_ended(&self) -> bool {
        self.body.as_ref().is_none_or(|(handle, _)| handle.has_ended())
    }

    /// Hands it its job, which does not begin before the one before it has ended if there is one.
    pub(super) fn hand(&self, job: &Execution<'_>, before: Option<&Occupant>) -> Result<()> {
        let mut how = How { in_file: false, waits: before.is_some() };
        let mut packet = Vec::with_capacity(1 + job.size());
        packet.push(how.to_byte());
        job.write(&mut packet);
        let file = if packet.len() <= MAX_INLINE {
            None
        } else {
            let file = memory_file(&packet[1..])?;
            how.in_file = true;
            packet = vec![how.to_byte()];
            Some(file)
        };
        let descriptors: Vec<_> = file.iter().map(AsFd::as_fd).chain(before.map(Occupant::as_fd)).collect();
        send(self.socket()?, &packet, &descriptors)
    }

    /// Has it begin with the job that it has.
    pub(super) fn go(&self) -> Result<()> {
        send(self.socket()?, b"go", &[])
    }

    fn socket(&self) -> Result<&Incoming> {
        self.socket.as_ref().ok_or_else(gone)
    }

    /// Its number, its own as long as this is there, and what tells its end.
    pub(super) fn process(&self) -> Result<(i32, &Arc<OwnedFd>)> {
        self.body.as_ref().map(|(handle, _)| (handle.pid(), handle.pidfd())).ok_or_else(gone)
    }

    /// Waits until it has ended.
    pub(super) async fn gone(&self) {
        if let Some((handle, _)) = &self.body {
            handle.gone().await;
        }
    }

    /// Watches it do its job. When it has `ended` another one may be made in its place.
    pub(super) async fn done(
        mut self,
        limits: Limits,
        max_reply: usize,
        (ended, next): (impl FnOnce(), impl FnOnce() -> Option<Next>),
    ) -> Result<Done> {
        let (Some(mut socket), Some((handle, _))) = (self.socket.take(), &self.body) else { return Err(gone()) };
        let reading = async move {
            let reply = read_bounded(Some(&mut socket), max_reply + REPLY_SLACK, is_whole, handle.gone()).await;
            if reply.is_none() {
                handle.kill();
            }
            // Its end alone is waited for from here on.
            (reply, socket.into_inner())
        };
        let (overrun, (reply, socket)) = tokio::join!(watch(handle, limits), reading);
        let (overrun, reply, stderr) =
            (overrun?, reply.map(|reply| with_rest(reply, &socket)).transpose()?, self.words.read());
        ended();
        // Whoever waited for that goes first: the next job begins on the core that just became free, before the
        // template and what it forks compete for it.
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        let (answer, answered) = oneshot::channel();
        let Some((fork, keeper)) = self.body.take() else { return Err(gone()) };
        let next = next().map(|next| (next, keeper.clone()));
        keeper.send(Ask::Reap { fork, answer: Some(answer), next }).map_err(|_| gone())?;
        let end = answered.await.map_err(|_| gone())??;
        Ok(Done { overrun, reply, stderr, end })
    }
}
