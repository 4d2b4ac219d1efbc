//! A fork of a template: it locks itself up, waits for one job, does it, replies and exits.

use super::{
    execute,
    failure::Failure,
    packet::receive,
    process::{exit, set_limit, set_name},
    protocol::{ExecuteRequest, JobReply, MAX_INLINE, RequestHeader, name},
    reply::{panic_text, write_reply},
    time_slice,
};
use crate::{
    sandbox::ForkLock,
    wasm::{Ready, Runtime},
};
use pvf_shared::verdict::clean_reason;
use std::{
    fs::File,
    io::{Error, ErrorKind, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What a fork has: the template's linked artifact, its sandbox and its own socket.
pub(super) struct Fork<'a> {
    pub(super) runtime: &'a Runtime,
    /// An instance made ahead of time, if that is possible for this artifact.
    pub(super) ready: Option<Ready>,
    pub(super) lock: &'a ForkLock,
    /// Socket to the worker.
    pub(super) socket: OwnedFd,
}

/// Serves one job. Returns without one if the worker closes the socket first.
pub(super) fn run(fork: Fork<'_>, stderr: OwnedFd, parent: i32) -> Result<(), Failure> {
    die_with_parent(parent)?;
    set_name(name::SPARE);
    time_slice::request_long_slices();
    // Descriptors 0 to 2 were the template's. The guest's memory image is behind others, which stay open.
    for (from, to) in [(&fork.socket, 0), (&stderr, 1), (&stderr, 2)] {
        // SAFETY: a plain system call on descriptors that are open.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(Failure::last_os_error("descriptors"));
        }
    }
    fork.lock.lock().map_err(|error| Failure::Sandbox(error.to_string()))?;
    drop(stderr);
    serve(fork)
}

fn die_with_parent(parent: i32) -> Result<(), Failure> {
    // SAFETY: plain system calls.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(Failure::last_os_error("parent death signal"));
        }
        if parent != libc::getppid() {
            return Err(Failure::Orphaned);
        }
    }
    Ok(())
}

fn serve(Fork { runtime, ready, lock, socket }: Fork<'_>) -> Result<(), Failure> {
    let mut inline = [0; MAX_INLINE];
    let (len, descriptors) = receive(&socket, &mut inline).map_err(Failure::system("request"))?;
    let Some((header, inline)) = inline[..len].split_first() else {
        // The worker has no job for this fork.
        return Ok(());
    };
    let header = RequestHeader::from_byte(*header).ok_or(Failure::Protocol("unknown kind of execution request"))?;
    let mut descriptors = descriptors.into_iter().flatten();
    let file = if header.in_file { descriptors.next() } else { None };
    let block_data = if header.mapped { descriptors.next() } else { None };
    let predecessor = descriptors.next();
    let large = file.map(read_file).transpose().map_err(Failure::system("request"))?;
    let mut request = ExecuteRequest::decode(large.as_deref().unwrap_or(inline))
        .ok_or(Failure::Protocol("malformed execution request"))?;
    if let Some(file) = block_data {
        request.block_data = map_file(file).map_err(Failure::system("block data"))?;
    }
    set_limit(libc::RLIMIT_CPU, request.cpu_seconds).map_err(Failure::system("CPU limit"))?;
    if header.staged {
        let predecessor = predecessor.ok_or(Failure::Protocol("a staged job without its predecessor"))?;
        if !await_start(&socket, &predecessor)? {
            return Ok(());
        }
    }
    set_name(name::EXECUTE);
    lock.no_descriptors().map_err(|error| Failure::Sandbox(error.to_string()))?;
    let reply = catch_unwind(AssertUnwindSafe(|| execute::run(runtime, ready, &request)))
        .unwrap_or_else(|panic| JobReply::JobError(clean_reason(&panic_text(&*panic))));
    // Exits here, so that no destructor runs.
    exit(write_reply(&mut UnixStream::from(socket), &reply, &[]))
}

/// Waits until the predecessor has exited or the worker sends the start signal; false if the worker closes the socket
/// instead. The kernel wakes the fork, so the start does not depend on when the worker gets a core.
fn await_start(socket: &OwnedFd, predecessor: &OwnedFd) -> Result<bool, Failure> {
    set_name(name::NEXT);
    let mut events =
        [predecessor, socket].map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: a plain system call; the pointer is to an array of two.
        let ready = unsafe { libc::ppoll(events.as_mut_ptr(), 2, std::ptr::null(), std::ptr::null()) };
        match ready {
            1.. if events[0].revents != 0 => return Ok(true),
            1.. => {
                return receive(socket, &mut [0; 8]).map(|(len, _)| len > 0).map_err(Failure::system("start signal"));
            }
            _ if Error::last_os_error().kind() == ErrorKind::Interrupted => {}
            _ => return Err(Failure::last_os_error("start signal")),
        }
    }
}

/// Maps a whole file that nobody can change, until this process ends.
fn map_file(file: OwnedFd) -> Result<&'static [u8], Error> {
    let mut file = File::from(file);
    let len = usize::try_from(file.seek(SeekFrom::End(0))?).map_err(Error::other)?;
    // SAFETY: a new mapping. The worker has sealed the file, so it stays as long and as it is.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_POPULATE;
        let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, flags, file.as_raw_fd(), 0);
        if at == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts(at.cast(), len))
    }
}

/// Reads a whole file, with no system calls beyond those that a fork may make.
fn read_file(file: OwnedFd) -> Result<Vec<u8>, Error> {
    let mut file = File::from(file);
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}
