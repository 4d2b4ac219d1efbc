//! A template: one artifact, mapped and linked, in a process with one thread. It runs no guest; each job is a fork
//! of it, which has a fresh instance and its own memory, and which dies after one reply.

use super::{
    control::{receive, send},
    execute, exit, failed,
    protocol::{Command, Execution, How, MAX_COMMAND, MAX_INLINE, Setup, Told, name},
    said, set_limit, set_name,
    slice::work_in_long_slices,
    write_reply,
};
use crate::{
    end::End,
    job::protocol::Reply,
    sandbox::{ForkLock, Limits, lock_template},
    wasm::{CallError, Ready, Runtime},
};
use pvf_shared::verdict::clean_reason;
use sp_wasm_interface::HostFunctions;
use std::{
    fs::File,
    io::{Cursor, Error, ErrorKind, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Links, says how that went, and forks and reaps as it is told, until the worker's end of `control` is closed.
pub(super) fn run<H: HostFunctions>(setup: &Setup, control: OwnedFd) -> Result<(), String> {
    compute_alone()?;
    // A guest can ask for it, and may do other things then: the level of the existing host's workers, whose operator
    // has not asked for another. Nothing is shown, as there is no logger.
    log::set_max_level(log::LevelFilter::Error);
    // SAFETY: the worker verified the seal of the file and keeps it in a folder that only it can write.
    let linked = catch_unwind(AssertUnwindSafe(|| unsafe {
        Runtime::from_file::<H>(&setup.artifact, &setup.params, setup.baseline)
    }));
    let runtime = match linked {
        Ok(Ok(runtime)) => runtime,
        Ok(Err(CallError::Construction(why) | CallError::Invalid(why))) => {
            return tell(&control, &Told::Construction(why), &[]);
        }
        Err(panic) => return tell(&control, &Told::Construction(clean_reason(&said(&*panic))), &[]),
    };
    // It has run nothing, and each fork gets it as it is.
    let mut ready = runtime.ready();
    // From here on it opens nothing, and what comes is a stranger's.
    let lock = match lock_template(setup.sandbox, &Limits::template(&setup.params)) {
        Ok(lock) => lock,
        // Said before the worker sees the socket closed: it does not wait for words then.
        Err(why) => exit(Err(why)),
    };
    tell(&control, &Told::Ready, &[])?;
    loop {
        let mut packet = [0; MAX_COMMAND];
        let (len, descriptors) = receive(&control, &mut packet).map_err(failed("control socket"))?;
        if len == 0 {
            return Ok(());
        }
        let command = rmp_serde::from_slice(&packet[..len]).map_err(|e| format!("command: {e}"))?;
        match (command, descriptors) {
            (Command::Fork, [Some(socket), Some(stderr)]) => match fork() {
                Ok(Forked::Child { parent }) => {
                    // Nobody else's descriptors: only the worker and the template talk to each other there.
                    drop(control);
                    exit(await_job(&lock, [&socket, &stderr], parent).and_then(|()| {
                        drop(stderr);
                        serve((&runtime, ready.take()), socket, &lock)
                    }))
                }
                Ok(Forked::Parent { pid, pidfd }) => tell(&control, &Told::Forked(pid), &[pidfd.as_fd()])?,
                Err(error) => tell(&control, &failure(&error), &[])?,
            },
            (Command::Fork, _) => return Err("a fork is asked for without its descriptors".into()),
            // The worker saw its end, so this does not wait.
            (Command::Reap(pid), _) => {
                tell(&control, &End::wait(pid).map_or_else(|e| failure(&e), Told::Reaped), &[])?;
            }
        }
    }
}

/// Host functions that compute in parallel (those of RFC 163 do) find a pool that is this thread. Left to themselves
/// they would start threads in the fork, which is not allowed to, and dies of it: that is no verdict.
fn compute_alone() -> Result<(), String> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
    pool.build_global().map_err(|e| format!("a pool of one thread: {e}"))
}

fn tell(control: &OwnedFd, what: &Told, descriptors: &[BorrowedFd<'_>]) -> Result<(), String> {
    let send = |bytes: &[u8]| send(control, bytes, descriptors).map_err(failed("control socket"));
    // What is said of a fork fits, and takes no memory.
    let mut space = Cursor::new([0; 128]);
    if rmp_serde::encode::write(&mut space, what).is_ok() {
        return send(&space.get_ref()[..space.position() as usize]);
    }
    send(&rmp_serde::to_vec(what).map_err(|e| format!("answer: {e}"))?)
}

fn failure(error: &Error) -> Told {
    Told::Failed(error.raw_os_error().unwrap_or(libc::EIO))
}

enum Forked {
    Child { parent: i32 },
    Parent { pid: i32, pidfd: OwnedFd },
}

unsafe extern "C" {
    /// `fork` without what that does for other threads, which writes to a handful of pages here and in each fork.
    /// (glibc since 2.34, musl since 1.2.2.)
    fn _Fork() -> libc::pid_t;
}

fn fork() -> Result<Forked, Error> {
    // SAFETY: this process has one thread, so the child's copy of everything is consistent. The child has not been
    // reaped when its pidfd is made, so the number is its own; the kernel gives that descriptor to us alone.
    unsafe {
        let parent = libc::getpid();
        match _Fork() {
            0 => Ok(Forked::Child { parent }),
            pid if pid > 0 => match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
                fd if fd >= 0 => Ok(Forked::Parent { pid, pidfd: OwnedFd::from_raw_fd(fd as i32) }),
                // Without it nobody can watch the fork, and a template may not send signals: both end.
                _ => exit(Err(failed("descriptor of a fork")(Error::last_os_error()))),
            },
            _ => Err(Error::last_os_error()),
        }
    }
}

/// A fork gets ready for its job, and is locked up for it.
fn await_job(lock: &ForkLock, [socket, stderr]: [&OwnedFd; 2], parent: i32) -> Result<(), String> {
    die_with(parent)?;
    set_name(name::SPARE);
    work_in_long_slices();
    // Descriptors 0 to 2 were the template's. The image of the guest's memory is behind others, which stay open.
    for (from, to) in [(socket, 0), (stderr, 1), (stderr, 2)] {
        // SAFETY: a plain system call on descriptors that are open.
        if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
            return Err(failed("descriptors")(Error::last_os_error()));
        }
    }
    lock.lock()
}

fn die_with(parent: i32) -> Result<(), String> {
    // SAFETY: plain system calls.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(failed("parent death signal")(Error::last_os_error()));
        }
        if parent != libc::getppid() {
            return Err("the process that started this one is gone".into());
        }
    }
    Ok(())
}

/// A fork: waits for its job, does it, replies.
fn serve((runtime, ready): (&Runtime, Option<Ready>), socket: OwnedFd, lock: &ForkLock) -> Result<(), String> {
    let mut inline = [0; MAX_INLINE];
    let (len, [first, second]) = receive(&socket, &mut inline).map_err(failed("request"))?;
    let Some((how, inline)) = inline[..len].split_first() else {
        // The worker does not need it any more.
        return Ok(());
    };
    let how = How::from_byte(*how).ok_or("a request of no known kind")?;
    let (file, before) = if how.in_file { (first, second) } else { (None, first) };
    let large = file.map(whole).transpose().map_err(failed("request"))?;
    let job = Execution::read(large.as_deref().unwrap_or(inline)).ok_or("a request that is none")?;
    set_limit(libc::RLIMIT_CPU, job.cpu_seconds).map_err(failed("CPU limit"))?;
    if how.waits && !await_turn(&socket, before.ok_or("a request without what it waits for")?)? {
        return Ok(());
    }
    set_name(name::EXECUTE);
    lock.no_descriptors()?;
    let done = catch_unwind(AssertUnwindSafe(|| execute::run(runtime, ready, &job)));
    let reply = done.unwrap_or_else(|panic| Reply::JobError(clean_reason(&said(&*panic))));
    // Nothing of what is here is taken apart.
    exit(write_reply(&mut UnixStream::from(socket), &reply, &[]))
}

/// Waits until this other process has ended, or the worker says that it need not wait; false if it is not needed.
fn await_turn(socket: &OwnedFd, before: OwnedFd) -> Result<bool, String> {
    set_name(name::NEXT);
    let mut events = [&before, socket].map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: a plain system call; the pointer is to as many entries as it says.
        let ready = unsafe { libc::ppoll(events.as_mut_ptr(), 2, std::ptr::null(), std::ptr::null()) };
        match ready {
            1.. if events[0].revents != 0 => return Ok(true),
            1.. => return receive(socket, &mut [0; 8]).map(|(len, _)| len > 0).map_err(failed("its turn")),
            _ if Error::last_os_error().kind() == ErrorKind::Interrupted => {}
            _ => return Err(failed("its turn")(Error::last_os_error())),
        }
    }
}

/// All of a file, with no other calls than a fork may make.
fn whole(file: OwnedFd) -> Result<Vec<u8>, Error> {
    let mut file = File::from(file);
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}
