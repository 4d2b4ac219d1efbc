//! The limit on what a fork writes to stderr, and whether a panic may be due to it.
//!
//! A fork's stdout and stderr are one memory file of [`MAX_STDERR`] bytes. `print!` and `eprintln!` panic when the file
//! takes no more; that limit is ours, so such a panic must never be blamed on the candidate. std gives these panics
//! no type of their own, and their text is not an interface. What the kernel knows decides instead: whether the file
//! was full when the panic began. The file size limit makes that exact, since the kernel shortens the write that
//! crosses it, so a write can only fail at the limit itself.

use crate::sandbox::MAX_STDERR;
use std::{
    io::{Error, Result},
    panic,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// File size limit of this process, bytes.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
/// Whether stderr was full when the last panic began.
static REACHED_AT_PANIC: AtomicBool = AtomicBool::new(false);

/// Limits the files of this process and its forks to [`MAX_STDERR`] bytes, and watches panics. Called by a template
/// before it forks, whatever the sandbox does.
pub(super) fn set() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live value; this process has no handler for the signal that it ignores. Without
    // the signal, a write beyond the limit is an error of the call only.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        if libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) != 0 {
            return Err(Error::last_os_error());
        }
        // A hard limit cannot be raised; one that is lower already applies instead.
        let value = limit.rlim_max.min(MAX_STDERR as u64);
        limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) != 0 {
            return Err(Error::last_os_error());
        }
    }
    LIMIT.store(limit.rlim_cur, Ordering::Relaxed);
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Before the report of this panic is written, which can itself fill the file.
        REACHED_AT_PANIC.store(is_reached(), Ordering::Relaxed);
        report(info);
    }));
    Ok(())
}

/// Whether stderr was full when the last panic began.
pub(super) fn was_reached_at_panic() -> bool {
    REACHED_AT_PANIC.load(Ordering::Relaxed)
}

/// Whether the next write to stderr fails. False where stderr is not a file, as in a template.
fn is_reached() -> bool {
    rustix::fs::tell(std::io::stderr()).is_ok_and(|position| position >= LIMIT.load(Ordering::Relaxed))
}
