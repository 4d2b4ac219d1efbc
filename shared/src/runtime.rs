//! The runtime of an executable of the fleet.

use std::io::Result;
use tokio::runtime::{Builder, Runtime};

/// Cores for each thread of a runtime: jobs need the others. Below this many a second thread costs more, by waking the
/// first, than it brings.
const CORES_PER_THREAD: usize = 4;

/// A runtime that leaves the cores to the jobs: one thread for every four cores.
pub fn runtime() -> Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match cores.div_ceil(CORES_PER_THREAD) {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}
