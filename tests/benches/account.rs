//! What the kernel says of a thread: whether an operation that took long was busy, or did not run at all.

use std::time::Duration;

/// What the kernel says about this thread so far.
#[derive(Clone, Copy)]
pub struct Account {
    cpu: Duration,
    user: Duration,
    faults: u64,
    switches: u64,
}

impl Account {
    /// What it says now.
    pub fn read() -> Self {
        // SAFETY: all zeroes is a value of both, and the calls only write to them.
        let (time, usage) = unsafe {
            let (mut time, mut usage) = (std::mem::zeroed::<libc::timespec>(), std::mem::zeroed::<libc::rusage>());
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
            libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            (time, usage)
        };
        let user = usage.ru_utime;
        Self {
            cpu: Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
            user: Duration::from_secs(user.tv_sec as u64) + Duration::from_micros(user.tv_usec as u64),
            faults: (usage.ru_minflt + usage.ru_majflt) as u64,
            switches: (usage.ru_nivcsw + usage.ru_nvcsw) as u64,
        }
    }
}

/// An operation that took long by the clock on the wall, and what the thread's account says of it and of the few
/// operations before it (which is an upper limit).
pub struct Long {
    /// By the clock on the wall.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// Of that, outside of the kernel.
    pub user: Duration,
    /// Page faults.
    pub faults: u64,
    /// How often another thread was given the processor.
    pub switches: u64,
}

impl Long {
    /// An operation that has just ended.
    pub fn since(before: Account, wall: Duration) -> Self {
        let after = Account::read();
        Self {
            wall,
            cpu: after.cpu - before.cpu,
            user: after.user.saturating_sub(before.user),
            faults: after.faults - before.faults,
            switches: after.switches - before.switches,
        }
    }
}
