//! Options of explanations.

use clap::Args as ClapArgs;
use pvf_worker::explanation::LogLevel;

/// Whether and how a verdict is explained.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Explanation")]
pub(crate) struct ExplainArgs {
    /// Run the candidate once more on this machine, watched, and show what it logs and does
    ///
    /// Shows the guest's log, the backtrace of a trap, host calls, growth of memory, and height of the stack. What a
    /// guest logs are its own words: believe them only if you trust the code. Without a fleet or with one, the run is
    /// on this machine and is not the verdict.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Which messages of the guest are shown: error, warn, info, debug or trace
    #[arg(long, default_value_t = LogLevel::Info, value_name = "LEVEL")]
    pub(crate) guest_log: LogLevel,
}
