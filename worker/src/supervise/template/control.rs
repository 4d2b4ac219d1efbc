//! The worker's end of a template's control socket.

use crate::{
    exit_status::ExitStatus,
    job::{
        packet::{Descriptors, receive, send},
        protocol::{MAX_PACKET, TemplateCommand, TemplateReply},
    },
    supervise::{pipes::ReadSocket, process_handle::ProcessHandle, stderr_capture::StderrCapture},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::{
    fs::File,
    io::{Error, ErrorKind, Result},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

/// Parts of a time-out that are counted one after the other.
const TIMEOUT_PARTS: u32 = 20;

/// A template's control socket.
///
/// Methods that concern one fork return nested results: the outer error is the template's, which must be given up with
/// all its forks; the inner error concerns this fork only.
pub(super) struct Control {
    socket: ReadSocket,
    /// How long the template may take to answer, and a killed fork to exit.
    timeout: Duration,
}

/// The worker's ends of what a fork that is being made gets.
pub(super) struct ForkEnds {
    socket: OwnedFd,
    stderr: StderrCapture,
}

/// A fork that was just made. Nothing reaps it yet.
pub(super) struct ForkParts {
    pub(super) handle: ProcessHandle,
    pub(super) socket: ReadSocket,
    pub(super) stderr: StderrCapture,
}

/// The template has exited or is no longer served.
pub(super) fn template_gone() -> Error {
    Error::new(ErrorKind::BrokenPipe, "the template process has exited")
}

/// Two connected sockets, of which the first does not block.
fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, its) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, its))
}

impl Control {
    /// A control socket and the template's end of it.
    pub(super) fn new(timeout: Duration) -> Result<(Self, OwnedFd)> {
        let (ours, its) = socket_pair(SocketType::SEQPACKET)?;
        Ok((Self { socket: ReadSocket::new(ours)?, timeout }, its))
    }

    /// Receives the template's next message and the descriptors that come with it.
    pub(super) async fn receive(&self) -> Result<(TemplateReply, Descriptors)> {
        let receiving = self.socket.read_with(|socket| {
            let mut packet = [0; MAX_PACKET];
            let (len, descriptors) = receive(socket, &mut packet)?;
            let reply = (len > 0).then(|| rmp_serde::from_slice(&packet[..len]).map_err(Error::other)).transpose()?;
            Ok((reply, descriptors))
        });
        match self.within_timeout(receiving).await? {
            (Some(reply), descriptors) => Ok((reply, descriptors)),
            (None, _) => Err(template_gone()),
        }
    }

    /// Does not wait for room in the socket: there is room for the first of the two commands that can be under way.
    fn send(&self, command: TemplateCommand, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        send(&self.socket, &rmp_serde::to_vec(&command).map_err(Error::other)?, descriptors)
    }

    /// Time in which this process stood still counts as one part of the time-out only: a machine that was suspended, or
    /// a frozen cgroup, has stopped the template too.
    async fn within_timeout<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let part = self.timeout / TIMEOUT_PARTS;
        let mut work = std::pin::pin!(work);
        for _ in 0..TIMEOUT_PARTS {
            if let Ok(done) = tokio::time::timeout(part, &mut work).await {
                return done;
            }
        }
        Err(Error::new(ErrorKind::TimedOut, format!("no answer within {:?}", self.timeout)))
    }

    /// Hands the artifact over, which the template maps.
    pub(super) fn begin_mapping(&self, artifact: &File) -> Result<()> {
        self.send(TemplateCommand::Map, &[artifact.as_fd()])
    }

    /// Requests a fork.
    pub(super) fn begin_fork(&self) -> Result<Result<ForkEnds>> {
        let ((socket, its_socket), stderr) = match (socket_pair(SocketType::STREAM), StderrCapture::new()) {
            (Ok(sockets), Ok(stderr)) => (sockets, stderr),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        match self.send(TemplateCommand::Fork, &[its_socket.as_fd(), stderr.as_fd()]) {
            // The template has not read the previous command yet, which is no failure of the template.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Err(error)),
            sent => sent.map(|()| Ok(ForkEnds { socket, stderr })),
        }
    }

    /// Receives the fork that was requested of the template with this process id.
    pub(super) async fn finish_fork(&self, ends: ForkEnds, template: i32) -> Result<Result<ForkParts>> {
        let ForkEnds { socket, stderr } = ends;
        let (pid, pidfd) = match self.receive().await? {
            (TemplateReply::Forked(pid), [Some(pidfd), ..]) => (pid, pidfd),
            (TemplateReply::Failed(errno), _) => return Ok(Err(Error::from_raw_os_error(errno))),
            (other, _) => return Err(unexpected("a fork", &other)),
        };
        let handle = ProcessHandle::of_fork(template, pid, pidfd)?;
        Ok(Ok(ForkParts { handle, socket: ReadSocket::new(socket)?, stderr }))
    }

    /// Waits until a fork has exited and requests that the template reap it.
    pub(super) async fn begin_reap(&self, fork: &ProcessHandle) -> Result<()> {
        self.within_timeout(fork.exited()).await?;
        self.send(TemplateCommand::Reap(fork.inner_pid()), &[])
    }

    /// Receives the exit status of the fork.
    pub(super) async fn finish_reap(&self) -> Result<Result<ExitStatus>> {
        match self.receive().await?.0 {
            TemplateReply::Reaped(status) => Ok(Ok(status)),
            TemplateReply::Failed(errno) => Ok(Err(Error::from_raw_os_error(errno))),
            other => Err(unexpected("an exit status", &other)),
        }
    }
}

fn unexpected(expected: &str, reply: &TemplateReply) -> Error {
    Error::other(format!("expected {expected} from the template, received {reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_template_has_its_time_after_the_worker_stood_still() {
        let (control, its) = Control::new(Duration::from_secs(60)).unwrap();
        let control = std::sync::Arc::new(control);
        let waiting = tokio::spawn({
            let control = control.clone();
            async move { control.within_timeout(std::future::pending::<Result<()>>()).await }
        });
        tokio::task::yield_now().await;
        // Nothing runs meanwhile.
        tokio::time::advance(Duration::from_secs(3600)).await;
        tokio::time::advance(Duration::from_secs(56)).await;
        assert!(!waiting.is_finished());
        let since = tokio::time::Instant::now();
        assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(since.elapsed() >= Duration::from_secs(48), "{:?}", since.elapsed());
        drop(its);
    }

    #[tokio::test]
    async fn a_full_control_socket_fails_the_fork_and_a_closed_one_the_template() {
        let (control, its) = Control::new(Duration::from_secs(60)).unwrap();
        let full = std::iter::from_fn(|| Some(control.begin_fork().unwrap())).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), ErrorKind::WouldBlock);
        drop(its);
        assert_eq!(control.begin_fork().err().unwrap().kind(), ErrorKind::ConnectionReset);
    }
}
