//! One child process: started, killed, reaped. Never a zombie, never a leaked descriptor, also when the future is
//! dropped.

use super::{
    launch::{Launch, Launched, launch},
    pipes::FULL_PIPE,
    watch::Handle,
};
use crate::{end::End, sandbox::Plan};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::{
    fs::File,
    io::{Error, Result},
    os::fd::OwnedFd,
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
    /// What is to hold it.
    pub(super) plan: Plan,
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

/// Starts that thread, if it is not there yet.
pub(super) fn start_spawner() {
    spawner();
}

fn spawn_now(start: Start) -> Result<Started> {
    let (stderr, its_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, its_stdout) = match start.stdout {
        Some(given) => (None, given),
        None => pipe_with(PipeFlags::CLOEXEC).map(|(ours, its)| (Some(ours), its))?,
    };
    if let Some(stdout) = &stdout {
        // An artifact comes this way. Where so much cannot be had it takes a little longer.
        let _ = fcntl_setpipe_size(stdout, FULL_PIPE);
    }
    let standard = [start.stdin.into(), its_stdout, its_stderr];
    let Launched { pid, pidfd } =
        launch(Launch { exe: &start.exe, args: &start.args, standard, stack: start.stack, plan: start.plan })?;
    Ok(Started { child: Child(pid), pidfd, stdout, stderr })
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
