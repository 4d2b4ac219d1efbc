//! Signals by which the machine ends a process that it refuses something.

/// A write beyond the file size limit of this process (`ulimit -f`) fails with an error, instead of ending the process
/// without a word.
pub fn survive_file_size_limit() {
    // SAFETY: this program has no handler for the signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
