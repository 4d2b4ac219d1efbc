//! One child process: started, watched by the kernel's account of its CPU time and by the wall clock, killed,
//! reaped. Never a zombie, never a leaked descriptor, also when the future is dropped.

use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::{
    fs::File,
    io::{Error, Result},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};
use tokio::{io::unix::AsyncFd, net::unix::pipe, sync::oneshot, time::Instant};

/// How a process ended and what it used.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// As `wait` gives it.
    pub(super) status: libc::c_int,
    /// CPU time, user and system, all threads.
    pub(super) cpu: Duration,
    /// Largest resident set, KiB.
    pub(super) max_rss_kib: u64,
}

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
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// A running child.
pub(super) struct Process {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
    /// What it writes to stdout.
    pub(super) stdout: Option<pipe::Receiver>,
    /// What it writes to stderr.
    pub(super) stderr: Option<pipe::Receiver>,
}

/// What is started.
pub(super) struct Start {
    pub(super) exe: std::path::PathBuf,
    pub(super) args: Vec<String>,
    pub(super) stdin: File,
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
    command.stdin(start.stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let child = Child(child.id() as libc::pid_t);
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else { return Err(Error::other("a child without pipes")) };
    // SAFETY: a plain system call; the child cannot have been reaped, nobody else waits for it.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.0, libc::O_NONBLOCK) };
    if pidfd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    Ok(Started { child, pidfd, stdout: stdout.into(), stderr: stderr.into() })
}

impl Process {
    /// Starts a child.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let (tx, rx) = oneshot::channel();
        let gone = || Error::other("the thread that starts processes is gone");
        spawner().send((start, tx)).map_err(|_| gone())?;
        let Started { child, pidfd, stdout, stderr } = rx.await.map_err(|_| gone())??;
        // SAFETY: the descriptor is owned by the AsyncFd and stays open, and the same, for as long as that lives.
        let pidfd = unsafe { AsyncFd::register(pidfd) }?;
        let stdout = Some(pipe::Receiver::from_owned_fd(stdout)?);
        let stderr = Some(pipe::Receiver::from_owned_fd(stderr)?);
        Ok(Self { child, pidfd, stdout, stderr })
    }

    /// SIGKILL, by pidfd: never to another process that got the same number.
    pub(super) fn kill(&self) {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: a plain system call on an open descriptor.
        unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, std::ptr::null::<libc::siginfo_t>(), 0)
        };
    }

    /// CPU time of the process so far, by the kernel's clock for it.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let mut clock = 0;
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the pointers are to live values; the child has not been reaped, so the number is still its.
        unsafe {
            if libc::clock_getcpuclockid(self.child.0, &raw mut clock) != 0
                || libc::clock_gettime(clock, time.as_mut_ptr()) != 0
            {
                return None;
            }
            let time = time.assume_init();
            Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
        }
    }

    /// Whether the process has ended, asked of the kernel. Does not reap it.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::PidFd(self.pidfd.get_ref().as_fd()), options), Ok(Some(_)))
    }

    /// Waits until the process has ended. Does not reap it.
    pub(super) async fn ended(&self) -> Result<()> {
        self.pidfd.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// As [`Process::ended`], for those who leave an error of it to [`watch`].
    pub(super) async fn gone(&self) {
        let _ = self.ended().await;
    }

    /// Reaps the ended process.
    pub(super) fn reap(self) -> Result<End> {
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointers are to live values, and the child is ours and not yet reaped.
        let usage = unsafe {
            if libc::wait4(self.child.0, &raw mut status, 0, usage.as_mut_ptr()) < 0 {
                return Err(Error::last_os_error());
            }
            usage.assume_init()
        };
        std::mem::forget(self.child);
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        Ok(End {
            status,
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        })
    }
}

/// Why a process was killed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overrun {
    /// More CPU time than it may use.
    Cpu,
    /// More time on the wall clock than it may take.
    Wall,
}

/// Limits of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    /// How many threads it may keep busy: its CPU time grows at most this many times as fast as the clock.
    pub(super) threads: u32,
}

/// Waits for the end of a process and ends it when it goes over a limit.
pub(super) async fn watch(process: &Process, limits: Limits) -> Result<Option<Overrun>> {
    let start = Instant::now();
    loop {
        let cpu = process.cpu().unwrap_or_default();
        let wall = start.elapsed();
        let overrun = if cpu > limits.cpu {
            Some(Overrun::Cpu)
        } else if wall > limits.wall {
            Some(Overrun::Wall)
        } else {
            None
        };
        if overrun.is_some() {
            if process.has_ended() {
                // It was us who did not look for too long. Its CPU time is the kernel's to tell.
                return Ok(None);
            }
            process.kill();
            process.ended().await?;
            return Ok(overrun);
        }
        let earliest = (limits.cpu - cpu) / limits.threads.max(1);
        let pause = earliest.min(limits.wall - wall).max(Duration::from_millis(1));
        tokio::select! {
            biased;
            ended = process.ended() => return ended.map(|()| None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
