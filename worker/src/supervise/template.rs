//! A template process, as the worker sees it: it makes and reaps forks.

use super::{
    fork::Fork,
    pipes::{Incoming, read_tail},
    process::{Process, Start},
    request_file,
    watch::{Handle, has_ended},
    words::Words,
};
use crate::{
    end::End,
    job::{
        control::{Descriptors, receive, send},
        execute::HOST_STACK,
        protocol::{Command, MAX_PACKET, Setup, TEMPLATE, Told},
    },
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::{
    fmt,
    io::{Error, ErrorKind, Result},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How long a template may take for anything that it is told; linking a large artifact takes some 20 ms.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoFork {
    /// The artifact cannot be linked.
    Construction(String),
    /// The template is gone or was never there: it may be worth another try.
    Gone(String),
}

impl From<Error> for NoFork {
    fn from(error: Error) -> Self {
        Self::Gone(error.to_string())
    }
}

impl fmt::Display for NoFork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Construction(why) | Self::Gone(why)) = self;
        f.write_str(why)
    }
}

/// What the task that keeps a template is asked for.
pub(super) enum Ask {
    /// A fork, which asks this keeper for its end.
    Fork(oneshot::Sender<Result<Fork>>, Keeper),
    /// The end of this fork, which has ended or was killed; and the next one, if somebody takes it.
    Reap { fork: Handle, answer: Option<oneshot::Sender<Result<End>>>, next: Option<(Next, Keeper)> },
}

/// Takes the fork that is made when another one ends.
pub(super) type Next = Box<dyn FnOnce(Fork) + Send>;

pub(super) type Keeper = mpsc::UnboundedSender<Ask>;

/// A template that has its artifact linked. Its process ends when this and all its forks are gone.
#[derive(Clone)]
pub(super) struct Template {
    keeper: Keeper,
    /// Tells when its process ends.
    pidfd: Arc<OwnedFd>,
    /// Memory that it had to itself when it was ready, bytes.
    memory: u64,
}

impl Template {
    /// Starts one and waits until it is ready.
    pub(super) async fn start(exe: &Path, setup: &Setup, patience: Duration) -> std::result::Result<Self, NoFork> {
        let (ours, its) = pair(SocketType::SEQPACKET)?;
        let mut process = Process::start(Start {
            exe: exe.to_owned(),
            args: vec![TEMPLATE.into()],
            stdin: request_file(setup)?,
            stdout: Some(its),
            stack: Some(u64::from(setup.params.stack_native_max()) + HOST_STACK),
            plan: setup.sandbox,
        })
        .await?;
        let control = Control { socket: Incoming::new(ours)?, patience };
        let why = match control.told().await {
            Ok((Told::Ready, _)) => {
                let (keeper, asks) = mpsc::unbounded_channel();
                let pidfd = process.handle.pidfd().clone();
                let memory = own_memory(process.handle.pid());
                tokio::spawn(keep(process, control, asks));
                return Ok(Self { keeper, pidfd, memory });
            }
            Ok((Told::Construction(why), _)) => return Err(NoFork::Construction(why)),
            Ok((other, _)) => format!("it said {other:?}"),
            Err(error) => error.to_string(),
        };
        process.handle.kill();
        let words = read_tail(process.stderr.take(), process.handle.gone()).await;
        process.handle.ended().await?;
        let status = process.reap()?.status;
        let what = "the process that was to map the artifact did not get ready";
        Err(NoFork::Gone(format!("{what}: {why}; wait status {status:#x}; it wrote: {}", words.trim())))
    }

    /// One more fork.
    pub(super) async fn fork(&self) -> Result<Fork> {
        let (answer, answered) = oneshot::channel();
        self.keeper.send(Ask::Fork(answer, self.keeper.clone())).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Memory that it has to itself, bytes: without the artifact's file, which all that map it share.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Whether it can still fork.
    pub(super) fn lives(&self) -> bool {
        !self.keeper.is_closed() && !has_ended(&*self.pidfd)
    }
}

/// What of a process's memory is no file's, bytes; nothing if that cannot be told.
fn own_memory(pid: i32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = pages.split(' ').skip(1).map(|number| number.parse::<u64>().unwrap_or(0));
    let (resident, of_files) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(of_files) * rustix::param::page_size() as u64
}

pub(super) fn gone() -> Error {
    Error::new(ErrorKind::BrokenPipe, "the process that has the artifact mapped is gone")
}

/// Two connected sockets; the first does not block.
fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, its) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, its))
}

/// Owns a template's process and talks to it, one thing after the other, until nobody can ask any more.
async fn keep(process: Process, control: Control, mut asks: mpsc::UnboundedReceiver<Ask>) {
    while let Some(ask) = asks.recv().await {
        let well = match ask {
            Ask::Fork(answer, _) if answer.is_closed() => Ok(()),
            // If nobody waits for it any more, dropping it ends it.
            Ask::Fork(answer, keeper) => control.fork(keeper).await.map(|made| {
                let _ = answer.send(made);
            }),
            Ask::Reap { fork, answer, next } => control.reap(&fork, answer, next).await,
        };
        if let Err(error) = well {
            // Its forks die with it.
            tracing::warn!(%error, pid = process.handle.pid(), "a process with a mapped artifact ended or hangs");
            break;
        }
    }
}

/// The worker's end of a template's control socket.
struct Control {
    socket: Incoming,
    /// How long it may take for anything.
    patience: Duration,
}

impl Control {
    /// The next thing that the template says, and what comes along.
    async fn told(&self) -> Result<(Told, Descriptors)> {
        let receiving = self.socket.read_with(|socket| {
            let mut packet = [0; MAX_PACKET];
            let (len, descriptors) = receive(socket, &mut packet)?;
            let told = (len > 0).then(|| rmp_serde::from_slice(&packet[..len]).map_err(Error::other)).transpose()?;
            Ok((told, descriptors))
        });
        match self.within(receiving).await? {
            (Some(told), descriptors) => Ok((told, descriptors)),
            (None, _) => Err(gone()),
        }
    }

    /// Does not wait for room: there is always enough for the first of two commands that may be on their way at once.
    fn say(&self, command: Command, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        send(&self.socket, &rmp_serde::to_vec(&command).map_err(Error::other)?, descriptors)
    }

    async fn within<T>(&self, doing: impl Future<Output = Result<T>>) -> Result<T> {
        let hangs = |_| Error::new(ErrorKind::TimedOut, format!("no answer within {:?}", self.patience));
        tokio::time::timeout(self.patience, doing).await.map_err(hangs)?
    }

    /// The outer error is the template's end.
    async fn fork(&self, keeper: Keeper) -> Result<Result<Fork>> {
        match self.begin_fork()? {
            Ok(ends) => self.forked(ends, keeper).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Asks for a fork with the other ends of these.
    fn begin_fork(&self) -> Result<Result<Ends>> {
        let ((socket, its_socket), words) = match (pair(SocketType::STREAM), Words::new()) {
            (Ok(sockets), Ok(words)) => (sockets, words),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        match self.say(Command::Fork, &[its_socket.as_fd(), words.as_fd()]) {
            // It has not come to the command before yet: no fork now, and nothing is wrong with it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Err(error)),
            said => said.map(|()| Ok(Ends { socket, words })),
        }
    }

    async fn forked(&self, Ends { socket, words }: Ends, keeper: Keeper) -> Result<Result<Fork>> {
        let (told, descriptors) = self.told().await?;
        let (pid, pidfd) = match (told, descriptors) {
            (Told::Forked(pid), [Some(pidfd), _]) => (pid, pidfd),
            (Told::Failed(errno), _) => return Ok(Err(Error::from_raw_os_error(errno))),
            (other, _) => return Err(Error::other(format!("asked for a fork, it said {other:?}"))),
        };
        Ok(Ok(Fork::new((Handle::of_fork(pid, pidfd)?, keeper), Incoming::new(socket)?, words)))
    }

    /// Reaps a fork and makes the next one; the template wakes once for both.
    async fn reap(
        &self,
        fork: &Handle,
        answer: Option<oneshot::Sender<Result<End>>>,
        next: Option<(Next, Keeper)>,
    ) -> Result<()> {
        self.within(fork.ended()).await?;
        self.say(Command::Reap(fork.inner_pid()), &[])?;
        let ends = match next {
            Some(next) => self.begin_fork()?.ok().map(|ends| (ends, next)),
            None => None,
        };
        let end = match self.told().await?.0 {
            Told::Reaped(end) => Ok(end),
            Told::Failed(errno) => Err(Error::from_raw_os_error(errno)),
            other => return Err(Error::other(format!("asked for an end, it said {other:?}"))),
        };
        let _ = answer.map(|answer| answer.send(end));
        if let Some((ends, (next, keeper))) = ends {
            match self.forked(ends, keeper).await? {
                Ok(fork) => next(fork),
                // The next job tries itself, and says so if it cannot be.
                Err(error) => tracing::debug!(%error, "no spare fork"),
            }
        }
        Ok(())
    }
}

/// The worker's ends of what a fork gets.
struct Ends {
    socket: OwnedFd,
    words: Words,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_template_that_has_no_room_for_a_command_is_not_given_up() {
        let (ours, its) = pair(SocketType::SEQPACKET).unwrap();
        let control = Control { socket: Incoming::new(ours).unwrap(), patience: PATIENCE };
        let full = std::iter::from_fn(|| Some(control.begin_fork().unwrap())).find_map(std::result::Result::err);
        assert_eq!(full.unwrap().kind(), ErrorKind::WouldBlock);
        // One that is gone is another thing: it will not read what is there.
        drop(its);
        assert_eq!(control.begin_fork().err().unwrap().kind(), ErrorKind::ConnectionReset);
    }
}
