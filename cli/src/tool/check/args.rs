//! Options of `pvf check`.

use crate::tool::{explain::args::ExplainArgs, network::args::LimitArgs, request_args::ExtensionArgs};
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

/// How the report is written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for a terminal.
    Text,
    /// One JSON object; as with --json.
    Json,
    /// Markdown, for a comment on a pull request.
    Markdown,
    /// JUnit XML, for the test view of a CI.
    Junit,
    /// Workflow commands of GitHub: an annotation for each warning and failure.
    Github,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// File with the runtime: wasm, compressed or not, hex text of it, a chain specification; - for stdin
    pub(crate) code: PathBuf,
    /// File with the runtime that the parachain is to upgrade to: checked as well, and compared with CODE
    pub(crate) new: Option<PathBuf>,
    /// PoVs as collators export them (--export-pov-to-path); of a folder all *.pov
    ///
    /// With NEW, each is executed on both runtimes: which of them accept it is found out.
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub(crate) pov: Vec<PathBuf>,
    /// PoVs of blocks that NEW must accept, for instance of a test network that has upgraded to it
    #[arg(long, value_name = "FILE|DIR", num_args = 1.., requires = "new")]
    pub(crate) pov_new: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) extension: ExtensionArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// From which part of a limit on a value is a warning, percent, 1 to 100
    #[arg(long, default_value_t = 80, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) warn_at: u8,
    /// How many times as slow as this machine the slowest validator is assumed to be, 1 to 100
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = slowdown)]
    pub(crate) slowdown: f64,
    /// How often each PoV is executed, 1 to 1000: the median and the slowest run count
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: u16,
    /// Skip what compares runs of different CPU levels and numbers of compiler threads
    #[arg(long)]
    pub(crate) no_determinism: bool,
    /// How the report is written to stdout
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Also write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json_file: Option<PathBuf>,
    /// Also write the report as a page to this file, which needs no other file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Also append the report as Markdown to this file, for instance $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) explain: ExplainArgs,
}

fn slowdown(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (1.0..=100.0).contains(&factor) { Ok(factor) } else { Err(format!("{text} is outside 1 to 100")) }
}
