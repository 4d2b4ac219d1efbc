//! Commands about the command line itself.

use clap::Subcommand;
use clap_complete::Shell;
use std::path::PathBuf;

/// What describes `pvf` to a shell and to `man`.
#[derive(Debug, Subcommand)]
pub(crate) enum ManualCommand {
    /// Print the script that completes command lines of pvf in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of pvf, or write one for each command
    Man {
        /// Write a page for each command to this folder; it is made if it does not exist
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}
