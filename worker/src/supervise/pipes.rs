//! What a job writes: bounded while it is read, and read no longer than the job lives. A process that the job left
//! behind may hold the other end for ever; what it writes is not waited for.

use pvf_shared::Bytes;
use std::future::Future;
use std::os::fd::AsFd;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::unix::pipe,
};

/// How much of a job's stderr is kept, bytes.
pub(super) const STDERR_KEPT: usize = 4096;
/// Bytes that are read at once, at the most; small to begin with, because most replies are.
const CHUNK: usize = 256 * 1024;
const FIRST_CHUNK: usize = 1024;
/// A pipe holds at most 1 MiB, unless the job is privileged.
pub(super) const FULL_PIPE: usize = 1024 * 1024;

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
