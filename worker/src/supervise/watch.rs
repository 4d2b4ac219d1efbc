//! A process under watch: by the kernel's account of its CPU time and by the wall clock.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{Error, Result},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

/// A process that nobody has reaped: a child, or a fork of a template.
pub(super) struct Handle {
    pid: libc::pid_t,
    inner_pid: libc::pid_t,
    pidfd: AsyncFd<Arc<OwnedFd>>,
}

impl Handle {
    /// Needs a runtime.
    pub(super) fn new(pid: libc::pid_t, pidfd: OwnedFd) -> Result<Self> {
        // SAFETY: the descriptor is owned by the AsyncFd and stays open, and the same, for as long as that lives.
        let pidfd = unsafe { AsyncFd::register_with_interest(Arc::new(pidfd), Interest::READABLE) }?;
        Ok(Self { pid, inner_pid: pid, pidfd })
    }

    /// A fork of a template: what that calls it is its number in a namespace of their own.
    pub(super) fn of_fork(inner_pid: libc::pid_t, pidfd: OwnedFd) -> Result<Self> {
        let pid = pid_of(&pidfd)?;
        Ok(Self { inner_pid, ..Self::new(pid, pidfd)? })
    }

    /// Its number where its parent is.
    pub(super) fn inner_pid(&self) -> libc::pid_t {
        self.inner_pid
    }

    /// Its number, its own until it is reaped.
    pub(super) fn pid(&self) -> libc::pid_t {
        self.pid
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
        // SAFETY: the pointers are to live values; the process has not been reaped, so the number is still its.
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

    /// Whether the process has ended, asked of the kernel.
    pub(super) fn has_ended(&self) -> bool {
        has_ended(self.pidfd())
    }

    /// What tells its end.
    pub(super) fn pidfd(&self) -> &Arc<OwnedFd> {
        self.pidfd.get_ref()
    }

    /// Waits until the process has ended. Does not reap it.
    pub(super) async fn ended(&self) -> Result<()> {
        self.pidfd.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// As [`Handle::ended`], for those who leave an error of it to [`watch`].
    pub(super) async fn gone(&self) {
        let _ = self.ended().await;
    }
}

/// The number that a process has for us, by the kernel's account.
fn pid_of(pidfd: &OwnedFd) -> Result<libc::pid_t> {
    // Kernels before 6.13 tell it in a file only, which takes several times as long.
    let pid = asked_pid(pidfd).map_or_else(|| read_pid(pidfd), |pid| Ok(Some(pid)))?;
    pid.filter(|pid| *pid > 0).ok_or_else(|| Error::other("a process that has no number here"))
}

/// What the kernel answers, if it knows the question.
fn asked_pid(pidfd: &OwnedFd) -> Option<libc::pid_t> {
    // SAFETY: the structure is plain numbers, of which zero is one; the kernel writes no more than its size, which is
    // part of the question.
    let (answered, info) = unsafe {
        let mut info: libc::pidfd_info = std::mem::zeroed();
        info.mask = libc::PIDFD_INFO_PID.into();
        (libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info), info)
    };
    (answered == 0).then_some(info.pid as libc::pid_t)
}

/// What is in the file that the kernel keeps of a descriptor.
fn read_pid(pidfd: &OwnedFd) -> Result<Option<libc::pid_t>> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    Ok(info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()))
}

/// Whether the process of this pidfd has ended, asked of the kernel.
pub(super) fn has_ended(pidfd: impl AsFd) -> bool {
    let mut look = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut look, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
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
pub(super) async fn watch(process: &Handle, limits: Limits) -> Result<Option<Overrun>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    #[test]
    fn a_process_has_one_number_however_the_kernel_is_asked() {
        let me = getpid();
        let pidfd = pidfd_open(me, PidfdFlags::empty()).unwrap();
        let number = me.as_raw_nonzero().get();
        assert_eq!(pid_of(&pidfd).unwrap(), number);
        assert_eq!(read_pid(&pidfd).unwrap(), Some(number));
        assert!(asked_pid(&pidfd).is_none_or(|pid| pid == number), "kernels from 6.13 on know the question");
    }

    #[test]
    fn what_is_no_process_has_no_number() {
        let file = std::fs::File::open("/dev/null").unwrap().into();
        assert_eq!(asked_pid(&file), None);
        assert!(pid_of(&file).unwrap_err().to_string().contains("no number"));
    }
}
