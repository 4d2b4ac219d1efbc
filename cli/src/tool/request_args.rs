//! The options of the commands that send requests: precheck, execute, heads-up.

use super::{bundles::args::BundleArgs, explain::args::ExplainArgs, network::args::LimitArgs};
use clap::Args as ClapArgs;
use pvf_shared::{priority::ExecuteKind, units::parse_timeout};
use std::{path::PathBuf, time::Duration};

/// The hashes that only candidates of version 3 need.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct ExtensionArgs {
    /// Hash of the relay parent, for candidates of version 3
    #[arg(long, value_name = "HEX", requires = "scheduling_parent")]
    pub(crate) relay_parent: Option<String>,
    /// Hash of the scheduling parent, for candidates of version 3
    #[arg(long, value_name = "HEX", requires = "relay_parent")]
    pub(crate) scheduling_parent: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Precheck {
    /// File with validation code: wasm, compressed or not, hex text of it, a chain specification; - for stdin
    pub(crate) code: PathBuf,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) bundles: BundleArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HeadsUp {
    /// Files with validation code: wasm, compressed or not, hex text of it, chain specifications
    #[arg(required = true)]
    pub(crate) code: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Wait until the code is prepared; without this, until a worker has it
    #[arg(long)]
    pub(crate) wait_prepared: bool,
}

#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("input").required(true).multiple(true).args(["params", "block_data", "pov"]))]
#[command(group = clap::ArgGroup::new("whole").multiple(true).args(["params", "pov"]))]
pub(crate) struct Execute {
    /// File with validation code: wasm, compressed or not, hex text of it, a chain specification; - for stdin
    pub(crate) code: PathBuf,
    /// PoVs as collators export them (--export-pov-to-path), or available data; of a folder all *.pov; a batch
    #[arg(long, value_name = "FILE|DIR", num_args = 1..,
        conflicts_with_all = ["params", "parent_head", "block_data", "relay_parent_number", "relay_parent_storage_root"])]
    pub(crate) pov: Vec<PathBuf>,
    /// File with SCALE-encoded ValidationParams; of a folder all *.params; several are a batch
    #[arg(long, value_name = "FILE|DIR", num_args = 1..,
        conflicts_with_all = ["parent_head", "block_data", "relay_parent_number", "relay_parent_storage_root"])]
    pub(crate) params: Vec<PathBuf>,
    /// Head data of the parent block; a file may be hex text (0x…)
    #[arg(long, value_name = "HEX|@FILE", required_unless_present = "whole")]
    pub(crate) parent_head: Option<String>,
    /// Block data (the PoV), compressed or not; several are a batch
    #[arg(long, value_name = "HEX|@FILE", num_args = 1..)]
    pub(crate) block_data: Vec<String>,
    /// Number of the relay parent
    #[arg(long, value_name = "N", required_unless_present = "whole")]
    pub(crate) relay_parent_number: Option<u32>,
    /// Storage root of the relay parent
    #[arg(long, value_name = "HEX", required_unless_present = "whole")]
    pub(crate) relay_parent_storage_root: Option<String>,
    #[command(flatten)]
    pub(crate) extension: ExtensionArgs,
    /// Execution kind: backing, backing-system, approval or dispute; sets priority and time limit
    #[arg(long, default_value = "backing")]
    pub(crate) kind: ExecuteKind,
    /// CPU time limit, 1ms to 1h [default: the limit of the executor parameters for the kind]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Execute even if an identical validation is already queued or running
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) explain: ExplainArgs,
    #[command(flatten)]
    pub(crate) bundles: BundleArgs,
}
