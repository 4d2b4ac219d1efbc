//! What the guest logs: messages go to stderr, of which the worker keeps the end for whoever looks into the outcome.
//!
//! Nothing that the guest can notice depends on it: the level of the log is that of the existing host's workers, a
//! message that does not fit or cannot be written is dropped, and all messages together are so short that the file
//! behind stderr has room left for the reports of panics.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Most bytes of one message with its target; what is longer is cut.
const MAX_MESSAGE: usize = 4096;
/// Most bytes of all messages of one process.
const MAX_MESSAGES: usize = 256 * 1024;

struct GuestLog {
    /// Bytes that may still be written.
    room: AtomicUsize,
}

static GUEST_LOG: GuestLog = GuestLog { room: AtomicUsize::new(MAX_MESSAGES) };

/// Writes messages of this process and its forks to stderr. A guest can query the log level and behave differently: it
/// is the default level of the existing host's workers.
pub(super) fn init() {
    // Fails only if there is a logger, and this process has just started.
    let _ = log::set_logger(&GUEST_LOG);
    log::set_max_level(log::LevelFilter::Error);
}

impl log::Log for GuestLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Error
    }

    fn log(&self, record: &log::Record<'_>) {
        let room = self.room.load(Ordering::Relaxed);
        if room == 0 || !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line { bytes: [0; MAX_MESSAGE], len: 0 };
        // Fails if the line is full: then its begin is written.
        let complete = writeln!(line, "[{}] {}", record.target(), record.args());
        if complete.is_err() {
            line.len = line.len.min(MAX_MESSAGE - 1) + 1;
            line.bytes[line.len - 1] = b'\n';
        }
        self.room.store(room.saturating_sub(line.len), Ordering::Relaxed);
        // SAFETY: the pointer is to as many bytes. Not through std, whose stderr is another one in tests and may panic.
        unsafe { libc::write(2, line.bytes.as_ptr().cast(), line.len) };
    }

    fn flush(&self) {}
}

/// A message in a buffer of a fixed size, so that its length costs nothing.
struct Line {
    bytes: [u8; MAX_MESSAGE],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let fits = text.floor_char_boundary(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_what_fits() {
        let mut line = Line { bytes: [0; MAX_MESSAGE], len: 0 };
        write!(line, "{}", "a".repeat(MAX_MESSAGE - 1)).unwrap();
        assert!(write!(line, "é").is_err());
        assert_eq!(line.len, MAX_MESSAGE - 1);
        write!(line, "b").unwrap();
        assert!(write!(line, "c").is_err());
    }
}
