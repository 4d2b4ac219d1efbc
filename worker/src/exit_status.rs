//! Exit status and resource usage of a process, as reported by the kernel.

use serde::{Deserialize, Serialize};
use std::{
    io::{Error, Result},
    mem::MaybeUninit,
    time::Duration,
};

/// Exit code of an execution that ended because the machine refused memory that the guest's limits allow.
pub(crate) const EXIT_MACHINE_REFUSED: i32 = 96;
/// Exit code of a job that exceeded its memory limit.
pub(crate) const EXIT_OUT_OF_MEMORY: i32 = 97;
/// Exit code of a job that could not start or not reply.
pub(crate) const EXIT_SETUP: i32 = 98;

/// Wait status and resource usage of a reaped process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitStatus {
    /// Wait status, for the `WIFEXITED` family of macros.
    pub(crate) status: libc::c_int,
    /// CPU time of all threads, user and system.
    pub(crate) cpu: Duration,
    /// Peak resident set size, KiB.
    pub(crate) max_rss_kib: u64,
}

impl ExitStatus {
    /// Waits for a child of this process to exit and reaps it.
    pub(crate) fn wait(pid: libc::pid_t) -> Result<Self> {
        let mut status = 0;
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: both pointers refer to live values, and wait4 fills in `usage` when it succeeds.
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
