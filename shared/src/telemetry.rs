//! Log output of the executables. It goes to stderr, because stdout is for results.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
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

/// Writes a line to stderr. Unlike `eprintln!`, it does not panic where stderr cannot be written.
pub fn to_stderr(line: impl Display) {
    // There is nowhere else to tell it.
    let _ = writeln!(std::io::stderr(), "{line}");
}
