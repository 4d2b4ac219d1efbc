//! Global allocator of every executable that runs jobs: the system allocator with a limit that a preparation can arm.
//!
//! The executor parameter `PrecheckingMaxMemory` limits what a preparation allocates. A process that exceeds the limit
//! exits at once with [`EXIT_OUT_OF_MEMORY`], because it cannot continue without memory.

use crate::exit_status::EXIT_OUT_OF_MEMORY;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

static ARMED: AtomicBool = AtomicBool::new(false);
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
static LIVE: AtomicI64 = AtomicI64::new(0);
/// The largest value of `LIVE` since the limit was armed.
static PEAK: AtomicI64 = AtomicI64::new(0);

/// The system allocator with a limit. `worker_main!` installs it; an executable with its own `main` installs it
/// itself:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: pvf_worker::JobAllocator = pvf_worker::JobAllocator::new();
/// # fn main() {}
/// ```
#[derive(Debug, Default)]
pub struct JobAllocator(());

impl JobAllocator {
    /// An allocator without a limit, until a job sets one.
    pub const fn new() -> Self {
        Self(())
    }
}

fn grew(by: usize) {
    if ARMED.load(Ordering::Relaxed) {
        let live = LIVE.fetch_add(by as i64, Ordering::Relaxed) + by as i64;
        if live > LIMIT.load(Ordering::Relaxed) {
            // SAFETY: _exit may be called at any time; no state of this process is needed any more.
            unsafe { libc::_exit(EXIT_OUT_OF_MEMORY) };
        }
        if live > PEAK.load(Ordering::Relaxed) {
            PEAK.fetch_max(live, Ordering::Relaxed);
        }
    }
}

fn shrank(by: usize) {
    if ARMED.load(Ordering::Relaxed) {
        LIVE.fetch_sub(by as i64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed to the system allocator unchanged.
unsafe impl GlobalAlloc for JobAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        shrank(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() {
            grew(new_size - layout.size());
        } else {
            shrank(layout.size() - new_size);
        }
        // SAFETY: the caller's contract.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Allows the process `limit` bytes beyond what it has allocated so far. Returns false if this executable was built
/// without [`JobAllocator`].
pub(super) fn arm(limit: u64) -> bool {
    LIMIT.store(i64::try_from(limit).unwrap_or(i64::MAX), Ordering::Relaxed);
    LIVE.store(0, Ordering::Relaxed);
    PEAK.store(0, Ordering::Relaxed);
    ARMED.store(true, Ordering::Relaxed);
    let before = LIVE.load(Ordering::Relaxed);
    let probe = std::hint::black_box(Vec::<u8>::with_capacity(4096));
    let installed = LIVE.load(Ordering::Relaxed) > before;
    drop(probe);
    installed
}

/// The most that was allocated at once since the limit was armed, bytes; `None` if there is no limit.
pub(super) fn peak() -> Option<u64> {
    let armed = ARMED.load(Ordering::Relaxed);
    armed.then(|| u64::try_from(PEAK.load(Ordering::Relaxed)).unwrap_or_default())
}
