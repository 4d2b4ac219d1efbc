//! Reading what a job writes: bounded, and no longer than the job lives. A process that the job left behind may keep
//! the other end of a pipe open; what such a process writes is not waited for.

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
/// Size of the first read, bytes: most replies are small.
const FIRST_CHUNK: usize = 1024;
/// Size of further reads once one was filled, bytes.
const CHUNK: usize = 256 * 1024;
/// Maximum capacity of a pipe, bytes, unless the process that sets it is privileged.
pub(super) const MAX_PIPE: usize = 1024 * 1024;

/// A nonblocking socket that is registered with the runtime for reading only. tokio's own sockets also wake the task
/// each time that the other end has read something, which takes a core from a guest.
pub(super) struct ReadSocket(AsyncFd<OwnedFd>);

impl ReadSocket {
    /// Must be called in a tokio runtime.
    pub(super) fn new(socket: OwnedFd) -> Result<Self> {
        // SAFETY: the AsyncFd owns the descriptor, so it stays open and the same for as long as the AsyncFd lives.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self(registered))
    }

    /// Calls `read` when there is something to read, until it does not return `WouldBlock`.
    pub(super) async fn read_with<T>(&self, mut read: impl FnMut(&OwnedFd) -> Result<T>) -> Result<T> {
        self.0.async_io(Interest::READABLE, |socket| read(socket)).await
    }

    /// Deregisters the socket.
    pub(super) fn into_inner(self) -> OwnedFd {
        self.0.into_inner()
    }
}

impl AsFd for ReadSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsyncRead for ReadSocket {
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

/// Reads until the end of the stream, or until `keep` returns false. Once the process has `exited`, reads only what is
/// in the pipe already.
async fn read(
    from: &mut (impl AsyncRead + AsFd + Unpin),
    exited: impl Future<Output = ()>,
    mut keep: impl FnMut(&[u8]) -> bool,
) {
    let mut chunk = vec![0; FIRST_CHUNK];
    tokio::pin!(exited);
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
            () = &mut exited => break,
        }
    }
    let mut left = MAX_PIPE;
    // Not through tokio, which may not have seen yet that the pipe is readable.
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

/// Reads until the end of the stream, or until what was read `is_complete`; `None` if that is more than `max` bytes.
pub(super) async fn read_bounded(
    from: Option<&mut (impl AsyncRead + AsFd + Unpin)>,
    max: usize,
    is_complete: impl Fn(&[u8]) -> bool,
    exited: impl Future<Output = ()>,
) -> Option<Bytes> {
    let mut bytes = Vec::new();
    read(from?, exited, |chunk| {
        bytes.extend_from_slice(chunk);
        bytes.len() <= max && !is_complete(&bytes)
    })
    .await;
    (bytes.len() <= max).then(|| bytes.into())
}

/// Reads until the end of the stream and returns the last [`STDERR_KEPT`] bytes.
pub(super) async fn read_tail(from: Option<pipe::Receiver>, exited: impl Future<Output = ()>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut kept = Vec::new();
    read(&mut from, exited, |chunk| {
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

    /// Events for which the runtime registered this descriptor, as the kernel reports them for each epoll instance.
    fn registered_events(fd: RawFd) -> Vec<u32> {
        let folder = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let infos: Vec<_> = folder.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok()).collect();
        let of_this = |line: &str| {
            let mut fields = line.strip_prefix("tfd:")?.split_ascii_whitespace();
            (fields.next()? == fd.to_string()).then(|| u32::from_str_radix(fields.nth(1).unwrap(), 16).unwrap())
        };
        infos.iter().flat_map(|info| info.lines()).filter_map(of_this).collect()
    }

    #[tokio::test]
    async fn a_read_socket_is_registered_for_reading_only() {
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let number = ours.as_raw_fd();
        let mut socket = ReadSocket::new(ours).unwrap();
        let events = registered_events(number);
        let (readable, writable) = (libc::EPOLLIN as u32, libc::EPOLLOUT as u32);
        let reading_only = |events: &u32| events & (readable | writable) == readable;
        assert!(!events.is_empty() && events.iter().all(reading_only), "{events:x?}");
        // It reads what is there, and waits for what is not.
        rustix::io::write(&its, b"one").unwrap();
        let mut bytes = [0; 8];
        assert_eq!(socket.read(&mut bytes).await.unwrap(), 3);
        let (read, written) = tokio::join!(socket.read(&mut bytes), async { rustix::io::write(&its, b"four") });
        assert_eq!((read.unwrap(), written.unwrap()), (4, 4));
        drop(its);
        assert_eq!(socket.read(&mut bytes).await.unwrap(), 0);
    }
}
