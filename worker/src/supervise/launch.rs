//! Clone and exec: how a child process starts. From its first instruction it is in its namespaces; it dies with the
//! worker, and has three descriptors, no environment and no terminal.
//!
//! The worker has many threads, so until its child executes a program it may make plain system calls only: everything
//! it needs is set up before the clone. After setting its parent death signal the child waits for a byte from the
//! worker, which closes the race with the worker's own exit. (In a PID namespace the child cannot ask for its parent.)

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

/// How to start a child.
pub(super) struct Launch<'a> {
    pub(super) exe: &'a Path,
    pub(super) args: &'a [String],
    /// stdin, stdout and stderr.
    pub(super) standard: [OwnedFd; 3],
    /// Stack limit of its first thread, bytes; `None` for the worker's own limit.
    pub(super) stack: Option<u64>,
    /// Sandbox mechanisms, of which the namespaces apply here.
    pub(super) plan: Plan,
}

/// A child that has executed its program and has not been reaped.
pub(super) struct Launched {
    pub(super) pid: libc::pid_t,
    pub(super) pidfd: OwnedFd,
}

/// Everything the child needs, as system calls take it.
struct ChildSetup {
    namespaces: Namespaces,
    exe: OwnedFd,
    path: CString,
    argv: Vec<*const c_char>,
    standard: [OwnedFd; 3],
    stack: Option<u64>,
    /// Both ends of the start-up socket: the child's and the worker's.
    sockets: [OwnedFd; 2],
}

/// Has the kernel keep the exit status of children. A parent that ignores SIGCHLD leaves that to its children, and the
/// kernel then reaps their children by itself: how a job ended would be unknown.
pub(super) fn keep_exit_statuses() {
    // SAFETY: the structure is plain numbers, for which zero is valid; the pointers are to a live value.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action) != 0 {
            return;
        }
        let is_ignored = action.sa_sigaction == libc::SIG_IGN;
        if is_ignored || action.sa_flags & libc::SA_NOCLDWAIT != 0 {
            action.sa_flags &= !libc::SA_NOCLDWAIT;
            if is_ignored {
                action.sa_sigaction = libc::SIG_DFL;
            }
            libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Starts a child; an error if it cannot execute its program.
pub(super) fn launch(what: Launch<'_>) -> Result<Launched> {
    keep_exit_statuses();
    let path = CString::new(what.exe.as_os_str().as_bytes())?;
    let args = what.args.iter().map(|arg| CString::new(arg.as_str())).collect::<std::result::Result<Vec<_>, _>>()?;
    let null = std::ptr::null();
    let argv = [path.as_ptr()].into_iter().chain(args.iter().map(|a| a.as_ptr())).chain([null]).collect();
    let kind = (AddressFamily::UNIX, SocketType::STREAM);
    let (its, ours) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
    let setup = ChildSetup {
        namespaces: Namespaces::of(what.plan),
        // By descriptor: in the child's PID namespace, `/proc/<worker>/exe` is another process.
        exe: open(what.exe, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        path,
        argv,
        standard: what.standard,
        stack: what.stack,
        sockets: [its, ours],
    };
    let mut pidfd: c_int = -1;
    let flags = setup.namespaces.flags() | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and without a stack this is fork: the child continues with a copy of this thread. It
    // makes system calls only and never returns from here. The kernel writes the descriptor before the call returns.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, &raw mut pidfd, 0, 0);
        if pid == 0 {
            let error = setup.run();
            setup.report(&error);
            libc::_exit(127)
        }
        pid as libc::pid_t
    };
    if pid < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let [its, ours] = setup.sockets;
    drop(its);
    match await_exec(UnixStream::from(ours)) {
        Ok(()) => Ok(Launched { pid, pidfd }),
        Err(error) => {
            // SAFETY: plain system calls on a child that has not been reaped.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, std::ptr::null_mut(), 0);
            }
            Err(error)
        }
    }
}

/// Completes the start-up handshake and waits until the child has executed its program, which closes its end.
fn await_exec(mut child: UnixStream) -> Result<()> {
    child.read_exact(&mut [0])?;
    child.write_all(&[1])?;
    let mut errno = Vec::new();
    child.read_to_end(&mut errno)?;
    match <[u8; 4]>::try_from(errno.as_slice()) {
        Ok(errno) => Err(Error::from_raw_os_error(i32::from_ne_bytes(errno))),
        Err(_) => Ok(()),
    }
}

impl ChildSetup {
    /// Becomes the child's program; returns only if a step fails. Must not allocate.
    ///
    /// # Safety
    /// Must be called in a process that was just cloned and that exits if this returns.
    unsafe fn run(&self) -> Error {
        match self.set_up() {
            Err(error) => error,
            Ok(()) => {
                let environment = [std::ptr::null::<c_char>()];
                // SAFETY: the pointers are to live NUL-terminated strings and to null-terminated lists of them.
                unsafe {
                    let (fd, empty) = (self.exe.as_raw_fd(), c"".as_ptr());
                    let (argv, envp) = (self.argv.as_ptr(), environment.as_ptr());
                    libc::syscall(libc::SYS_execveat, fd, empty, argv, envp, libc::AT_EMPTY_PATH);
                    let error = Error::last_os_error();
                    if error.raw_os_error() == Some(libc::ENOENT) {
                        // A script: its interpreter has to open it by path.
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
        // SAFETY: plain system calls on open descriptors and live values.
        unsafe {
            // This copy of the worker's end would keep the socket open after the worker has exited.
            libc::close(worker);
            done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::write(socket, word.as_ptr().cast(), 1) != 1 || libc::read(socket, word.as_mut_ptr().cast(), 1) != 1
            {
                // The worker has exited.
                libc::_exit(127);
            }
            self.namespaces.map()?;
            // Detaches from the terminal and its signals.
            done(libc::setsid())?;
            for (to, from) in (0..).zip(&self.standard) {
                done(libc::dup2(from.as_raw_fd(), to))?;
            }
            // Covers descriptors without the close-on-exec flag. Best effort: the program closes them again.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            done(libc::chdir(c"/".as_ptr()))?;
            if let Some(stack) = self.stack {
                // The kernel lays out the program's address space by this limit.
                let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                done(libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit))?;
                limit.rlim_cur = stack;
                done(libc::setrlimit(libc::RLIMIT_STACK, &raw const limit))?;
            }
            // As std::process::Command does: default signal handling. A template has children of its own.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            done(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()))
        }
    }

    /// Sends the error to the worker.
    fn report(&self, error: &Error) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
        // SAFETY: a plain system call on a descriptor that is open.
        unsafe { libc::write(self.sockets[0].as_raw_fd(), errno.as_ptr().cast(), errno.len()) };
    }
}
