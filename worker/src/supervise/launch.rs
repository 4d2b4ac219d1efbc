//! Clone and exec: how a process of ours begins. It is in its namespaces from its first instruction on, dies with its
//! worker, and has three descriptors, no environment and no terminal.
//!
//! The worker has many threads, so that its child may make plain system calls only until it executes something:
//! whatever it needs is prepared before. It waits for a word from us when it has asked for the signal of our death:
//! whoever gives that word was alive then, so that no death of ours goes unnoticed. (In a namespace of its own it
//! cannot see its parent, and could not ask.)

use crate::sandbox::{Plan, namespaces::Namespaces};
use rustix::{
    fs::{Mode, OFlags, open},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use std::{
    ffi::{CString, c_char, c_int},
    io::{Error, Read as _, Result, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, net::UnixStream},
    },
    path::Path,
};

/// What is started, and with what.
pub(super) struct Launch<'a> {
    pub(super) exe: &'a Path,
    pub(super) args: &'a [String],
    /// stdin, stdout and stderr.
    pub(super) standard: [OwnedFd; 3],
    /// How large the stack of its first thread may become, bytes; absent: as ours.
    pub(super) stack: Option<u64>,
    /// Whose namespaces it is in.
    pub(super) plan: Plan,
}

/// A child that has executed what it was started for. Nobody has reaped it.
pub(super) struct Launched {
    pub(super) pid: libc::pid_t,
    pub(super) pidfd: OwnedFd,
}

/// All that the child needs, in its form for system calls.
struct Prepared {
    namespaces: Namespaces,
    exe: OwnedFd,
    path: CString,
    argv: Vec<*const c_char>,
    standard: [OwnedFd; 3],
    stack: Option<u64>,
    /// The child's end of the socket to us, and ours.
    sockets: [OwnedFd; 2],
}

/// Starts a child; an error if it cannot execute what it is for.
pub(super) fn launch(what: Launch<'_>) -> Result<Launched> {
    let path = CString::new(what.exe.as_os_str().as_bytes())?;
    let args = what.args.iter().map(|arg| CString::new(arg.as_str())).collect::<std::result::Result<Vec<_>, _>>()?;
    let null = std::ptr::null();
    let argv = [path.as_ptr()].into_iter().chain(args.iter().map(|a| a.as_ptr())).chain([null]).collect();
    let kind = (AddressFamily::UNIX, SocketType::STREAM);
    let (its, ours) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
    let prepared = Prepared {
        namespaces: Namespaces::of(what.plan),
        // By descriptor: seen from the child's namespaces, `/proc/<worker>/exe` is somebody else's.
        exe: open(what.exe, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        path,
        argv,
        standard: what.standard,
        stack: what.stack,
        sockets: [its, ours],
    };
    let mut pidfd: c_int = -1;
    let flags = prepared.namespaces.flags() | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM, and without a stack, this is fork: the child goes on with a copy of this thread. It
    // makes system calls only and never returns from here. The kernel writes the descriptor before it returns to us.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, &raw mut pidfd, 0, 0);
        if pid == 0 {
            let error = prepared.go();
            prepared.complain(&error);
            libc::_exit(127)
        }
        pid as libc::pid_t
    };
    if pid < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let [its, ours] = prepared.sockets;
    drop(its);
    match begun(UnixStream::from(ours)) {
        Ok(()) => Ok(Launched { pid, pidfd }),
        Err(error) => {
            // SAFETY: plain system calls on our own child, which nobody has reaped.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
            Err(error)
        }
    }
}

/// Gives the child its word and waits until it has executed what it is for: then its end closes by itself.
fn begun(mut child: UnixStream) -> Result<()> {
    child.read_exact(&mut [0])?;
    child.write_all(&[1])?;
    let mut errno = Vec::new();
    child.read_to_end(&mut errno)?;
    match <[u8; 4]>::try_from(errno.as_slice()) {
        Ok(errno) => Err(Error::from_raw_os_error(i32::from_ne_bytes(errno))),
        Err(_) => Ok(()),
    }
}

impl Prepared {
    /// The child: returns only if something fails. Nothing here may allocate.
    ///
    /// # Safety
    /// To be called in a process that was just cloned and that ends if this returns.
    unsafe fn go(&self) -> Error {
        match self.set_up() {
            Err(error) => error,
            Ok(()) => {
                let environment = [std::ptr::null::<c_char>()];
                // SAFETY: the pointers are to live strings that end with 0 and lists of them that end with null.
                unsafe {
                    let (fd, empty) = (self.exe.as_raw_fd(), c"".as_ptr());
                    let (argv, envp) = (self.argv.as_ptr(), environment.as_ptr());
                    libc::syscall(libc::SYS_execveat, fd, empty, argv, envp, libc::AT_EMPTY_PATH);
                    let error = Error::last_os_error();
                    if error.raw_os_error() == Some(libc::ENOENT) {
                        // A script: its interpreter must find it by name.
                        libc::execve(self.path.as_ptr(), argv, envp);
                        return Error::last_os_error();
                    }
                    error
                }
            }
        }
    }

    fn set_up(&self) -> Result<()> {
        let done = |result: c_int| if result < 0 { Err(Error::last_os_error()) } else { Ok(()) };
        let [socket, worker] = [self.sockets[0].as_raw_fd(), self.sockets[1].as_raw_fd()];
        let mut word = [0_u8];
        // SAFETY: plain system calls on descriptors that are open and live values.
        unsafe {
            // Our copy of its end would keep it open for ever.
            libc::close(worker);
            done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::write(socket, word.as_ptr().cast(), 1) != 1 || libc::read(socket, word.as_mut_ptr().cast(), 1) != 1
            {
                // The worker is gone.
                libc::_exit(127);
            }
            self.namespaces.map()?;
            // No terminal, and no signals from one.
            done(libc::setsid())?;
            for (to, from) in (0..).zip(&self.standard) {
                done(libc::dup2(from.as_raw_fd(), to))?;
            }
            // Also what somebody forgot to mark. Best effort, the process looks again.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            done(libc::chdir(c"/".as_ptr()))?;
            if let Some(stack) = self.stack {
                // The kernel lays out the address space of what is executed so that the stack can become that large.
                let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                done(libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit))?;
                limit.rlim_cur = stack;
                done(libc::setrlimit(libc::RLIMIT_STACK, &raw const limit))?;
            }
            // What the standard library would have done: signals as a new program expects them.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            done(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))
        }
    }

    fn complain(&self, error: &Error) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
        // SAFETY: a plain system call on a descriptor that is open.
        unsafe { libc::write(self.sockets[0].as_raw_fd(), errno.as_ptr().cast(), errno.len()) };
    }
}
