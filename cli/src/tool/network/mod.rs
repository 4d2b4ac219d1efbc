//! The limits that a relay chain's validators apply: from a snapshot that comes with the tool, from a file, or from a
//! node.
//!
//! * `snapshot` is the format of the file, `known` has the snapshots that come with the tool.
//! * `host_configuration` reads the relay chain's configuration, `storage` has the keys of its storage.
//! * `rpc` asks a node, `fetch` makes a snapshot from its answers.
//! * `limits` is what the commands use of all that.

pub(crate) mod args;
pub(crate) mod fetch;
mod from_file;
pub(crate) mod host_configuration;
mod known;
pub(crate) mod limits;
pub(crate) mod rpc;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod storage;

use super::failure::Failure;
use snapshot::Snapshot;
use std::path::Path;

/// The snapshot that `--network NAME|FILE|URL` means.
pub(crate) async fn resolve(network: &str) -> Result<Snapshot, Failure> {
    let wrong = |why: String| Failure::Input(format!("--network {network}: {why}"));
    if let Some(snapshot) = known::find(network) {
        return snapshot.map_err(wrong);
    }
    if network.contains("://") {
        return Box::pin(fetch::fetch(&rpc::Node::new("--network", network)?, None, fetch::What::Limits)).await;
    }
    let path = Path::new(network);
    if !path.exists() {
        let names = known::NAMES.join(", ");
        return Err(wrong(format!("neither a network that this version knows ({names}), nor a file, nor a URL")));
    }
    from_file::read(path).map_err(wrong)
}
