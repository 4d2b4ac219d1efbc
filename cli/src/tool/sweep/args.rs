//! Options of `pvf sweep`.

use crate::tool::network::args::LimitArgs;
use clap::Args as ClapArgs;
use pvf_shared::ids::RelayHash;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Sweep {
    /// Files with validation code, or folders of them (*.wasm); each is prepared
    ///
    /// If --network is the URL of a node, the current codes of all its parachains are prepared as well, and those that
    /// they are about to upgrade to.
    #[arg(value_name = "FILE|DIR")]
    pub(crate) code: Vec<PathBuf>,
    /// Hash of the relay chain's block [default: the last finalised one]
    #[arg(long, value_name = "HASH", requires = "network")]
    pub(crate) at: Option<RelayHash>,
    /// Also keep the codes of the node in this folder, one file for each hash
    #[arg(long, value_name = "DIR", requires = "network")]
    pub(crate) save: Option<PathBuf>,
    /// Compare with this result of an earlier run, of another version or machine
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write the result to this file, as JSON
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Preparations at the same time, 1 to 256; CPU times are only comparable with 1
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) in_flight: u16,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}
