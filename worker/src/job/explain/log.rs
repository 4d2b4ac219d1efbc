//! What the guest logs in a diagnostic run: all levels up to the one that is asked for, the first and the last
//! messages.
//!
//! Messages also go to stderr, of which the worker keeps the end, in case the run is killed before it replies.

use crate::explanation::{LogLevel, LogLine, MAX_LINE, MAX_LOG};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Module of the host functions by which a guest logs. The compiler and the host log, too.
const OF_GUESTS: &str = "sp_io";

struct Kept {
    /// The first messages, up to half of [`MAX_LOG`].
    first: Vec<LogLine>,
    first_bytes: usize,
    /// The last messages, up to the other half.
    last: VecDeque<LogLine>,
    last_bytes: usize,
    dropped: u64,
}

struct GuestLog(Mutex<Kept>);

static GUEST_LOG: GuestLog =
    GuestLog(Mutex::new(Kept { first: Vec::new(), first_bytes: 0, last: VecDeque::new(), last_bytes: 0, dropped: 0 }));

/// Takes the messages of this process, which has just started. Nothing is recorded yet.
pub(super) fn init() {
    let _ = log::set_logger(&GUEST_LOG);
    log::set_max_level(log::LevelFilter::Off);
}

/// Records messages up to this level from now on. The guest can ask for it, and may log more or less.
pub(super) fn record(level: LogLevel) {
    log::set_max_level(match level {
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    });
}

/// The messages, and the number of those between the first and the last ones that were not kept.
pub(super) fn take() -> (Vec<LogLine>, u64) {
    let mut kept = GUEST_LOG.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lines = std::mem::take(&mut kept.first);
    lines.extend(std::mem::take(&mut kept.last));
    (lines, kept.dropped)
}

impl Kept {
    fn push(&mut self, line: LogLine) {
        let bytes = line.bytes();
        if self.last.is_empty() && self.first_bytes + bytes <= MAX_LOG / 2 {
            self.first_bytes += bytes;
            self.first.push(line);
            return;
        }
        self.last_bytes += bytes;
        self.last.push_back(line);
        while self.last_bytes > MAX_LOG / 2
            && let Some(oldest) = self.last.pop_front()
        {
            self.last_bytes -= oldest.bytes();
            self.dropped += 1;
        }
    }
}

impl log::Log for GuestLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) || !record.module_path().is_some_and(|path| path.starts_with(OF_GUESTS)) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => LogLevel::Error,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Info => LogLevel::Info,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Trace => LogLevel::Trace,
        };
        let line = LogLine { level, target: record.target().to_owned(), message: record.args().to_string() };
        let line = line.bounded(MAX_LINE);
        let text = format!("[{}] {}\n", line.target, line.message);
        // SAFETY: the pointer is to as many bytes. Not through std, which may panic.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_messages_are_kept() {
        let mut kept = Kept { first: Vec::new(), first_bytes: 0, last: VecDeque::new(), last_bytes: 0, dropped: 0 };
        let line = |n: u32| LogLine { level: LogLevel::Info, target: "t".into(), message: format!("{n:0>1000}") };
        let count = 1000;
        for n in 0..count {
            kept.push(line(n));
        }
        let number = |line: &LogLine| line.message.parse::<u32>().unwrap();
        assert_eq!((kept.first.first().map(number), kept.last.back().map(number)), (Some(0), Some(count - 1)));
        let all = kept.first.len() + kept.last.len();
        assert_eq!(all as u64 + kept.dropped, u64::from(count));
        assert!(kept.dropped > 0 && kept.first_bytes + kept.last_bytes <= MAX_LOG);
    }
}
