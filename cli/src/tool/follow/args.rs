//! Options of `pvf follow`.

use crate::tool::network::args::bomb_limit;
use clap::Args as ClapArgs;
use pvf_shared::units::parse_duration;
use std::time::Duration;

#[derive(Debug, ClapArgs)]
pub(crate) struct Follow {
    /// The relay chain's node, http or https
    #[arg(long, value_name = "URL")]
    pub(crate) rpc: String,
    /// How often the node is asked, 1ms to 24h
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) every: Duration,
    /// Ask once, and end when the codes are prepared; exit code 1 if one cannot be
    #[arg(long)]
    pub(crate) once: bool,
    /// Also prepare the current codes of all parachains: before a validator enters the active set
    #[arg(long)]
    pub(crate) all: bool,
    /// Limit of the decompressed validation code, 1B to 4095MiB [default: the network's]
    #[arg(long, value_name = "SIZE", value_parser = bomb_limit)]
    pub(crate) code_bomb_limit: Option<u32>,
}
