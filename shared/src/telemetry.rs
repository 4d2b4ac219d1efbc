//! Log output of the executables. It goes to stderr, because stdout is for results.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
    sync::mpsc::{SyncSender, sync_channel},
};
use tracing_subscriber::EnvFilter;

/// Initialises log output. `PVF_LOG` (syntax of `RUST_LOG`) sets the filter; without it, `verbosity` counts `-v` flags
/// and `quiet_level` is the filter for none. With `json` each line is a JSON object.
pub fn init(verbosity: u8, quiet_level: &str, json: bool) {
    let level = match verbosity {
        0 => quiet_level.to_owned(),
        1 => "info".into(),
        2 => "info,pvf_shared=debug,pvf_coordinator=debug,pvf_worker=debug,pvf=debug".into(),
        _ => "debug".into(),
    };
    let filter = EnvFilter::try_from_env("PVF_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        // It would be reported with `eprintln!`, which panics where stderr cannot be written, a file on a full disk for
        // instance. A log that cannot be written must not end a process.
        .log_internal_errors(false);
    // A second initialisation in one process, as in tests, is not an error.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// Initialises log output that never blocks: where stderr takes no more, lines are dropped. For a process whose answers
/// must not wait for the reader of its log. `filter` has the syntax of `RUST_LOG`.
pub fn init_without_blocking(filter: &str) {
    let (lines, written) = sync_channel::<Vec<u8>>(QUEUED_LINES);
    let writer = std::thread::Builder::new().name("log".into()).spawn(move || {
        while let Ok(line) = written.recv() {
            // There is nowhere else to tell it.
            let _ = std::io::stderr().write_all(&line);
        }
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(move || QueuedLine(lines.clone()))
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false);
    if writer.is_ok() {
        let _ = builder.try_init();
    }
}

/// Lines that wait for stderr.
const QUEUED_LINES: usize = 256;

/// Queues a line of the log, or drops it.
struct QueuedLine(SyncSender<Vec<u8>>);

impl std::io::Write for QueuedLine {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.try_send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a line to stderr. Unlike `eprintln!`, it does not panic where stderr cannot be written.
pub fn to_stderr(line: impl Display) {
    // There is nowhere else to tell it.
    let _ = writeln!(std::io::stderr(), "{line}");
}
