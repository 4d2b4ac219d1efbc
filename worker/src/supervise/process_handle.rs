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

    /// A fork of the template with this process id. `inner_pid` is its own id in the template's namespace. The template
    /// may run hostile code, and have the pidfd of another job's process: what is not its child is refused, so that it
    /// is never killed in the place of the fork.
    pub(super) fn of_fork(template: libc::pid_t, inner_pid: libc::pid_t, pidfd: OwnedFd) -> Result<Self> {
        let ids = ids_of(&pidfd)?;
        if ids.parent != template {
            return Err(Error::other("the template has returned a process that it did not make"));
        }
        Ok(Self { inner_pid, ..Self::new(ids.pid, pidfd)? })
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

/// Process ids in this process's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    pid: libc::pid_t,
    parent: libc::pid_t,
}

/// The ids of the process of this pidfd.
fn ids_of(pidfd: &OwnedFd) -> Result<Ids> {
    // Kernels before 6.13 report them in files only, which takes several times as long.
    let ids = ids_by_ioctl(pidfd).map_or_else(|| ids_by_files(pidfd), |ids| Ok(Some(ids)))?;
    ids.filter(|ids| ids.pid > 0).ok_or_else(|| Error::other("the process has no id in this namespace"))
}

/// By ioctl; `None` if the kernel does not support it.
fn ids_by_ioctl(pidfd: &OwnedFd) -> Option<Ids> {
    // SAFETY: the structure is plain numbers, for which zero is valid; the kernel writes no more than its size, which
    // is part of the request.
    let (result, info) = unsafe {
        let mut info: libc::pidfd_info = std::mem::zeroed();
        info.mask = libc::PIDFD_INFO_PID.into();
        (libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info), info)
    };
    (result == 0).then_some(Ids { pid: info.pid as libc::pid_t, parent: info.ppid as libc::pid_t })
}

/// From procfs.
fn ids_by_files(pidfd: &OwnedFd) -> Result<Option<Ids>> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    let Some(pid) = pid.filter(|pid: &libc::pid_t| *pid > 0) else { return Ok(None) };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may contain anything.
    let parent = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1)?.parse().ok());
    Ok(parent.map(|parent| Ids { pid, parent }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    #[test]
    fn both_ways_to_get_the_ids_of_a_pidfd_agree() {
        let me = getpid();
        let pidfd = pidfd_open(me, PidfdFlags::empty()).unwrap();
        let ids = Ids { pid: me.as_raw_nonzero().get(), parent: std::os::unix::process::parent_id() as libc::pid_t };
        assert_eq!(ids_of(&pidfd).unwrap(), ids);
        assert_eq!(ids_by_files(&pidfd).unwrap(), Some(ids));
        assert!(ids_by_ioctl(&pidfd).is_none_or(|answer| answer == ids), "kernels from 6.13 on support it");
    }

    #[tokio::test]
    async fn a_process_that_the_template_did_not_make_is_refused_in_the_place_of_a_fork() {
        let pidfd_of = |child: &std::process::Child| {
            let pid = rustix::process::Pid::from_child(child);
            pidfd_open(pid, PidfdFlags::empty()).unwrap()
        };
        let children = [(); 2].map(|()| std::process::Command::new("sleep").arg("600").spawn().unwrap());
        let [template, other] = &children;
        let refused = ProcessHandle::of_fork(template.id() as libc::pid_t, 2, pidfd_of(other)).err().unwrap();
        assert!(refused.to_string().contains("did not make"), "{refused}");
        assert!(ProcessHandle::of_fork(std::process::id() as libc::pid_t, 2, pidfd_of(other)).is_ok());
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_descriptor_that_is_not_a_pidfd_has_no_pid() {
        let file = std::fs::File::open("/dev/null").unwrap().into();
        assert_eq!(ids_by_ioctl(&file), None);
        assert!(ids_of(&file).unwrap_err().to_string().contains("no id"));
    }
}
