//! Accounting of the measured thread: the allocator's byte count, and the kernel's figures for the thread, which tell
//! an operation that computed for long from one whose thread did not run.

use mimalloc::MiMalloc;
use std::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// The allocator of `pvf-coordinator` with a count of the bytes in use. `realloc` and `alloc_zeroed` are passed on:
/// their default implementations would copy and clear more than the allocator does.
pub struct CountingAllocator;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);

fn count(more: usize, less: usize) {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATED.fetch_add(more.wrapping_sub(less), Ordering::Relaxed);
    }
}

// SAFETY: all calls are passed on unchanged; only sizes are counted.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { MiMalloc.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

/// Runs `work` and returns by how many bytes it has increased what is allocated. Bytes are counted meanwhile only:
/// counting would slow down what is measured.
pub fn allocated_by(work: impl FnOnce()) -> usize {
    ALLOCATED.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    work();
    COUNTING.store(false, Ordering::Relaxed);
    ALLOCATED.load(Ordering::Relaxed)
}

/// The kernel's figures for the calling thread since its start.
#[derive(Clone, Copy)]
pub struct ThreadAccount {
    processor: Duration,
    user: Duration,
    page_faults: u64,
    context_switches: u64,
}

impl ThreadAccount {
    /// Reads the present figures.
    pub fn read() -> Self {
        // SAFETY: all zeroes is a valid value of both structs, and the calls only write to them.
        let (time, usage) = unsafe {
            let (mut time, mut usage) = (std::mem::zeroed::<libc::timespec>(), std::mem::zeroed::<libc::rusage>());
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
            libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            (time, usage)
        };
        let user = usage.ru_utime;
        Self {
            processor: Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
            user: Duration::from_secs(user.tv_sec as u64) + Duration::from_micros(user.tv_usec as u64),
            page_faults: (usage.ru_minflt + usage.ru_majflt) as u64,
            context_switches: (usage.ru_nivcsw + usage.ru_nvcsw) as u64,
        }
    }
}

/// An operation that took long by the wall clock. All but the wall time is an upper bound: it includes the few
/// operations since the account was last read.
pub struct SlowOperation {
    /// Wall time of the operation alone.
    pub wall: Duration,
    /// Processor time, the kernel's work included.
    pub processor: Duration,
    /// Processor time in user mode.
    pub user: Duration,
    /// Page faults.
    pub page_faults: u64,
    /// Times that the thread was taken off its processor.
    pub context_switches: u64,
}

impl SlowOperation {
    /// An operation that ended just now, with all that the thread used since `before`.
    pub fn since(before: ThreadAccount, wall: Duration) -> Self {
        let after = ThreadAccount::read();
        let processor = after.processor - before.processor;
        Self {
            wall,
            processor,
            // The kernel derives user time by scaling; it may differ from the precise clock by a little.
            user: after.user.saturating_sub(before.user).min(processor),
            page_faults: after.page_faults - before.page_faults,
            context_switches: after.context_switches - before.context_switches,
        }
    }
}
