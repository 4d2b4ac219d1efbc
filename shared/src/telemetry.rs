//! Log output of the executables. It goes to stderr, because stdout is for results.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
    sync::mpsc::{SyncSender, sync_channel},
};
use tracing_subscriber::EnvFilter;

/// How each line of the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// A JSON object.
    Json,
}

/// The options of a role's log.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct LogArgs {
    /// Format of the log, which goes to stderr; auto: text on a terminal, JSON otherwise
    #[arg(long, env = "PVF_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    /// The same as --log-format json
    #[arg(long, hide = true, conflicts_with = "log_format")]
    json_logs: bool,
    /// Log more (twice: debug)
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl LogArgs {
    /// Initialises the log of a role.
    pub fn init(&self) {
        let format = if self.json_logs { LogFormat::Json } else { self.log_format };
        init(self.verbose, "info", format);
    }
}

/// Initialises log output. `PVF_LOG` (syntax of `RUST_LOG`) sets the filter; without it, `verbosity` counts `-v` flags
/// and `quiet_level` is the filter for none.
pub fn init(verbosity: u8, quiet_level: &str, format: LogFormat) {
    let level = match verbosity {
        0 => quiet_level.to_owned(),
        1 => "info".into(),
        2 => "info,pvf_shared=debug,pvf_coordinator=debug,pvf_worker=debug,pvf=debug".into(),
        _ => "debug".into(),
    };
    let filter = EnvFilter::try_from_env("PVF_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let is_terminal = std::io::stderr().is_terminal();
    // An empty variable stands for none: https://no-color.org
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let json = match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        // It would be reported with `eprintln!`, which panics where stderr cannot be written, a file on a full disk for
        // instance. A log that cannot be written must not end a process.
        .log_internal_errors(false);
    // A second initialisation in one process, as in tests, is not an error.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
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
