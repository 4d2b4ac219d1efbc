//! One child process: started, watched by the kernel's account of its CPU time and by the wall clock, killed,
//! reaped. Never a zombie, never a leaked descriptor, also when the future is dropped.

use std::{
    fs::File,
    io::{Error, Result},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
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

/// A running child.
pub(super) struct Process {
    pid: libc::pid_t,
    pidfd: AsyncFd<OwnedFd>,
    reaped: bool,
    /// What it writes to stdout.
    pub(super) stdout: Option<pipe::Receiver>,
    /// What it writes to stderr.
    pub(super) stderr: Option<pipe::Receiver>,
}

/// What is started.
pub(super) struct Start {
    pub(super) exe: std::path::PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) stdin: File,
}

type Answer = oneshot::Sender<Result<(libc::pid_t, OwnedFd, OwnedFd, OwnedFd)>>;

/// Children are told to die when the *thread* that started them does, so that is one thread for ever, and not one
/// of a runtime that comes and goes.
fn spawner() -> &'static mpsc::Sender<(Start, Answer)> {
    static SPAWNER: OnceLock<mpsc::Sender<(Start, Answer)>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (tx, rx) = mpsc::channel::<(Start, Answer)>();
        let serve = move || {
            for (start, answer) in rx {
                if let Err(Ok((pid, ..))) = answer.send(spawn_now(start)) {
                    // Nobody waits for it any more.
                    kill_and_reap(pid);
                }
            }
        };
        // Without this thread no job can run at all; the senders' errors say so.
        let _ = std::thread::Builder::new().name("pvf-spawner".into()).spawn(serve);
        tx
    })
}

fn spawn_now(start: Start) -> Result<(libc::pid_t, OwnedFd, OwnedFd, OwnedFd)> {
    let mut command = Command::new(&start.exe);
    command.args(&start.args).env_clear().envs(start.env).current_dir(Path::new("/"));
    command.stdin(start.stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let pid = child.id() as libc::pid_t;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        kill_and_reap(pid);
        return Err(Error::other("a child without pipes"));
    };
    // SAFETY: a plain system call; the child cannot have been reaped, nobody else waits for it.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::O_NONBLOCK) };
    if pidfd < 0 {
        let error = Error::last_os_error();
        kill_and_reap(pid);
        return Err(error);
    }
    // SAFETY: the kernel just gave it to us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    Ok((pid, pidfd, stdout.into(), stderr.into()))
}

fn kill_and_reap(pid: libc::pid_t) {
    // SAFETY: plain system calls on a child that has not been reaped.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

impl Process {
    /// Starts a child.
    pub(super) async fn start(start: Start) -> Result<Self> {
        let (tx, rx) = oneshot::channel();
        let gone = || Error::other("the thread that starts processes is gone");
        spawner().send((start, tx)).map_err(|_| gone())?;
        let (pid, pidfd, stdout, stderr) = rx.await.map_err(|_| gone())??;
        let made = (|| {
            // SAFETY: the descriptor is owned by the AsyncFd and stays open, and the same, for as long as that lives.
            let pidfd = unsafe { AsyncFd::register(pidfd) }?;
            Ok((pidfd, pipe::Receiver::from_owned_fd(stdout)?, pipe::Receiver::from_owned_fd(stderr)?))
        })();
        match made {
            Ok((pidfd, stdout, stderr)) => {
                Ok(Self { pid, pidfd, reaped: false, stdout: Some(stdout), stderr: Some(stderr) })
            }
            Err(error) => {
                kill_and_reap(pid);
                Err(error)
            }
        }
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
            if libc::clock_getcpuclockid(self.pid, &raw mut clock) != 0
                || libc::clock_gettime(clock, time.as_mut_ptr()) != 0
            {
                return None;
            }
            let time = time.assume_init();
            Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
        }
    }

    /// Waits until the process has ended. Does not reap it.
    pub(super) async fn ended(&self) -> Result<()> {
        self.pidfd.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Reaps the ended process.
    pub(super) fn reap(&mut self) -> Result<End> {
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointers are to live values, and the child is ours and not yet reaped.
        let usage = unsafe {
            if libc::wait4(self.pid, &raw mut status, 0, usage.as_mut_ptr()) < 0 {
                return Err(Error::last_os_error());
            }
            usage.assume_init()
        };
        self.reaped = true;
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        Ok(End {
            status,
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            // SIGKILL cannot be put off; a moment is fine, a zombie is not.
            // SAFETY: a plain system call on a child that has not been reaped.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
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
            process.kill();
            process.ended().await?;
            return Ok(overrun);
        }
        let earliest = (limits.cpu - cpu) / limits.threads.max(1);
        let pause = earliest.min(limits.wall - wall).max(Duration::from_millis(1));
        tokio::select! {
            ended = process.ended() => return ended.map(|()| None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
