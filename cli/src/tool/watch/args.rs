//! Options of `pvf watch`.

use crate::tool::{
    bundles::args::RetentionArgs, explain::args::ExplainArgs, network::args::LimitArgs, request_args::ExtensionArgs,
};
use clap::Args as ClapArgs;
use pvf_shared::priority::ExecuteKind;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Watch {
    /// Folder that a collator exports PoVs to (--export-pov-to-path); it may not exist yet
    pub(crate) dir: PathBuf,
    /// File with the runtime: wasm, compressed or not, hex text of it, a chain specification
    ///
    /// Read again for each PoV if it has changed.
    #[arg(long, value_name = "FILE")]
    pub(crate) code: PathBuf,
    /// Keep each PoV that fails in this folder, with its replay bundle
    #[arg(long, value_name = "DIR")]
    pub(crate) keep_failed: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
    /// Validate the PoVs that are there, and end; exit code 1 if one fails
    #[arg(long)]
    pub(crate) once: bool,
    /// Leave out the PoVs that are there already
    #[arg(long, conflicts_with = "once")]
    pub(crate) new_only: bool,
    /// Execution kind: backing, backing-system, approval or dispute; sets priority and time limit
    #[arg(long, default_value = "backing")]
    pub(crate) kind: ExecuteKind,
    #[command(flatten)]
    pub(crate) extension: ExtensionArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) explain: ExplainArgs,
}
