//! Options of `pvf drain`.

use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct Drain {
    /// Ids of workers as `pvf status` prints them, or as much of the beginning as no other worker's id has
    #[arg(value_name = "WORKER", required_unless_present = "host")]
    pub(crate) workers: Vec<String>,
    /// All workers of this machine; with WORKER only these of them
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Return when the coordinator has taken the request. If that one is replaced before the workers have heard of it,
    /// within a second or two, nothing drains
    #[arg(long)]
    pub(crate) no_wait: bool,
}
