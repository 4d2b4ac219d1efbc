//! How a process ended, by the kernel's account.

use serde::{Deserialize, Serialize};
use std::{
    io::{Error, Result},
    mem::MaybeUninit,
    time::Duration,
};

/// How a process ended and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// As `wait` gives it.
    pub(crate) status: libc::c_int,
    /// CPU time, user and system, all threads.
    pub(crate) cpu: Duration,
    /// Largest resident set, KiB.
    pub(crate) max_rss_kib: u64,
}

impl End {
    /// Waits for the end of a child of this process and reaps it.
    pub(crate) fn wait(pid: libc::pid_t) -> Result<Self> {
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointers are to live values.
        let usage = unsafe {
            if libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) < 0 {
                return Err(Error::last_os_error());
            }
            usage.assume_init()
        };
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
        Ok(Self {
            status,
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        })
    }
}
