//! Options and commands about networks.

use clap::{Args as ClapArgs, Subcommand};
use pvf_shared::{ids::RelayHash, units::parse_bytes};
use std::path::PathBuf;

/// Under which limits a command works.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct LimitArgs {
    /// File with executor parameters, JSON or SCALE
    #[arg(long, value_name = "FILE")]
    pub(crate) executor_params: Option<PathBuf>,
    /// Refuse executor parameters that the relay chain would not accept; without this they are used, with a warning. In
    /// `pvf check` a warning about the runtime or a PoV is exit code 1, too
    #[arg(long)]
    pub(crate) strict: bool,
    /// Use the executor parameters and limits of this network
    ///
    /// polkadot, kusama, westend or paseo: a snapshot that comes with this version. A file: a snapshot of `pvf network
    /// fetch`, the chain specification of a relay chain, or a node's answer. A URL (http or https): the node is asked.
    #[arg(long, value_name = "NAME|FILE|URL")]
    pub(crate) network: Option<String>,
    /// Limit of the decompressed validation code, 1B to 4095MiB [default: of the network, or 30MiB]
    #[arg(long, value_name = "SIZE", value_parser = bomb_limit)]
    pub(crate) code_bomb_limit: Option<u32>,
}

/// Parses the limit of decompressed code.
pub(crate) fn bomb_limit(text: &str) -> Result<u32, String> {
    let bytes = parse_bytes(text)?;
    let fits = u32::try_from(bytes).ok().filter(|bytes| *bytes <= 4095 << 20);
    fits.ok_or_else(|| format!("size: {text:?} is outside 1B to 4095MiB"))
}

/// What `pvf network` does.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Ask a relay chain's node for executor parameters, limits and parachains, and write a snapshot of them
    Fetch {
        /// The node's JSON-RPC address, http or https
        #[arg(long, value_name = "URL")]
        rpc: String,
        /// Hash of a block [default: the last finalised one]
        #[arg(long, value_name = "HASH")]
        at: Option<RelayHash>,
        /// File for the snapshot [default: stdout]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Leave out the parachains and the hashes of their codes
        #[arg(long)]
        no_parachains: bool,
    },
    /// Show the limits of a network, and which of them are known
    Show {
        /// As in --network
        network: String,
    },
}
