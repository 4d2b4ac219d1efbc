//! `pvf node`: a fleet in the place of a node's own PVF workers.

pub(crate) mod args;
mod check;
mod install;
mod serve;
mod settings;

use super::{
    args::Global,
    failure::{Exit, Failure},
};
use args::NodeCommand;
use pvf_node::fleet::ConnectError;

/// Runs a command about nodes.
pub(crate) async fn run(command: &NodeCommand, global: &Global) -> Result<Exit, Failure> {
    match command {
        NodeCommand::Install(args) => install::install(global, args).await,
        NodeCommand::Serve(args) => serve::serve(args).await,
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Bus(error) => error.into(),
            ConnectError::Client(error) => error.into(),
        }
    }
}
