//! A child process of the worker: started, killed, reaped. Dropping it at any point kills and reaps it, so that neither
//! a zombie nor a descriptor remains.

use super::{
    launch::{Launch, Launched, launch},
    pipes::MAX_PIPE,
    process_handle::ProcessHandle,
};
use crate::{exit_status::ExitStatus, sandbox::Plan};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::{
    fs::File,
    io::{Error, Result},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError, mpsc},
};
use tokio::{net::unix::pipe, sync::oneshot};

/// A child that has not been reaped. Dropping it kills and reaps it.
struct Child(libc::pid_t);

impl Drop for Child {
    fn drop(&mut self) {
        // Blocks briefly to reap; SIGKILL cannot be deferred.
        // SAFETY: plain system calls on a child that has not been reaped, so the id is still its own.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// A child that the spawner thread has just started.
struct Started {
    child: Child,
    pidfd: OwnedFd,
    stdout: Option<OwnedFd>,
    stderr: OwnedFd,
}

/// A running child.
pub(super) struct Process {
    child: Child,
    pub(super) handle: ProcessHandle,
    /// Its stdout, if that is a pipe.
    pub(super) stdout: Option<pipe::Receiver>,
    /// Its stderr.
    pub(super) stderr: Option<pipe::Receiver>,
}

/// How to start a child.
pub(super) struct Start {
    pub(super) exe: std::path::PathBuf,
    pub(super) args: Vec<String>,
    pub(super) stdin: File,
    /// Its stdout; `None` for a pipe.
    pub(super) stdout: Option<OwnedFd>,
    /// Stack limit of its first thread, bytes; `None` for the worker's own limit.
    pub(super) stack: Option<u64>,
    /// Sandbox mechanisms; only namespaces apply at the start.
    pub(super) plan: Plan,
}

type Answer = oneshot::Sender<Result<Started>>;

/// Channel to the thread that starts all children; `None` until the machine has given a thread. A child's parent death
/// signal is sent when the *thread* that started it exits, so that must be a thread that lives as long as the worker,
/// not one of a runtime's pool.
static SPAWNER: Mutex<Option<mpsc::Sender<(Start, Answer)>>> = Mutex::new(None);

/// The channel; the thread is started if there is none yet.
fn spawner() -> Result<mpsc::Sender<(Start, Answer)>> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = &*spawner {
        return Ok(running.clone());
    }
    let (tx, rx) = mpsc::channel::<(Start, Answer)>();
    let serve = move || {
        for (start, answer) in rx {
            if answer.is_closed() {
                continue;
            }
            // If the caller has stopped waiting, dropping the child kills it.
            let _ = answer.send(spawn(start));
        }
    };
    std::thread::Builder::new().name("pvf-spawner".into()).spawn(serve)?;
    Ok(spawner.insert(tx).clone())
}

/// Starts the spawner thread, unless it runs already.
pub(super) fn start_spawner() {
    // If the machine refuses the thread now, the first process that is started asks for it again, and reports it.
    let _ = spawner();
}

fn spawn(start: Start) -> Result<Started> {
    let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, child_stdout) = match start.stdout {
        Some(given) => (None, given),
        None => pipe_with(PipeFlags::CLOEXEC).map(|(ours, its)| (Some(ours), its))?,
    };
    if let Some(stdout) = &stdout {
        // Best effort: an artifact comes this way, and takes longer through a smaller pipe.
        let _ = fcntl_setpipe_size(stdout, MAX_PIPE);
    }
    let standard = [start.stdin.into(), child_stdout, child_stderr];
    let Launched { pid, pidfd } =
        launch(Launch { exe: &start.exe, args: &start.args, standard, stack: start.stack, plan: start.plan })?;
    Ok(Started { child: Child(pid), pidfd, stdout, stderr })
}

impl Process {
    /// Starts a child.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let (tx, rx) = oneshot::channel();
        let gone = || Error::other("the thread that starts processes has exited");
        spawner()?.send((start, tx)).map_err(|_| gone())?;
        let Started { child, pidfd, stdout, stderr } = rx.await.map_err(|_| gone())??;
        let handle = ProcessHandle::new(child.0, pidfd)?;
        let stdout = stdout.map(pipe::Receiver::from_owned_fd).transpose()?;
        let stderr = Some(pipe::Receiver::from_owned_fd(stderr)?);
        Ok(Self { child, handle, stdout, stderr })
    }

    /// Reaps the process, which has exited.
    pub(super) fn reap(self) -> Result<ExitStatus> {
        let status = ExitStatus::wait(self.child.0)?;
        std::mem::forget(self.child);
        Ok(status)
    }
}
