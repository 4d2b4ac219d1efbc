//! Waits that block the thread, for tests in which the worker, which is on the same thread, must not see what happens.

use crate::common::AMPLE;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Blocks until a process has ended, reaped or not. Fails the test if it does not end.
pub fn block_until_ended(pid: i32) {
    let pidfd = match pidfd_open(Pid::from_raw(pid).expect("a process id"), PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return,
        Err(error) => panic!("pidfd of process {pid}: {error}"),
    };
    let limit = Timespec { tv_sec: AMPLE.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit));
    assert_eq!(ended, Ok(1), "process {pid} has not ended in {AMPLE:?}");
}
