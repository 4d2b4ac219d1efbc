//! A process as the worker watches it, by its pidfd: its own child or a fork of a template.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{Error, Result},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A process that has not been reaped: a child of the worker, or a fork of a template.
pub(super) struct ProcessHandle {
    pid: libc::pid_t,
    inner_pid: libc::pid_t,
    pidfd: AsyncFd<Arc<OwnedFd>>,
}

impl ProcessHandle {
    /// A child of this process. Must be called in a tokio runtime.
    pub(super) fn new(pid: libc::pid_t, pidfd: OwnedFd) -> Result<Self> {
        // SAFETY: the AsyncFd owns the descriptor, so it stays open and the same for as long as the AsyncFd lives.
        let pidfd = unsafe { AsyncFd::register_with_interest(Arc::new(pidfd), Interest::READABLE) }?;
        Ok(Self { pid, inner_pid: pid, pidfd })
    }

    /// A fork of a template. `inner_pid` is its process id in the template's namespace.
    pub(super) fn of_fork(inner_pid: libc::pid_t, pidfd: OwnedFd) -> Result<Self> {
        let pid = pid_of(&pidfd)?;
        Ok(Self { inner_pid, ..Self::new(pid, pidfd)? })
    }

    /// Process id in the namespace of its parent.
    pub(super) fn inner_pid(&self) -> libc::pid_t {
        self.inner_pid
    }

    /// Process id in the worker's namespace; unique until the process is reaped.
    pub(super) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Sends SIGKILL, by pidfd: never to another process that got the same id.
    pub(super) fn kill(&self) {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: a plain system call on an open descriptor.
        unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, std::ptr::null::<libc::siginfo_t>(), 0)
        };
    }

    /// CPU time of the process so far, by the kernel's clock for it; `None` if the kernel has no such clock any more.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let mut clock = 0;
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the pointers are to live values; the process has not been reaped, so the id is still its own.
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

    /// Whether the process has exited.
    pub(super) fn has_exited(&self) -> bool {
        has_exited(self.pidfd())
    }

    /// The pidfd, readable once the process has exited.
    pub(super) fn pidfd(&self) -> &Arc<OwnedFd> {
        self.pidfd.get_ref()
    }

    /// Waits until the process has exited. Does not reap it.
    pub(super) async fn exited(&self) -> Result<()> {
        self.pidfd.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// As [`ProcessHandle::exited`], for callers that leave its error to a concurrent `watch`.
    pub(super) async fn gone(&self) {
        let _ = self.exited().await;
    }
}

/// Whether the process of this pidfd has exited; does not block.
pub(super) fn has_exited(pidfd: impl AsFd) -> bool {
    let mut events = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
}

/// Process id in this process's namespace.
fn pid_of(pidfd: &OwnedFd) -> Result<libc::pid_t> {
    // Kernels before 6.13 report it in a file only, which takes several times as long.
    let pid = pid_by_ioctl(pidfd).map_or_else(|| pid_by_fdinfo(pidfd), |pid| Ok(Some(pid)))?;
    pid.filter(|pid| *pid > 0).ok_or_else(|| Error::other("the process has no id in this namespace"))
}

/// By ioctl; `None` if the kernel does not support it.
fn pid_by_ioctl(pidfd: &OwnedFd) -> Option<libc::pid_t> {
    // SAFETY: the structure is plain numbers, for which zero is valid; the kernel writes no more than its size, which
    // is part of the request.
    let (result, info) = unsafe {
        let mut info: libc::pidfd_info = std::mem::zeroed();
        info.mask = libc::PIDFD_INFO_PID.into();
        (libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info), info)
    };
    (result == 0).then_some(info.pid as libc::pid_t)
}

/// From procfs.
fn pid_by_fdinfo(pidfd: &OwnedFd) -> Result<Option<libc::pid_t>> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    Ok(info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    #[test]
    fn both_ways_to_get_the_pid_of_a_pidfd_agree() {
        let me = getpid();
        let pidfd = pidfd_open(me, PidfdFlags::empty()).unwrap();
        let pid = me.as_raw_nonzero().get();
        assert_eq!(pid_of(&pidfd).unwrap(), pid);
        assert_eq!(pid_by_fdinfo(&pidfd).unwrap(), Some(pid));
        assert!(pid_by_ioctl(&pidfd).is_none_or(|answer| answer == pid), "kernels from 6.13 on support it");
    }

    #[test]
    fn a_descriptor_that_is_not_a_pidfd_has_no_pid() {
        let file = std::fs::File::open("/dev/null").unwrap().into();
        assert_eq!(pid_by_ioctl(&file), None);
        assert!(pid_of(&file).unwrap_err().to_string().contains("no id"));
    }
}
