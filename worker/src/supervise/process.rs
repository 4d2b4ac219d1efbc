//! One child process: started, killed, reaped. Never a zombie, never a leaked descriptor, also when the future is
//! dropped.

use super::watch::Handle;
use crate::end::End;
use std::{
    fs::File,
    io::{Error, Result},
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    sync::{OnceLock, mpsc},
};
use tokio::{net::unix::pipe, sync::oneshot};

/// A child that has not been reaped: killed and reaped when dropped, wherever on its way that happens.
struct Child(libc::pid_t);

impl Drop for Child {
    fn drop(&mut self) {
        // SIGKILL cannot be put off; a moment is fine, a zombie is not.
        // SAFETY: plain system calls on a child that has not been reaped, so the number is still its.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// A child that was just started, on its way to whoever asked for it.
struct Started {
    child: Child,
    pidfd: OwnedFd,
    stdout: Option<OwnedFd>,
    stderr: OwnedFd,
}

/// A running child.
pub(super) struct Process {
    child: Child,
    /// What it is watched by.
    pub(super) handle: Handle,
    /// What it writes to stdout, if that is a pipe.
    pub(super) stdout: Option<pipe::Receiver>,
    /// What it writes to stderr.
    pub(super) stderr: Option<pipe::Receiver>,
}

/// What is started.
pub(super) struct Start {
    pub(super) exe: std::path::PathBuf,
    pub(super) args: Vec<String>,
    pub(super) stdin: File,
    /// Its stdout; absent: a pipe.
    pub(super) stdout: Option<OwnedFd>,
    /// How large the stack of its first thread may become, bytes; absent: as ours.
    pub(super) stack: Option<u64>,
}

type Answer = oneshot::Sender<Result<Started>>;

/// Children are told to die when the *thread* that started them does, so that is one thread for ever, and not one
/// of a runtime that comes and goes.
fn spawner() -> &'static mpsc::Sender<(Start, Answer)> {
    static SPAWNER: OnceLock<mpsc::Sender<(Start, Answer)>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (tx, rx) = mpsc::channel::<(Start, Answer)>();
        let serve = move || {
            for (start, answer) in rx {
                if answer.is_closed() {
                    continue;
                }
                // If nobody waits for it any more, dropping it ends it.
                let _ = answer.send(spawn_now(start));
            }
        };
        // Without this thread no job can run at all; the senders' errors say so.
        let _ = std::thread::Builder::new().name("pvf-spawner".into()).spawn(serve);
        tx
    })
}

fn spawn_now(start: Start) -> Result<Started> {
    let mut command = Command::new(&start.exe);
    command.args(&start.args).env_clear().current_dir(Path::new("/"));
    command.stdin(start.stdin).stderr(Stdio::piped());
    command.stdout(start.stdout.map_or_else(Stdio::piped, Stdio::from));
    if let Some(stack) = start.stack {
        // SAFETY: plain system calls, which may be made between fork and exec; the kernel lays out the address space
        // of what is executed so that the stack can become that large.
        unsafe { command.pre_exec(move || set_stack_limit(stack)) };
    }
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let child = Child(child.id() as libc::pid_t);
    let Some(stderr) = stderr else { return Err(Error::other("a child without pipes")) };
    // SAFETY: a plain system call; the child cannot have been reaped, nobody else waits for it.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.0, libc::O_NONBLOCK) };
    if pidfd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    Ok(Started { child, pidfd, stdout: stdout.map(Into::into), stderr: stderr.into() })
}

fn set_stack_limit(bytes: u64) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live value.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) != 0 {
            return Err(Error::last_os_error());
        }
        limit.rlim_cur = bytes;
        if libc::setrlimit(libc::RLIMIT_STACK, &raw const limit) != 0 {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}

impl Process {
    /// Starts a child.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let (tx, rx) = oneshot::channel();
        let gone = || Error::other("the thread that starts processes is gone");
        spawner().send((start, tx)).map_err(|_| gone())?;
        let Started { child, pidfd, stdout, stderr } = rx.await.map_err(|_| gone())??;
        let handle = Handle::new(child.0, pidfd)?;
        let stdout = stdout.map(pipe::Receiver::from_owned_fd).transpose()?;
        let stderr = Some(pipe::Receiver::from_owned_fd(stderr)?);
        Ok(Self { child, handle, stdout, stderr })
    }

    /// Reaps the ended process.
    pub(super) fn reap(self) -> Result<End> {
        let end = End::wait(self.child.0)?;
        std::mem::forget(self.child);
        Ok(end)
    }
}
