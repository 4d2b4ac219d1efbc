//! What a job writes: bounded while it is read, and read no longer than the job lives. A process that the job left
//! behind may hold the other end for ever; what it writes is not waited for.

use pvf_shared::Bytes;
use std::{
    future::Future,
    io::Result,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, Interest, ReadBuf, unix::AsyncFd},
    net::unix::pipe,
};

/// How much of a job's stderr is kept, bytes.
pub(super) const STDERR_KEPT: usize = 4096;
/// Bytes that are read at once, at the most; small to begin with, because most replies are.
const CHUNK: usize = 256 * 1024;
const FIRST_CHUNK: usize = 1024;
/// A pipe holds at most 1 MiB, unless the job is privileged.
pub(super) const FULL_PIPE: usize = 1024 * 1024;

/// A socket that does not block, of which only what comes in is waited for. Others of the runtime wake whoever has one
/// each time that the other end has read something as well, and a core that a guest is on for that.
pub(super) struct Incoming(AsyncFd<OwnedFd>);

impl Incoming {
    /// Needs a runtime.
    pub(super) fn new(socket: OwnedFd) -> Result<Self> {
        // SAFETY: the descriptor is owned by the AsyncFd and stays open, and the same, for as long as that lives.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self(registered))
    }

    /// What there is to read, as `read` reads it; waits for it as often as that would block.
    pub(super) async fn read_with<T>(&self, mut read: impl FnMut(&OwnedFd) -> Result<T>) -> Result<T> {
        self.0.async_io(Interest::READABLE, |socket| read(socket)).await
    }

    /// The socket, which nobody waits for any more.
    pub(super) fn into_inner(self) -> OwnedFd {
        self.0.into_inner()
    }
}

impl AsFd for Incoming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            match guard.try_io(|socket| Ok(rustix::io::read(socket, to.initialize_unfilled())?)) {
                Ok(read) => return Poll::Ready(read.map(|n| to.advance(n))),
                Err(_would_block) => {}
            }
        }
    }
}

/// Reads until the end, or until `keep` says that it is enough. When the process has `ended`, whatever it wrote is
/// in the pipe already, and that is read and no more.
async fn read(
    from: &mut (impl AsyncRead + AsFd + Unpin),
    ended: impl Future<Output = ()>,
    mut keep: impl FnMut(&[u8]) -> bool,
) {
    let mut chunk = vec![0; FIRST_CHUNK];
    tokio::pin!(ended);
    loop {
        tokio::select! {
            read = from.read(&mut chunk) => match read {
                Ok(n @ 1..) if keep(&chunk[..n]) => {
                    if n == chunk.len() {
                        chunk.resize(CHUNK, 0);
                    }
                }
                _ => return,
            },
            () = &mut ended => break,
        }
    }
    let mut left = FULL_PIPE;
    // Not through tokio, which may not have noticed yet that there is something.
    while left > 0
        && let Ok(n @ 1..) = rustix::io::read(&*from, &mut chunk[..])
        && keep(&chunk[..n])
    {
        left = left.saturating_sub(n);
        if n == chunk.len() {
            chunk.resize(CHUNK, 0);
        }
    }
}

/// Everything, or until it `is_whole`; nothing if it is more than `max`.
pub(super) async fn read_bounded(
    from: Option<&mut (impl AsyncRead + AsFd + Unpin)>,
    max: usize,
    is_whole: impl Fn(&[u8]) -> bool,
    ended: impl Future<Output = ()>,
) -> Option<Bytes> {
    let mut bytes = Vec::new();
    read(from?, ended, |chunk| {
        bytes.extend_from_slice(chunk);
        bytes.len() <= max && !is_whole(&bytes)
    })
    .await;
    (bytes.len() <= max).then(|| bytes.into())
}

/// The last few KiB.
pub(super) async fn read_tail(from: Option<pipe::Receiver>, ended: impl Future<Output = ()>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut kept = Vec::new();
    read(&mut from, ended, |chunk| {
        kept.extend_from_slice(chunk);
        let over = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..over);
        true
    })
    .await;
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::{AsRawFd as _, RawFd};

    /// What the runtime asked the kernel to be woken for, by the kernel's account of its epoll instance, to which there
    /// may be several descriptors.
    fn waited_for(fd: RawFd) -> Vec<u32> {
        let folder = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let infos: Vec<_> = folder.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok()).collect();
        let of_this = |line: &str| {
            let mut words = line.strip_prefix("tfd:")?.split_ascii_whitespace();
            (words.next()? == fd.to_string()).then(|| u32::from_str_radix(words.nth(1).unwrap(), 16).unwrap())
        };
        infos.iter().flat_map(|info| info.lines()).filter_map(of_this).collect()
    }

    #[tokio::test]
    async fn only_what_comes_in_wakes_the_worker() {
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let number = ours.as_raw_fd();
        let mut incoming = Incoming::new(ours).unwrap();
        let events = waited_for(number);
        let (comes_in, has_room) = (libc::EPOLLIN as u32, libc::EPOLLOUT as u32);
        let as_wanted = |events: &u32| events & (comes_in | has_room) == comes_in;
        assert!(!events.is_empty() && events.iter().all(as_wanted), "{events:x?}");
        // And it reads all the same, before and after it had to wait.
        rustix::io::write(&its, b"one").unwrap();
        let mut bytes = [0; 8];
        assert_eq!(incoming.read(&mut bytes).await.unwrap(), 3);
        let (read, written) = tokio::join!(incoming.read(&mut bytes), async { rustix::io::write(&its, b"four") });
        assert_eq!((read.unwrap(), written.unwrap()), (4, 4));
        drop(its);
        assert_eq!(incoming.read(&mut bytes).await.unwrap(), 0);
    }
}
