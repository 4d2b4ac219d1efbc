//! Results on stdout. Who reads them may stop before the end, and a disk may be full: neither is a panic.

use super::failure::Exit;
use pvf_shared::telemetry::to_stderr;
use std::{
    fmt::Arguments,
    io::{ErrorKind, Write as _},
};

/// Exit code of a program that is ended by writing to a closed pipe, as shells show it.
const CLOSED_PIPE: i32 = 141;

#[expect(clippy::disallowed_methods, reason = "no result can be shown any more; jobs end with this process")]
fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// Writes to stdout. If that is not possible the process ends: jobs end with it.
pub(crate) fn write(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    let Err(error) = stdout.write_fmt(text).and_then(|()| stdout.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        end(CLOSED_PIPE);
    }
    to_stderr(format_args!("error: stdout: {error}"));
    end(Exit::NoResult as i32);
}

/// As `print`, and ends the process instead of a panic.
macro_rules! out {
    ($($arg:tt)*) => { $crate::tool::stdout::write(format_args!($($arg)*)) };
}

/// As `println`, and ends the process instead of a panic.
macro_rules! outln {
    () => { $crate::tool::stdout::write(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::tool::stdout::write(format_args!("{}\n", format_args!($($arg)*))) };
}
