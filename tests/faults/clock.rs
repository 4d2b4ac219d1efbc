//! A library that a process is started with (`LD_PRELOAD`): its clock of the time of day is ahead of that of the
//! machine by what is written in the file `PVF_CLOCK`, seconds as text. Other clocks, with which durations are
//! measured, are those of the machine.

#![allow(unsafe_code, reason = "it takes the place of functions of the C library")]

use std::{
    ffi::{CStr, c_int},
    sync::atomic::{AtomicI64, Ordering},
};

/// How long what was read from the file counts, nanoseconds.
const READ_EVERY: i64 = 100_000_000;

static READ_AT: AtomicI64 = AtomicI64::new(0);
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn of_the_kernel(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's pointer, as the C library takes it.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int }
}

fn read() -> Option<i64> {
    // SAFETY: the names and the buffer live as long as the calls; the process changes its environment in no thread.
    unsafe {
        let path = libc::getenv(c"PVF_CLOCK".as_ptr());
        if path.is_null() {
            return None;
        }
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let mut text = [0_u8; 32];
        let len = libc::read(file, text.as_mut_ptr().cast(), text.len() - 1);
        libc::close(file);
        if len <= 0 {
            return None;
        }
        CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?.trim().parse().ok()
    }
}

/// How far the clock is ahead, seconds.
fn ahead() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    of_the_kernel(libc::CLOCK_MONOTONIC, &raw mut now);
    let now = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    if now - READ_AT.load(Ordering::Relaxed) > READ_EVERY {
        READ_AT.store(now, Ordering::Relaxed);
        AHEAD.store(read().unwrap_or(0), Ordering::Relaxed);
    }
    AHEAD.load(Ordering::Relaxed)
}

/// # Safety
/// As that of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let result = of_the_kernel(clock, time);
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: the kernel has written there.
        unsafe { (*time).tv_sec += ahead() };
    }
    result
}
